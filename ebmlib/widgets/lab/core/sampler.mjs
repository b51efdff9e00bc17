/** Langevin chains in the square, with the library's step and its reflecting walls. */
/** @typedef {import("./network.mjs").Batch} Batch */
/** @typedef {import("./network.mjs").Engine} Engine */

/** A coordinate folded into [-1, 1], as between mirrors. @param {number} x */
export function fold(x) {
  if (x >= -1 && x <= 1) return x;
  const phase = (((x + 1) % 4) + 4) % 4;
  return phase > 2 ? 3 - phase : phase - 1;
}

/**
 * dE/dx = -df/dx + x / sd^2, in place of df/dx.
 * @param {Float64Array} gradient
 * @param {Float64Array} points
 * @param {number} sd  of the prior; 0: flat
 */
export function toEnergyGradient(gradient, points, sd, size = points.length) {
  const pull = sd === 0 ? 0 : 1 / (sd * sd);
  for (let k = 0; k < size; k += 1) gradient[k] = pull * points[k] - gradient[k];
}

/**
 * One Langevin step of every chain: x' = x - (s^2 / 2) dE/dx + s sqrt(T) noise.
 * @param {Engine} engine
 * @param {Batch} batch
 * @param {Float64Array} points   changed in place
 * @param {Float64Array} gradient  room for the gradients
 * @param {number} step
 * @param {number} temperature
 * @param {() => number} normal
 */
export function langevin(engine, batch, points, gradient, step, temperature, normal) {
  engine.load(batch, points);
  engine.forward(batch);
  engine.inputGradient(batch, gradient);
  toEnergyGradient(gradient, points, engine.network.priorSd);
  const drift = (step * step) / 2;
  const noise = step * Math.sqrt(temperature);
  for (let k = 0; k < points.length; k += 1) {
    points[k] = fold(points[k] - drift * gradient[k] + noise * normal());
  }
}
