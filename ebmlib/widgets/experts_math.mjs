import { logSumExp } from "./density_math.mjs";

/**
 * Experts in the plane: their energy, the mass in a box, and when Z is finite.
 *
 * @typedef {{direction: number, strength: number, width: number, position: number}} Expert
 *   The angle (degrees) along which it looks, how much it weighs, how wide it is, and at
 *   which distance from the origin its middle lies.
 * @typedef {{family: string, experts: Expert[], bowl: number}} Experts
 */

const ROUNDING = 1 + 1e-12; // a sum on the border up to rounding is not above it

/** log(1 + exp(a)), at every size of a. */
export const softplus = (a) => Math.max(a, 0) + Math.log1p(Math.exp(-Math.abs(a)));

/** Unit vector of a direction in degrees. */
export function unitVector({ direction }) {
  const angle = (direction * Math.PI) / 180;
  return [Math.cos(angle), Math.sin(angle)];
}

/** Energy of one expert at the distance t from its middle line. */
function expertTerm(family, { strength, width }, bowl) {
  const terms = {
    gaussian: (t) => (strength * (t / width) ** 2) / 2,
    student_t: (t) => strength * Math.log1p((t / width) ** 2 / 2),
    logistic: (t) => -softplus(t / width),
    logistic_bowl: (t) => -softplus(t / width),
    rbm: (t) => -softplus((strength * t) / bowl ** 2),
  };
  return terms[family];
}

/** Factor of |x|^2 in the energy: the bowl that holds logistic experts together. */
function bowlFactor({ family, bowl }) {
  if (family === "logistic_bowl") return 1 / bowl ** 2;
  return family === "rbm" ? 1 / (2 * bowl ** 2) : 0;
}

/**
 * Energies at the cell centres of [-half, half]^2, first coordinate slowest.
 * @param {Experts} scene  @param {number} half  @param {number} bins
 */
export function expertEnergies(scene, half, bins) {
  const axis = Float64Array.from({ length: bins }, (_, i) => half * ((2 * i + 1) / bins - 1));
  const factor = bowlFactor(scene);
  const parts = scene.experts.map((expert) => ({
    unit: unitVector(expert), position: expert.position,
    term: expertTerm(scene.family, expert, scene.bowl),
  }));
  const energies = new Float64Array(bins * bins);
  for (let i = 0; i < bins; i += 1) {
    for (let j = 0; j < bins; j += 1) {
      let energy = factor * (axis[i] ** 2 + axis[j] ** 2);
      for (const { unit, position, term } of parts) {
        energy += term(unit[0] * axis[i] + unit[1] * axis[j] - position);
      }
      energies[i * bins + j] = energy;
    }
  }
  return energies;
}

/** log of the integral of exp(-E) over [-half, half]^2, by the midpoint rule. */
export function logBoxMass(energies, half, bins) {
  return logSumExp(energies.map((energy) => -energy)) + 2 * Math.log((2 * half) / bins);
}

/** log Z over the whole plane where it is known in closed form, or null. */
export function exactLogPartition({ family, experts, bowl }) {
  if (family === "gaussian") return gaussianLogPartition(experts);
  if (family === "student_t") return studentLogPartition(experts);
  if (family !== "logistic_bowl" && family !== "rbm") return null;
  const variance = family === "rbm" ? bowl ** 2 : bowl ** 2 / 2;
  const slope = ({ width, strength }) => (family === "rbm" ? strength / variance : 1 / width);
  const logs = Array.from({ length: 2 ** experts.length }, (_, state) => {
    const on = experts.filter((_, i) => (state >> i) & 1);
    const bias = on.reduce((sum, e) => sum - slope(e) * e.position, 0);
    const drive = [0, 1].map((k) => on.reduce((sum, e) => sum + slope(e) * unitVector(e)[k], 0));
    return bias + ((drive[0] ** 2 + drive[1] ** 2) * variance) / 2;
  });
  return logSumExp(logs) + Math.log(2 * Math.PI * variance);
}

/** log Gamma(x) for x > 0: Stirling's series above 12, and the recurrence below. */
export function logGamma(x) {
  let [shifted, factor] = [x, 1];
  for (; shifted < 12; shifted += 1) factor *= shifted;
  const [inverse, square] = [1 / shifted, 1 / shifted ** 2];
  const series = inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680)));
  const stirling = (shifted - 0.5) * Math.log(shifted) - shifted + Math.log(2 * Math.PI) / 2;
  return stirling + series - Math.log(factor);
}

/** Two Student-t experts that are not parallel: in their own coordinates Z is a product. */
function studentLogPartition(experts) {
  if (experts.length !== 2 || experts.some(({ strength }) => strength <= 0.5)) return null;
  const [[a, b], [c, d]] = experts.map(unitVector);
  const area = Math.abs(a * d - b * c);
  if (area < 1e-9) return null;
  return experts.reduce((sum, { strength, width }) =>
    sum + Math.log(width) + Math.log(2 * Math.PI) / 2 +
    logGamma(strength - 0.5) - logGamma(strength), -Math.log(area));
}

function gaussianLogPartition(experts) {
  let [a, b, c, u, v, rest] = [0, 0, 0, 0, 0, 0]; // precision [[a, b], [b, c]], drive (u, v)
  for (const expert of experts) {
    const [x, y] = unitVector(expert);
    const precision = expert.strength / expert.width ** 2;
    a += precision * x * x;
    b += precision * x * y;
    c += precision * y * y;
    u += precision * expert.position * x;
    v += precision * expert.position * y;
    rest += (precision * expert.position ** 2) / 2;
  }
  const det = a * c - b * b;
  if (det <= 1e-9 * (a + c) ** 2) return null;
  const peak = (c * u * u - 2 * b * u * v + a * v * v) / (2 * det);
  return Math.log(2 * Math.PI) - Math.log(det) / 2 + peak - rest;
}

/**
 * Whether Z over the whole plane is finite, and why.
 * @param {Experts} scene
 * @returns {{finite: boolean, why: string}}
 */
export function verdict({ family, experts }) {
  if (family === "logistic") {
    return { finite: false, why: "every factor 1 + exp(u) is above 1 everywhere" };
  }
  if (family === "logistic_bowl" || family === "rbm") {
    return { finite: true, why: "the bowl outgrows every straight slope" };
  }
  const axes = [...new Set(experts.map(({ direction }) => direction % 180))];
  if (family === "gaussian") {
    const finite = axes.length > 1;
    const why = finite ? "the experts look along two directions or more"
      : "along its line, the only direction leaves a ridge without end";
    return { finite, why };
  }
  return countPowers(experts, axes);
}

/** Student-t: all strengths above 1, and above 1/2 without any one direction. */
function countPowers(experts, axes) {
  const sum = (list) => list.reduce((total, { strength }) => total + strength, 0);
  const text = (value) => String(Number(value.toFixed(3)));
  const total = sum(experts);
  if (!(total > ROUNDING)) {
    return { finite: false, why: `the strengths sum to ${text(total)}, not above 1` };
  }
  const rests = axes.map((axis) => [sum(experts.filter((e) => e.direction % 180 !== axis)), axis]);
  const [rest, axis] = rests.reduce((least, other) => (other[0] < least[0] ? other : least));
  if (!(rest > 0.5 * ROUNDING)) {
    const why = `without direction ${axis}° the strengths sum to ${text(rest)}, not above 1/2`;
    return { finite: false, why };
  }
  const why = `strengths sum to ${text(total)} > 1, and to ${text(rest)} > 1/2 without ${axis}°`;
  return { finite: true, why };
}
