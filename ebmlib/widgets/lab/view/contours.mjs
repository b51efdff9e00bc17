/**
 * Lines and marks read off a square grid of values, the first coordinate slowest.
 * Places are returned in units of the square: 0 to 1, up and to the right.
 */

/** Where the corners' values put a level's ends on the four sides: pairs of sides. */
const CASES = [
  [], [3, 0], [0, 1], [3, 1], [1, 2], [3, 0, 1, 2], [0, 2], [3, 2],
  [2, 3], [2, 0], [0, 1, 2, 3], [2, 1], [1, 3], [1, 0], [0, 3], [],
];

/**
 * Marching squares: pieces of the lines on which the values equal a level.
 * @param {ArrayLike<number>} values  at the centres of bins x bins cells
 * @param {number} bins
 * @param {number} level
 * @param {(x0: number, y0: number, x1: number, y1: number) => void} emit
 */
export function contour(values, bins, level, emit) {
  const ends = new Float64Array(8);
  for (let i = 0; i + 1 < bins; i += 1) {
    for (let j = 0; j + 1 < bins; j += 1) {
      const k = i * bins + j;
      const a = values[k] - level; // lower left
      const b = values[k + bins] - level; // lower right
      const c = values[k + bins + 1] - level; // upper right
      const d = values[k + 1] - level; // upper left
      const kind = (a > 0 ? 1 : 0) | (b > 0 ? 2 : 0) | (c > 0 ? 4 : 0) | (d > 0 ? 8 : 0);
      if (kind === 0 || kind === 15 || !Number.isFinite(a + b + c + d)) continue;
      const sides = CASES[kind];
      for (let s = 0; s < sides.length; s += 1) {
        const side = sides[s];
        const x = side === 0 ? a / (a - b) : side === 1 ? 1 : side === 2 ? d / (d - c) : 0;
        const y = side === 0 ? 0 : side === 1 ? b / (b - c) : side === 2 ? 1 : a / (a - d);
        ends[2 * s] = (i + 0.5 + x) / bins;
        ends[2 * s + 1] = (j + 0.5 + y) / bins;
      }
      for (let s = 0; s < sides.length; s += 2) {
        emit(ends[2 * s], ends[2 * s + 1], ends[2 * s + 2], ends[2 * s + 3]);
      }
    }
  }
}

/**
 * Cells whose value exceeds that of all eight neighbours, the highest first.
 * @param {ArrayLike<number>} values
 * @param {number} bins
 * @param {number} depth  how far below the highest a mode may lie
 * @returns {{x: number, y: number, value: number}[]}
 */
export function peaks(values, bins, depth) {
  const found = [];
  let top = -Infinity;
  for (let i = 0; i < bins; i += 1) {
    for (let j = 0; j < bins; j += 1) {
      const value = values[i * bins + j];
      let highest = Number.isFinite(value);
      for (let di = -1; highest && di <= 1; di += 1) {
        for (let dj = -1; highest && dj <= 1; dj += 1) {
          const [u, v] = [i + di, j + dj];
          const outside = u < 0 || v < 0 || u >= bins || v >= bins;
          if ((di || dj) && !outside && values[u * bins + v] >= value) highest = false;
        }
      }
      if (highest) found.push({ x: (i + 0.5) / bins, y: (j + 0.5) / bins, value });
      if (value > top) top = value;
    }
  }
  return found.filter((peak) => peak.value >= top - depth).sort((p, q) => q.value - p.value);
}

/**
 * The piece of a line w0 x + w1 y + b = 0 inside the square [low, high]^2, or null.
 * @param {number} w0 @param {number} w1 @param {number} b
 * @param {number} low @param {number} high
 * @returns {[number, number, number, number] | null}  Ends in units of the square.
 */
export function lineInSquare(w0, w1, b, low, high) {
  const side = high - low;
  const offset = b + (w0 + w1) * low; // the same line in units of the square
  const [u, v] = [w0 * side, w1 * side];
  const length = u * u + v * v;
  if (!(length > 0)) return null;
  const [px, py] = [(-offset * u) / length, (-offset * v) / length];
  const norm = Math.sqrt(length);
  const [dx, dy] = [-v / norm, u / norm];
  let [from, to] = [-Infinity, Infinity];
  for (const [p, d] of [[px, dx], [py, dy]]) {
    if (Math.abs(d) < 1e-12) {
      if (p < 0 || p > 1) return null;
      continue;
    }
    const [s, t] = [-p / d, (1 - p) / d];
    from = Math.max(from, Math.min(s, t));
    to = Math.min(to, Math.max(s, t));
  }
  return from < to ? [px + from * dx, py + from * dy, px + to * dx, py + to * dy] : null;
}

/** Quantity at a fraction of the sorted values. */
export function quantile(/** @type {ArrayLike<number>} */ values, /** @type {number} */ share) {
  const sorted = Float64Array.from(values).filter(Number.isFinite).sort();
  return sorted.length ? sorted[Math.floor(share * (sorted.length - 1))] : NaN;
}
