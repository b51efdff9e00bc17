/** What is exact about a density on a grid, by the midpoint rule. */
/** @typedef {import("./types.mjs").Grid} Grid */

/** Cells that tile [-1, 1]^2. @param {number} bins @returns {Grid} */
export function makeGrid(bins) {
  const width = 2 / bins;
  const axis = Float64Array.from({ length: bins }, (_, i) => -1 + (i + 0.5) * width);
  const points = new Float64Array(2 * bins * bins);
  for (let k = 0; k < bins * bins; k += 1) {
    points[2 * k] = axis[Math.floor(k / bins)];
    points[2 * k + 1] = axis[k % bins];
  }
  return { bins, width, logCell: 2 * Math.log(width), axis, points };
}

/**
 * Normalise a log-density over the cells.
 * @param {Grid} grid
 * @param {Float64Array} values   logarithms, up to a constant; -Infinity where none
 * @param {Float64Array} logProb  receives the log-density
 * @param {Float64Array} prob     receives the masses of the cells
 * @returns {{logZ: number, entropy: number}}  logZ is NaN where no cell has any mass, or
 *   where a value is not a number
 */
export function normalise(grid, values, logProb, prob) {
  let top = -Infinity;
  for (let k = 0; k < values.length; k += 1) if (values[k] > top) top = values[k];
  let sum = 0;
  for (let k = 0; k < values.length; k += 1) sum += prob[k] = Math.exp(values[k] - top);
  const logZ = top + Math.log(sum) + grid.logCell;
  let entropy = 0;
  for (let k = 0; k < values.length; k += 1) {
    prob[k] /= sum;
    logProb[k] = values[k] - logZ;
    if (prob[k] > 0) entropy -= prob[k] * logProb[k];
  }
  return { logZ, entropy };
}

/**
 * KL(p || q) in nats of two densities on one grid.
 * @param {{prob: Float64Array, logProb: Float64Array}} p
 * @param {Float64Array} logQ
 */
export function klDivergence(p, logQ) {
  let sum = 0;
  for (let k = 0; k < logQ.length; k += 1) {
    if (p.prob[k] > 0) sum += p.prob[k] * (p.logProb[k] - logQ[k]);
  }
  return sum;
}

/**
 * Share of some points in each cell; every point is in the square.
 * @param {Grid} grid
 * @param {Float64Array} points
 * @param {Float64Array} [out]
 */
export function shares({ bins, width }, points, out = new Float64Array(bins * bins)) {
  out.fill(0);
  const cell = (/** @type {number} */ u) =>
    Math.min(bins - 1, Math.max(0, Math.floor((u + 1) / width)));
  const each = 2 / points.length;
  for (let k = 0; k < points.length; k += 2) {
    out[cell(points[k]) * bins + cell(points[k + 1])] += each;
  }
  return out;
}

/**
 * Cells higher than each of their eight neighbours, highest first; a plateau has none. On a
 * sloping ridge this rule finds more of them than there are modes.
 * @param {Grid} grid
 * @param {ArrayLike<number>} values
 * @param {number} [depth]  how far below the highest cell one may lie
 * @returns {Float64Array}  interleaved points
 */
export function modes({ bins, points }, values, depth = Infinity) {
  /** @type {number[]} */
  const found = [];
  let top = -Infinity;
  for (let k = 0; k < values.length; k += 1) {
    const [i, j] = [Math.floor(k / bins), k % bins];
    let highest = Number.isFinite(values[k]);
    for (let a = Math.max(0, i - 1); a <= Math.min(bins - 1, i + 1) && highest; a += 1) {
      for (let b = Math.max(0, j - 1); b <= Math.min(bins - 1, j + 1); b += 1) {
        if (values[a * bins + b] >= values[k] && a * bins + b !== k) highest = false;
      }
    }
    if (highest) found.push(k);
    if (values[k] > top) top = values[k];
  }
  return Float64Array.from(
    found.filter((k) => values[k] >= top - depth).sort((a, b) => values[b] - values[a])
      .flatMap((k) => [points[2 * k], points[2 * k + 1]]),
  );
}
