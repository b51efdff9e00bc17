import { logSumExp, probeNetwork } from "./density_math.mjs";
import { leapfrog } from "./particle_math.mjs";
import { normals, uniforms } from "./random.mjs";

/**
 * A generator corrected by a critic: the posterior of its latent points.
 *
 * @typedef {import("./density_math.mjs").Network} Network
 * @typedef {import("./density_math.mjs").Box} Box
 */

/**
 * The critic after the generator, as one network: the two affine layers that meet are
 * multiplied out.
 * @param {Network} base
 * @param {Network} critic
 * @returns {Network}
 */
export function composed(base, critic) {
  const last = base.layers[base.layers.length - 1];
  const [first, ...rest] = critic.layers;
  const { columns } = last;
  const weight = new Float64Array(first.rows * columns);
  const bias = Float64Array.from(first.bias);
  for (let row = 0; row < first.rows; row += 1) {
    for (let k = 0; k < 2; k += 1) {
      const factor = first.weight[2 * row + k];
      bias[row] += factor * last.bias[k];
      for (let column = 0; column < columns; column += 1) {
        weight[row * columns + column] += factor * last.weight[k * columns + column];
      }
    }
  }
  return { layers: [...base.layers.slice(0, -1), { ...first, weight, bias, columns }, ...rest] };
}

/**
 * The latent posterior at a temperature, on cells of equal mass under the prior.
 * @param {Float64Array} values  of the critic at the cells' images
 * @returns {{logZ: number, ratio: Float64Array, effective: number}}
 *   log of Z0 = E exp(d / T), posterior density over prior density in each cell, and the
 *   share of prior samples that their weights leave effective, Z0^2 / E exp(2 d / T)
 */
export function posterior(values, temperature) {
  const logMean = (factor) =>
    logSumExp(values.map((d) => (factor * d) / temperature)) - Math.log(values.length);
  const logZ = logMean(1);
  return {
    logZ,
    ratio: values.map((d) => Math.exp(d / temperature - logZ)),
    effective: Math.exp(2 * logZ - logMean(2)),
  };
}

/** Masses of cells tilted by exp(d / T) at their centres; they sum to 1. */
export function corrected(masses, values, temperature) {
  const logs = masses.map((mass, k) => Math.log(mass) + values[k] / temperature);
  const logZ = logSumExp(logs);
  return logs.map((value) => Math.exp(value - logZ));
}

/** Total variation between masses of the same cells, and whatever lies off the grid. */
export function variation(p, q) {
  let [inside, first, second] = [0, 0, 0];
  p.forEach((mass, k) => {
    inside += Math.abs(mass - q[k]);
    first += mass;
    second += q[k];
  });
  return (inside + Math.abs(first - second)) / 2;
}

/**
 * One step of MALA on the latent square, reflected at its sides.
 * @param {Network} network  the critic after the generator
 * @param {Box} box
 * @param {[number, number]} z
 * @param {{temperature: number, step: number, seed: number}} setting
 * @returns {{z: [number, number], proposal: [number, number], accepted: boolean}}
 */
export function latentStep(network, box, z, { temperature, step, seed }) {
  const uniform = uniforms(seed);
  const normal = normals(uniform);
  const energy = (x, y, out) => {
    const { f, gradient } = probeNetwork(network, x, y);
    out[0] = -gradient[0] / temperature;
    out[1] = -gradient[1] / temperature;
    return -f / temperature;
  };
  const [place, slope, velocity] = [[...z], [0, 0], [normal(), normal()]];
  const kinetic = ([u, v]) => (u * u + v * v) / 2;
  const before = energy(z[0], z[1], slope) + kinetic(velocity);
  const after = leapfrog(energy, box, place, velocity, slope, step, 1) + kinetic(velocity);
  const accepted = Math.log(uniform()) < before - after;
  return { z: accepted ? place : [...z], proposal: place, accepted };
}
