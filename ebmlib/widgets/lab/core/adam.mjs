/** Adam (Kingma and Ba 2015) with the decay rates of `ebmlib.fit`, and its schedules. */

const [BETA1, BETA2, EPSILON] = [0.9, 0.99, 1e-8];

/** @param {number} size  number of parameters */
export function makeAdam(size) {
  const mean = new Float64Array(size);
  const square = new Float64Array(size);
  return {
    mean,
    square,
    /**
     * Go down the gradient.
     * @param {Float64Array} theta     changed in place
     * @param {Float64Array} gradient
     * @param {number} lr
     * @param {number} count           updates made before
     */
    update(theta, gradient, lr, count) {
      const size = lr / (1 - BETA1 ** (count + 1));
      const scale = 1 / Math.sqrt(1 - BETA2 ** (count + 1));
      for (let k = 0; k < theta.length; k += 1) {
        const g = gradient[k];
        mean[k] += (1 - BETA1) * (g - mean[k]);
        square[k] += (1 - BETA2) * (g * g - square[k]);
        theta[k] -= (size * mean[k]) / (Math.sqrt(square[k]) * scale + EPSILON);
      }
    },
  };
}

/**
 * The learning rate's factor after `count` updates.
 * @param {import("./types.mjs").Schedule} schedule
 * @param {number} count
 * @param {number} horizon
 */
export function factor(schedule, count, horizon) {
  if (schedule === "constant") return 1;
  return 0.5 * (1 + Math.cos(Math.PI * Math.min(count / horizon, 1)));
}
