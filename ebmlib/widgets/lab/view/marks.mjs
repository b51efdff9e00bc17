/** What is read off a square grid of values, the first coordinate slowest. */

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

/** Quantity at a fraction of the sorted values. */
export function quantile(/** @type {ArrayLike<number>} */ values, /** @type {number} */ share) {
  const sorted = Float64Array.from(values).filter(Number.isFinite).sort();
  return sorted.length ? sorted[Math.floor(share * (sorted.length - 1))] : NaN;
}
