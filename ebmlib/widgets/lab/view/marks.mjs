/** Quantity at a fraction of the sorted values. */
export function quantile(/** @type {ArrayLike<number>} */ values, /** @type {number} */ share) {
  const sorted = Float64Array.from(values).filter(Number.isFinite).sort();
  return sorted.length ? sorted[Math.floor(share * (sorted.length - 1))] : NaN;
}
