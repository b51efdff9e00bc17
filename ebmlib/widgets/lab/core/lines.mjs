/** Where neurons switch: exact lines for the first layer, contours for later ones. */
import { layout } from "./network.mjs";

/** @typedef {import("./types.mjs").Grid} Grid */
/** @typedef {import("./types.mjs").Network} Network */

/**
 * The part of the line a x + b y + c = 0 in the square, or null.
 * @param {number} a @param {number} b @param {number} c
 * @returns {[number, number, number, number] | null}
 */
export function clipLine(a, b, c) {
  /** @type {number[]} */
  const ends = [];
  for (const side of [-1, 1]) {
    const y = -(a * side + c) / b;
    const x = -(b * side + c) / a;
    if (y >= -1 && y <= 1) ends.push(side, y);
    if (x > -1 && x < 1) ends.push(x, side);
  }
  return ends.length < 4 ? null : [ends[0], ends[1], ends[2], ends[3]];
}

/**
 * The zero lines of the first layer's neurons, exactly.
 * @param {Network} network
 * @returns {Float64Array[]}  each x1, y1, x2, y2; neurons that switch nowhere are left out
 */
export function firstLayerLines({ widths, theta }) {
  const [{ rows, weight, bias }] = layout(widths);
  return Array.from({ length: rows }, (_, r) =>
    clipLine(theta[weight + 2 * r], theta[weight + 2 * r + 1], theta[bias + r]),
  ).flatMap((line) => (line ? [Float64Array.from(line)] : []));
}

/** Inputs (before the activation) of the second layer's neurons on the grid, a field each. */
function secondLayerInputs(/** @type {Network} */ network, /** @type {Grid} */ { points }) {
  const { widths, theta, activation } = network;
  const [first, second] = layout(widths);
  const slope = activation === "leaky_relu" ? 0.01 : 0;
  const act = {
    relu: (/** @type {number} */ z) => (z > 0 ? z : 0),
    leaky_relu: (/** @type {number} */ z) => (z > 0 ? z : slope * z),
    softplus: (/** @type {number} */ z) => (z > 20 ? z : Math.log1p(Math.exp(z))),
    tanh: Math.tanh,
  }[activation];
  const fields = Array.from({ length: second.rows }, () => new Float64Array(points.length / 2));
  const h = new Float64Array(first.rows);
  for (let k = 0; k < points.length / 2; k += 1) {
    for (let r = 0; r < first.rows; r += 1) {
      const w = first.weight + 2 * r;
      h[r] = act(theta[w] * points[2 * k] + theta[w + 1] * points[2 * k + 1] + theta[first.bias + r]);
    }
    for (let r = 0; r < second.rows; r += 1) {
      let sum = theta[second.bias + r];
      for (let c = 0; c < first.rows; c += 1) {
        sum += theta[second.weight + r * first.rows + c] * h[c];
      }
      fields[r][k] = sum;
    }
  }
  return fields;
}

/**
 * Where the second layer's neurons switch, by marching squares on a grid.
 * @param {Network} network
 * @param {Grid} grid
 * @returns {Float64Array[]}  for each neuron segments x1, y1, x2, y2, ...
 */
export function laterLayerLines(network, grid) {
  if (network.widths.length < 4) return [];
  return secondLayerInputs(network, grid).map((values) => contours(values, 0, grid));
}

/**
 * Segments of a level set of a field, by linear interpolation between cell centres.
 * @param {Float64Array} values
 * @param {number} level
 * @param {Grid} grid
 * @returns {Float64Array}  x1, y1, x2, y2, ... of one segment after another
 */
export function contours(values, level, { bins, points }) {
  /** @type {number[]} */
  const out = [];
  const corners = [0, 0, 0, 0];
  for (let i = 0; i + 1 < bins; i += 1) {
    for (let j = 0; j + 1 < bins; j += 1) {
      const k = i * bins + j;
      corners[0] = k;
      corners[1] = k + bins;
      corners[2] = k + bins + 1;
      corners[3] = k + 1;
      let above = 0;
      for (let c = 0; c < 4; c += 1) if (values[corners[c]] > level) above |= 1 << c;
      if (above === 0 || above === 15) continue;
      // one crossing on each side whose ends differ: two, or four on a saddle
      for (let c = 0; c < 4; c += 1) {
        const [from, to] = [corners[c], corners[(c + 1) & 3]];
        if ((values[from] > level) === (values[to] > level)) continue;
        const t = (level - values[from]) / (values[to] - values[from]);
        for (let d = 0; d < 2; d += 1) {
          out.push(points[2 * from + d] + t * (points[2 * to + d] - points[2 * from + d]));
        }
      }
    }
  }
  return Float64Array.from(out);
}
