import { normals, uniforms } from "./random.mjs";

/**
 * Markov chains in a square, for an energy known at nodes and bilinear between them.
 *
 * The kernels are those of ebmlib.samplers, reflected at the walls of the square.
 *
 * @typedef {[number, number]} Box  low and high of the square
 * @typedef {(x: number, y: number, gradient: Float64Array | number[] | null) => number} Field
 *   the energy at a point; writes its gradient where it is asked for
 */

/**
 * The energy between nodes.
 * @param {Float64Array} values  at nodes x nodes places from wall to wall, first
 *   coordinate slowest
 * @returns {Field}
 */
export function bilinear(values, nodes, [low, high]) {
  const h = (high - low) / (nodes - 1);
  return (x, y, gradient) => {
    const [u, v] = [(x - low) / h, (y - low) / h];
    const i = Math.max(0, Math.min(nodes - 2, Math.floor(u)));
    const j = Math.max(0, Math.min(nodes - 2, Math.floor(v)));
    const [a, b, k] = [u - i, v - j, i * nodes + j];
    const [v00, v01, v10, v11] = [
      values[k], values[k + 1], values[k + nodes], values[k + nodes + 1],
    ];
    if (gradient) {
      gradient[0] = ((v10 - v00) * (1 - b) + (v11 - v01) * b) / h;
      gradient[1] = ((v01 - v00) * (1 - a) + (v11 - v10) * a) / h;
    }
    return (v00 * (1 - b) + v01 * b) * (1 - a) + (v10 * (1 - b) + v11 * b) * a;
  };
}

/** A coordinate folded into the box, and the sign that its velocity takes. */
export function fold(x, [low, high]) {
  if (x >= low && x <= high) return [x, 1];
  const span = high - low;
  const phase = (((x - low) % (2 * span)) + 2 * span) % (2 * span);
  return phase > span ? [low + 2 * span - phase, -1] : [low + phase, 1];
}

/**
 * Leapfrog with reflection, in place: half a kick, drifts and kicks, half a kick.
 * @param {number[]} x  position, @param {number[]} v  velocity, @param {number[]} g  gradient
 * @returns {number}  energy at the end
 */
export function leapfrog(field, box, x, v, g, step, count) {
  let energy = NaN;
  for (let k = 0; k < 2; k += 1) v[k] -= (step / 2) * g[k];
  for (let i = 0; i < count; i += 1) {
    for (let k = 0; k < 2; k += 1) {
      const [place, sign] = fold(x[k] + step * v[k], box);
      x[k] = place;
      v[k] *= sign;
    }
    energy = field(x[0], x[1], g);
    const kick = i < count - 1 ? step : step / 2;
    for (let k = 0; k < 2; k += 1) v[k] -= kick * g[k];
  }
  return energy;
}

/** Positions, energies and gradients of all particles at one temperature. */
function cloudAt(field, positions) {
  const count = positions.length / 2;
  const cloud = {
    x: positions, g: new Float64Array(2 * count), e: new Float64Array(count),
  };
  const g = [0, 0];
  for (let i = 0; i < count; i += 1) {
    cloud.e[i] = field(positions[2 * i], positions[2 * i + 1], g);
    cloud.g.set(g, 2 * i);
  }
  return cloud;
}

/** Exchange two neighbouring temperatures of one chain. */
function exchange(cold, hot, i) {
  for (const name of ["x", "g"]) {
    for (const k of [2 * i, 2 * i + 1]) {
      [cold[name][k], hot[name][k]] = [hot[name][k], cold[name][k]];
    }
  }
  [cold.e[i], hot.e[i]] = [hot.e[i], cold.e[i]];
}

/**
 * Particles under one kernel, and where they have been.
 * @param {object} setting
 * @param {Field} setting.field
 * @param {Box} setting.box
 * @param {{kind: string, leapfrogs?: number, ladder?: number[]}} setting.kernel
 * @param {number} setting.step
 * @param {number} setting.temperature
 * @param {Float64Array} setting.positions  where the particles start
 * @param {number} setting.bins  cells a side of the histogram
 * @param {number} setting.seed
 */
export function particles({ field, box, kernel, step, temperature, positions, bins, seed }) {
  const uniform = uniforms(seed);
  const normal = normals(uniform);
  const count = positions.length / 2;
  const ladder = (kernel.ladder ?? [1]).map((factor) => factor * temperature);
  const clouds = ladder.map(() => cloudAt(field, positions.slice()));
  const counts = new Float64Array(bins * bins);
  const [x, v, g] = [[0, 0], [0, 0], [0, 0]];
  const cell = (value) => Math.min(bins - 1,
    Math.floor(((value - box[0]) / (box[1] - box[0])) * bins));
  const run = { cloud: clouds[0], counts, steps: 0, accepted: 0, swapped: 0, tried: 0 };

  const take = (cloud, i, energy) => {
    cloud.x.set(x, 2 * i);
    cloud.g.set(g, 2 * i);
    cloud.e[i] = energy;
    return true;
  };
  const load = (cloud, i) => {
    for (let k = 0; k < 2; k += 1) {
      x[k] = cloud.x[2 * i + k];
      g[k] = cloud.g[2 * i + k];
    }
  };
  const moves = {
    metropolis(cloud, i, T) {
      load(cloud, i);
      for (let k = 0; k < 2; k += 1) [x[k]] = fold(x[k] + step * normal(), box);
      const energy = field(x[0], x[1], g);
      return Math.log(uniform()) < (cloud.e[i] - energy) / T && take(cloud, i, energy);
    },
    langevin(cloud, i, T) {
      load(cloud, i);
      for (let k = 0; k < 2; k += 1) {
        const noise = Math.sqrt(T) * step * normal();
        [x[k]] = fold(x[k] - (step ** 2 / 2) * g[k] + noise, box);
      }
      return take(cloud, i, field(x[0], x[1], g));
    },
    hamiltonian(cloud, i, T) {
      load(cloud, i);
      for (let k = 0; k < 2; k += 1) v[k] = Math.sqrt(T) * normal();
      const before = (v[0] ** 2 + v[1] ** 2) / 2;
      const energy = leapfrog(field, box, x, v, g, step, kernel.leapfrogs);
      const change = energy - cloud.e[i] + (v[0] ** 2 + v[1] ** 2) / 2 - before;
      return Math.log(uniform()) < -change / T && take(cloud, i, energy);
    },
  };
  const move = moves[kernel.kind];

  const swapAll = (i) => {
    for (const first of [0, 1]) {
      for (let r = first; r + 1 < ladder.length; r += 2) {
        const [cold, hot] = [clouds[r], clouds[r + 1]];
        const gain = (1 / ladder[r] - 1 / ladder[r + 1]) * (cold.e[i] - hot.e[i]);
        run.tried += 1;
        if (Math.log(uniform()) < gain) {
          exchange(cold, hot, i);
          run.swapped += 1;
        }
      }
    }
  };

  /** One step of every particle; each then counts in the cell where it is. */
  run.advance = () => {
    for (let i = 0; i < count; i += 1) {
      clouds.forEach((cloud, r) => {
        const taken = move(cloud, i, ladder[r]);
        if (r === 0 && taken) run.accepted += 1;
      });
      swapAll(i);
      counts[cell(clouds[0].x[2 * i]) * bins + cell(clouds[0].x[2 * i + 1])] += 1;
    }
    run.steps += 1;
  };
  run.acceptance = () => run.accepted / Math.max(1, run.steps * count);
  run.swapRate = () => run.swapped / Math.max(1, run.tried);
  return run;
}

/** A cloud of particles around a place, or one at it. */
export function dropped([x, y], count, spread, box, seed) {
  const normal = normals(uniforms(seed));
  if (count === 1) return Float64Array.of(x, y);
  return Float64Array.from({ length: 2 * count }, (_, k) =>
    fold((k % 2 ? y : x) + spread * normal(), box)[0],
  );
}

/**
 * Masses of the cells of the square under exp(-E / T), by the midpoint rule on
 * fine x fine places in each cell; the first coordinate slowest.
 */
export function exactMasses(field, box, bins, temperature, fine = 4) {
  const h = (box[1] - box[0]) / (bins * fine);
  const values = new Float64Array(bins * bins);
  let lowest = Infinity;
  const energies = new Float64Array((bins * fine) ** 2);
  for (let k = 0; k < energies.length; k += 1) {
    const [i, j] = [Math.floor(k / (bins * fine)), k % (bins * fine)];
    energies[k] = field(box[0] + (i + 0.5) * h, box[0] + (j + 0.5) * h, null);
    lowest = Math.min(lowest, energies[k]);
  }
  let sum = 0;
  for (let k = 0; k < energies.length; k += 1) {
    const mass = Math.exp((lowest - energies[k]) / temperature);
    const [i, j] = [Math.floor(k / (bins * fine)), k % (bins * fine)];
    values[Math.floor(i / fine) * bins + Math.floor(j / fine)] += mass;
    sum += mass;
  }
  return values.map((value) => value / sum);
}

/** Total variation between counts and masses; 1 when nothing was counted. */
export function distance(counts, masses) {
  const total = counts.reduce((a, b) => a + b, 0);
  if (total === 0) return 1;
  return 0.5 * counts.reduce((sum, n, k) => sum + Math.abs(n / total - masses[k]), 0);
}

/**
 * The total variation that as many independent draws would have on average: the mean
 * absolute deviation of a Poisson count in each cell.
 */
export function independentDistance(masses, total) {
  if (total === 0) return 1;
  let sum = 0;
  for (const mass of masses) {
    const mean = mass * total;
    if (mean > 500) {
      sum += Math.sqrt((2 * mean) / Math.PI);
      continue;
    }
    const below = Math.floor(mean);
    let log = -mean + (below + 1) * Math.log(mean);
    for (let n = 2; n <= below; n += 1) log -= Math.log(n);
    if (mean > 0) sum += 2 * Math.exp(log);
  }
  return (0.5 * sum) / total;
}
