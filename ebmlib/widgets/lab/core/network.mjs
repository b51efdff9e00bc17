/**
 * Networks with one or two hidden layers: values, and gradients in the parameters and
 * in the input, at many points at once.
 */
/** @typedef {import("./types.mjs").Network} Network */

/** @param {number[]} widths */
export function parameterCount(widths) {
  let count = 0;
  for (let i = 1; i < widths.length; i += 1) count += widths[i] * (widths[i - 1] + 1);
  return count;
}

/**
 * A network with all weights 0.
 * @param {number[]} widths
 * @param {import("./types.mjs").Activation} activation
 * @param {number} [priorSd]
 * @returns {Network}
 */
export function makeNetwork(widths, activation, priorSd = 0) {
  return { widths: [...widths], activation, priorSd, theta: new Float64Array(parameterCount(widths)) };
}
