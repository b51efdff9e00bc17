/**
 * Every option of the Lab: what it may be, how it stands in the address, and presets.
 *
 * Anything that comes from an address goes through `decode`, which only ever returns
 * allowed values: an unknown word, a number out of range or a name from an object's
 * prototype falls back to the default.
 */
import { DENSITIES, DRAWING_PATTERN } from "./density.mjs";

/** @typedef {import("./types.mjs").Config} Config */
/** @typedef {import("./types.mjs").Option} Option */
/** @typedef {import("./types.mjs").Side} Side */

/** What both sides of a comparison share. @type {Record<string, Option>} */
export const SHARED = {
  data: {
    key: "d", label: "data", initial: "ring",
    help: "The density that the data are drawn from; it is known exactly.",
    values: [...Object.keys(DENSITIES), "drawn", "given"],
    names: {
      ...Object.fromEntries(Object.values(DENSITIES).map(({ name, title }) => [name, title])),
      drawn: "your drawing", given: "data from Python",
    },
  },
  drawing: {
    key: "z", label: "drawing", initial: "", pattern: DRAWING_PATTERN,
    help: "A density that you draw: the brighter, the likelier.",
  },
  points: {
    key: "n", label: "number of data", initial: 2000, values: [200, 500, 1000, 2000, 5000, 10000],
    help: "With few data a model learns the points and not the density behind them.",
  },
  bins: {
    key: "g", label: "grid cells a side", initial: 48, values: [32, 48, 64, 96],
    help: "The exact answers are sums over this grid.",
  },
  seed: {
    key: "r", label: "seed", initial: 1, range: [0, 999999],
    help: "All randomness comes from here: the same seed gives the same run, to the last bit.",
  },
};

/** How one model learns. @type {Record<keyof Side, Option>} */
export const SIDE = {
  method: {
    key: "m", label: "negative samples from", initial: "exact", live: true,
    values: ["exact", "cd", "persistent", "shortrun"],
    names: {
      exact: "exact (grid)", cd: "chains from data (CD-k)",
      persistent: "persistent chains", shortrun: "short runs from noise",
    },
    help: "Where the points come from at which the model is pulled up.",
  },
  steps: {
    key: "k", label: "Langevin steps", initial: 20, live: true,
    values: [1, 2, 5, 10, 20, 30, 50, 100],
    help: "How often every chain moves in one training step.",
  },
  step: {
    key: "s", label: "step size", initial: 0.05, live: true,
    values: [0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5],
    help: "s in x' = x - (s^2 / 2) dE/dx + s sqrt(T) noise, in the units of the plane.",
  },
  temperature: {
    key: "t", label: "temperature", initial: 1, live: true,
    values: [0.01, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2],
    help: "T: the chains aim at exp(-E / T). Only T = 1 is the model itself.",
  },
  chains: {
    key: "c", label: "chains", initial: 256, live: true, values: [32, 64, 128, 256, 512, 1024],
    help: "How many chains run side by side.",
  },
  width1: {
    key: "w", label: "first layer", initial: 32, values: [2, 4, 8, 16, 32, 48, 64],
    unit: "neurons", help: "Each neuron folds the plane along one straight line.",
  },
  width2: {
    key: "u", label: "second layer", initial: 16, values: [0, 2, 4, 8, 16, 32, 48, 64],
    unit: "neurons", help: "Neurons here fold along lines that the first layer has bent; 0: none.",
  },
  activation: {
    key: "a", label: "activation", initial: "relu",
    values: ["relu", "leaky_relu", "softplus", "tanh"],
    names: { relu: "ReLU", leaky_relu: "leaky ReLU", softplus: "softplus", tanh: "tanh" },
    help: "What every neuron does to its input.",
  },
  init: {
    key: "i", label: "initial weights", initial: "lines", values: ["lines", "he", "torch"],
    names: { lines: "lines through data", he: "He normal", torch: "PyTorch's default" },
    help: "Where training starts.",
  },
  prior: {
    key: "p", label: "prior sd", initial: 0, values: [0, 1, 0.5, 0.3, 0.2, 0.1, 0.05],
    names: { 0: "flat" },
    help: "The reference p0 that the network tilts: flat on the square, or a Gaussian at 0.",
  },
  lr: {
    key: "l", label: "learning rate", initial: 0.03, live: true,
    values: [0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5],
    help: "Step size of Adam.",
  },
  schedule: {
    key: "e", label: "schedule", initial: "constant", live: true, values: ["constant", "cosine"],
    help: "Whether the learning rate stays or falls to 0 along a cosine.",
  },
  horizon: {
    key: "h", label: "length of the schedule", initial: 1000, live: true,
    values: [200, 500, 1000, 2000, 5000], unit: "steps",
    help: "The cosine ends here.",
  },
  batch: {
    key: "b", label: "batch", initial: 0, live: true, values: [0, 32, 64, 128, 256, 512, 1000],
    names: { 0: "all data" },
    help: "Data in one training step, drawn with replacement.",
  },
};

/** What is on show. @type {Record<string, Option>} */
export const VIEW = {
  show: {
    key: "v", label: "picture", initial: "density",
    values: ["density", "log_density", "energy", "difference", "truth"],
    names: {
      density: "density", log_density: "log density", energy: "energy",
      difference: "model less truth", truth: "true density",
    },
    help: "What the colours mean.",
  },
  layers: {
    key: "y", label: "layers", initial: ["contours", "data", "chains"], many: true,
    values: ["contours", "data", "chains", "forces", "lines", "modes"],
    help: "What is drawn on top.",
  },
  speed: {
    key: "f", label: "speed", initial: 4, values: [1, 2, 4, 8, 16],
    help: "Updates between two pictures, as far as time allows.",
  },
};

/** @param {Record<string, Option>} schema @returns {any} */
const initials = (schema) =>
  Object.fromEntries(Object.entries(schema).map(([name, { initial, many }]) =>
    [name, many ? [...initial] : initial]));

/** @returns {Config} */
export function defaultConfig() {
  return { ...initials(SHARED), a: initials(SIDE), b: null, view: initials(VIEW) };
}

/**
 * The value itself where it is allowed, the nearest allowed number for a number, else
 * the default.
 * @param {Option} option
 * @param {unknown} value
 */
function clamp(option, value) {
  const { values, range, pattern, many, initial } = option;
  if (pattern) return typeof value === "string" && pattern.test(value) ? value : initial;
  if (range) {
    if (typeof value !== "number" || !Number.isFinite(value)) return initial;
    return Math.min(range[1], Math.max(range[0], Math.round(value)));
  }
  const allowed = /** @type {any[]} */ (values);
  if (many) {
    return Array.isArray(value) ? allowed.filter((word) => value.includes(word)) : [...initial];
  }
  if (allowed.includes(value)) return value;
  if (typeof initial !== "number" || typeof value !== "number" || Number.isNaN(value)) return initial;
  const gap = (/** @type {number} */ other) => Math.abs(other - value);
  return allowed.reduce((best, other) => (gap(other) < gap(best) ? other : best));
}

/** @param {Record<string, Option>} schema @param {any} given @returns {any} */
function clampAll(schema, given) {
  const from = given !== null && typeof given === "object" ? given : {};
  return Object.fromEntries(Object.entries(schema).map(([name, option]) =>
    [name, clamp(option, Object.hasOwn(from, name) ? from[name] : undefined)]));
}

/**
 * A whole and allowed configuration, whatever comes in.
 * @param {any} given
 * @returns {Config}
 */
export function clampConfig(given) {
  const from = given !== null && typeof given === "object" ? given : {};
  const config = {
    ...clampAll(SHARED, from),
    a: clampAll(SIDE, from.a),
    b: from.b !== null && typeof from.b === "object" ? clampAll(SIDE, from.b) : null,
    view: clampAll(VIEW, from.view),
  };
  if (config.data === "drawn" && config.drawing === "") config.data = SHARED.data.initial;
  return config;
}

/** @param {any} one @param {any} other */
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/**
 * Text for an address: only what differs from the defaults (for the second side: from
 * the first).
 * @param {Config} config
 * @returns {string}  such as "d=star&m=shortrun&2.m=exact"
 */
export function encode(config) {
  /** @type {string[]} */
  const parts = [];
  /** @param {Record<string, Option>} schema @param {any} values @param {any} base */
  const put = (schema, values, base, prefix = "") => {
    for (const [name, { key, many }] of Object.entries(schema)) {
      if (same(values[name], base[name])) continue;
      const text = many ? values[name].join(".") : String(values[name]);
      parts.push(`${prefix}${key}=${encodeURIComponent(text)}`);
    }
  };
  put(SHARED, config, initials(SHARED));
  put(SIDE, config.a, initials(SIDE));
  if (config.b) {
    parts.push("2=1");
    put(SIDE, config.b, config.a, "2.");
  }
  put(VIEW, config.view, initials(VIEW));
  return parts.join("&");
}

/** @param {Option} option @param {string} text */
function parse(option, text) {
  if (option.pattern) return text;
  if (option.many) return text.split(".");
  return typeof option.initial === "number" ? Number(text === "" ? NaN : text) : text;
}

/** No address of the Lab is longer; the rest of a longer one is not read. */
export const LONGEST = 4000;

/**
 * The configuration that an address holds; never throws.
 * @param {string} text  with or without a leading "#" or "?"
 * @returns {Config}
 */
export function decode(text) {
  const found = new Map();
  for (const part of String(text).slice(0, LONGEST).replace(/^[#?]+/, "").split("&")) {
    const at = part.indexOf("=");
    if (at < 1) continue;
    try {
      found.set(part.slice(0, at), decodeURIComponent(part.slice(at + 1)));
    } catch { /* a broken escape: as if it were not there */ }
  }
  /** @param {Record<string, Option>} schema @param {any} base @returns {any} */
  const read = (schema, base, prefix = "") =>
    Object.fromEntries(Object.entries(schema).map(([name, option]) => {
      const given = found.get(prefix + option.key);
      return [name, given === undefined ? base[name] : clamp(option, parse(option, given))];
    }));
  const a = read(SIDE, initials(SIDE));
  return clampConfig({
    ...read(SHARED, initials(SHARED)),
    a,
    b: found.get("2") === "1" ? read(SIDE, a, "2.") : null,
    view: read(VIEW, initials(VIEW)),
  });
}
