import { uniforms } from "./random.mjs";

/**
 * A restricted Boltzmann machine of zeros and ones, in float64: free energy,
 * conditionals, and a block Gibbs chain that may hold some pixels.
 *
 * @typedef {object} Machine
 * @property {number} visible  visible units n, pixels in rows
 * @property {number} hidden  hidden units k
 * @property {Float64Array} weight  n x k, a pixel's weights in a row
 * @property {Float64Array} visibleBias
 * @property {Float64Array} hiddenBias
 */

/** log(1 + exp(a)) without overflow. */
export const softplus = (a) => Math.max(a, 0) + Math.log1p(Math.exp(-Math.abs(a)));

/** 1 / (1 + exp(-a)). */
export const sigmoid = (a) => 1 / (1 + Math.exp(-a));

/** What the hidden units receive from an image. @returns {Float64Array} */
export function hiddenInput({ hidden, weight, hiddenBias }, v) {
  const input = hiddenBias.slice();
  for (let i = 0; i < v.length; i += 1) {
    if (v[i] === 0) continue;
    for (let j = 0; j < hidden; j += 1) input[j] += v[i] * weight[i * hidden + j];
  }
  return input;
}

/** P(h_j = 1 | v) for every hidden unit. */
export const hiddenChance = (machine, v) => hiddenInput(machine, v).map(sigmoid);

/** P(v_i = 1 | h) for every pixel. */
export function visibleChance({ hidden, weight, visibleBias }, h) {
  return visibleBias.map((bias, i) => {
    let input = bias;
    for (let j = 0; j < hidden; j += 1) input += h[j] * weight[i * hidden + j];
    return sigmoid(input);
  });
}

/** F(v) = -b.v - sum_j softplus(c_j + v.w_j). */
export function freeEnergy(machine, v) {
  let value = 0;
  for (let i = 0; i < v.length; i += 1) value -= machine.visibleBias[i] * v[i];
  for (const input of hiddenInput(machine, v)) value -= softplus(input);
  return value;
}

/**
 * A block Gibbs chain from a drawing: all hidden units, then all free pixels, from a
 * seed. Held pixels keep the drawing's values.
 * @param {Machine} machine
 * @param {ArrayLike<number>} drawing  zeros and ones
 * @param {ArrayLike<number>} free  1 where the chain may change a pixel
 * @param {number} seed
 */
export function gibbsChain(machine, drawing, free, seed) {
  const uniform = uniforms(seed);
  const chain = {
    v: Float64Array.from(drawing),
    chance: Float64Array.from(drawing), // of each pixel, given the last hidden state
    steps: 0,
    step() {
      const h = hiddenChance(machine, chain.v).map((p) => (uniform() < p ? 1 : 0));
      const p = visibleChance(machine, h);
      for (let i = 0; i < p.length; i += 1) {
        const draw = uniform(); // drawn for held pixels too: the noise stays in step
        if (!free[i]) continue;
        chain.chance[i] = p[i];
        chain.v[i] = draw < p[i] ? 1 : 0;
      }
      chain.steps += 1;
    },
  };
  return chain;
}

/** The share of sorted numbers that lie above a value. */
export function shareAbove(sorted, value) {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return (sorted.length - low) / sorted.length;
}

/** How many of some numbers fall into each of so many equal cells; others are left out. */
export function histogram(values, [low, high], cells) {
  const counts = new Float64Array(cells);
  for (const value of values) {
    const cell = Math.floor(((value - low) / (high - low)) * cells);
    if (cell >= 0 && cell < cells) counts[cell] += 1;
  }
  return counts;
}

/** The pixels of a square image within a radius of a pixel, itself among them. */
export function brushed(side, row, column, radius) {
  const found = [];
  const reach = Math.floor(radius);
  for (let i = row - reach; i <= row + reach; i += 1) {
    for (let j = column - reach; j <= column + reach; j += 1) {
      const inside = i >= 0 && j >= 0 && i < side && j < side;
      if (inside && (i - row) ** 2 + (j - column) ** 2 <= radius ** 2) found.push(i * side + j);
    }
  }
  return found;
}

/** The pixels (row, column) on the way from one to another, the first left out. */
export function stroke([r0, c0], [r1, c1]) {
  const count = Math.max(Math.abs(r1 - r0), Math.abs(c1 - c0));
  return Array.from({ length: count }, (_, k) => [
    Math.round(r0 + ((r1 - r0) * (k + 1)) / count),
    Math.round(c0 + ((c1 - c0) * (k + 1)) / count),
  ]);
}
