/**
 * Trained weights as files: JSON for people, safetensors as `ebmlib.checkpoint.save_models`
 * writes them and `load_models` reads them, in float64.
 */
import { layout, makeNetwork, parameterCount } from "./network.mjs";

/** @typedef {import("./types.mjs").Network} Network */

const ACTIVATIONS = ["relu", "leaky_relu", "softplus", "tanh"];
const WIDEST = 64;
const NAME = "lab";

/** A network of these parts, or an error that says what is wrong. */
function checked(
  /** @type {any} */ widths, /** @type {any} */ activation, /** @type {any} */ sd,
  /** @type {ArrayLike<number>} */ theta,
) {
  const whole = Array.isArray(widths) && (widths.length === 3 || widths.length === 4)
    && widths[0] === 2 && widths.at(-1) === 1
    && widths.every((w) => Number.isInteger(w) && w >= 1 && w <= WIDEST);
  if (!whole) {
    throw new RangeError(`the network must lead from 2 inputs over one or two hidden layers of at `
      + `most ${WIDEST} neurons to 1 output`);
  }
  if (!ACTIVATIONS.includes(activation)) {
    throw new RangeError(`the activation must be one of ${ACTIVATIONS.join(", ")}`);
  }
  const prior = sd ?? 0;
  if (typeof prior !== "number" || !(prior >= 0 && prior < 1e6)) {
    throw new RangeError("the prior's standard deviation must be a number that is not negative");
  }
  if (theta.length !== parameterCount(widths)) {
    throw new RangeError(`${parameterCount(widths)} weights are needed, there are ${theta.length}`);
  }
  if (!Array.prototype.every.call(theta, Number.isFinite)) {
    throw new RangeError("the weights must be finite numbers");
  }
  const network = makeNetwork(widths, activation, prior);
  network.theta.set(theta);
  return network;
}

/** @param {Network} network @returns {string} */
export function toJSON({ widths, activation, priorSd, theta }) {
  return JSON.stringify({
    kind: "ebm-lab", widths, activation, prior_sd: priorSd || null, weights: [...theta],
  });
}

/** @param {string} text @returns {Network} */
export function fromJSON(text) {
  const { kind, widths, activation, prior_sd: sd, weights } = JSON.parse(text) ?? {};
  if (kind !== "ebm-lab" || !Array.isArray(weights)) {
    throw new RangeError("this is no file of the Lab");
  }
  return checked(widths, activation, sd, weights);
}

/** Names of a network's tensors in the file, in the order of theta. */
function tensors(/** @type {number[]} */ widths, /** @type {string} */ name) {
  return layout(widths).flatMap(({ rows, columns, weight, bias }, l) => [
    { key: `${name}/${2 * l}.weight`, shape: [rows, columns], start: weight, size: rows * columns },
    { key: `${name}/${2 * l}.bias`, shape: [rows], start: bias, size: rows },
  ]);
}

/** @param {Network} network @returns {Uint8Array} */
export function toSafetensors({ widths, activation, priorSd, theta }) {
  const spec = { name: NAME, widths, activation, prior_sd: priorSd || null };
  const header = {
    __metadata__: { models: JSON.stringify({ [NAME]: spec }) },
    ...Object.fromEntries(tensors(widths, NAME).map(({ key, shape, start, size }) =>
      [key, { dtype: "F64", shape, data_offsets: [8 * start, 8 * (start + size)] }])),
  };
  let text = JSON.stringify(header);
  text += " ".repeat((8 - (text.length % 8)) % 8); // ASCII only: a letter is a byte
  const bytes = new Uint8Array(8 + text.length + 8 * theta.length);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(text.length), true);
  bytes.set(new TextEncoder().encode(text), 8);
  theta.forEach((value, k) => view.setFloat64(8 + text.length + 8 * k, value, true));
  return bytes;
}

/**
 * The first model of a file that `save_models` or the Lab wrote.
 * @param {Uint8Array} bytes
 * @returns {Network}
 */
export function fromSafetensors(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = bytes.length >= 8 ? Number(view.getBigUint64(0, true)) : NaN;
  if (!(length <= bytes.length - 8)) throw new RangeError("this is no safetensors file");
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  const specs = Object.values(JSON.parse(header?.__metadata__?.models ?? "{}"));
  if (!specs.length) throw new RangeError("the file does not say how to rebuild its model");
  const { name, widths, activation, prior_sd: sd } = /** @type {any} */ (specs[0]);
  const empty = checked(widths, activation, sd, new Float64Array(parameterCount(
    Array.isArray(widths) && widths.length <= 4 ? widths : [])));
  for (const { key, start, size } of tensors(empty.widths, name)) {
    const { dtype, data_offsets: [from, to] = [0, 0] } = header[key] ?? {};
    const width = dtype === "F64" ? 8 : dtype === "F32" ? 4 : NaN;
    const place = 8 + length + from;
    if (to - from !== width * size || from < 0 || place + width * size > bytes.length) {
      throw new RangeError(`tensor ${key} is missing, too short or of another type`);
    }
    for (let k = 0; k < size; k += 1) {
      empty.theta[start + k] = width === 8
        ? view.getFloat64(place + 8 * k, true) : view.getFloat32(place + 4 * k, true);
    }
  }
  return checked(empty.widths, activation, sd, empty.theta);
}
