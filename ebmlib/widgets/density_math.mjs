import { decodeArray } from "./common.mjs";

/**
 * Exact arithmetic of small networks in the plane, in float64 throughout.
 *
 * @typedef {object} Layer
 * @property {Float64Array} weight  rows x columns, row by row
 * @property {Float64Array} bias    rows
 * @property {number} rows
 * @property {number} columns
 * @property {{kind: string, slope?: number, beta?: number, threshold?: number} | null} activation
 *
 * @typedef {{layers: Layer[]}} Network
 * @typedef {{kind: string, log_density: number, mean?: number[], precision?: number[][]}} Prior
 * @typedef {[number, number]} Box  low and high of the square
 */

const VALUE = {
  relu: (z) => (z > 0 ? z : 0),
  leaky_relu: (z, { slope }) => (z > 0 ? z : slope * z),
  softplus: (z, { beta, threshold }) =>
    beta * z > threshold ? z : Math.log1p(Math.exp(beta * z)) / beta,
  tanh: (z) => Math.tanh(z),
};

const SLOPE = {
  relu: (z) => (z > 0 ? 1 : 0),
  leaky_relu: (z, { slope }) => (z > 0 ? 1 : slope),
  softplus: (z, { beta, threshold }) => (beta * z > threshold ? 1 : 1 / (1 + Math.exp(-beta * z))),
  tanh: (z) => 1 - Math.tanh(z) ** 2,
};

/** @returns {Network} */
export function decodeNetwork({ widths, activations, weights }) {
  const numbers = decodeArray(weights);
  let start = 0;
  const take = (size) => numbers.subarray(start, (start += size));
  const layers = widths.slice(1).map((rows, i) => ({
    weight: take(rows * widths[i]),
    bias: take(rows),
    rows,
    columns: widths[i],
    activation: activations[i] ?? null,
  }));
  return { layers };
}

/** Inputs of a layer's neurons (before the activation), written into `out`. */
function preActivations({ weight, bias, rows, columns }, input, out) {
  for (let row = 0, k = 0; row < rows; row += 1) {
    let sum = bias[row];
    for (let column = 0; column < columns; column += 1, k += 1) sum += weight[k] * input[column];
    out[row] = sum;
  }
}

/** A function (x, y) -> outputs that reuses its memory; `visit(layer, z)` sees each layer. */
export function mapper({ layers }, visit = null) {
  const inputs = [new Float64Array(2), ...layers.map(({ rows }) => new Float64Array(rows))];
  return (x, y) => {
    inputs[0][0] = x;
    inputs[0][1] = y;
    layers.forEach((layer, i) => {
      const out = inputs[i + 1];
      preActivations(layer, inputs[i], out);
      if (!layer.activation) return;
      visit?.(i, out);
      const value = VALUE[layer.activation.kind];
      for (let k = 0; k < out.length; k += 1) out[k] = value(out[k], layer.activation);
    });
    return inputs[layers.length];
  };
}

/** A function (x, y) -> f(x, y), the first output. */
export function evaluator(network, visit = null) {
  const outputs = mapper(network, visit);
  return (x, y) => outputs(x, y)[0];
}

/**
 * f, its gradient, and how many neurons of each layer have a positive input.
 * @param {Network} network
 * @returns {{f: number, gradient: [number, number], active: number[]}}
 */
export function probeNetwork(network, x, y) {
  const slopes = [];
  const active = [];
  const f = evaluator(network, (i, z) => {
    const { activation } = network.layers[i];
    slopes.push(Float64Array.from(z, (value) => SLOPE[activation.kind](value, activation)));
    active.push(z.reduce((count, value) => count + (value > 0 ? 1 : 0), 0));
  })(x, y);
  let back = Float64Array.of(1);
  for (let i = network.layers.length - 1; i >= 0; i -= 1) {
    const { weight, rows, columns } = network.layers[i];
    const next = new Float64Array(columns);
    for (let row = 0; row < rows; row += 1) {
      const factor = back[row] * (slopes[i]?.[row] ?? 1);
      for (let column = 0; column < columns; column += 1) {
        next[column] += factor * weight[row * columns + column];
      }
    }
    back = next;
  }
  return { f, gradient: [back[0], back[1]], active };
}

/** log p0 at a point of the square. @param {Prior} prior */
export function logPrior(prior, x, y) {
  if (prior.kind === "uniform") return prior.log_density;
  const [u, v] = [x - prior.mean[0], y - prior.mean[1]];
  const [[a, b], [, c]] = prior.precision;
  return prior.log_density - 0.5 * (a * u * u + 2 * b * u * v + c * v * v);
}

/** Gradient of log p0. @param {Prior} prior @returns {[number, number]} */
export function logPriorGradient(prior, x, y) {
  if (prior.kind === "uniform") return [0, 0];
  const [u, v] = [x - prior.mean[0], y - prior.mean[1]];
  const [[a, b], [, c]] = prior.precision;
  return [-(a * u + b * v), -(b * u + c * v)];
}

/**
 * Everything that is read off at one point.
 * @param {Network} network
 * @param {Prior} prior
 * @param {number} logZ  of the density at this temperature
 */
export function probe(network, prior, x, y, temperature, logZ) {
  const { f, gradient, active } = probeNetwork(network, x, y);
  const pull = logPriorGradient(prior, x, y);
  const energy = -f - logPrior(prior, x, y);
  return {
    f,
    energy,
    logDensity: -energy / temperature - logZ,
    gradient,
    score: [gradient[0] + pull[0], gradient[1] + pull[1]],
    active,
  };
}

/** Centres of the cells along one side. @param {Box} box */
export function centres([low, high], bins) {
  const edge = (i) => low + ((high - low) * i) / bins;
  return Float64Array.from({ length: bins }, (_, i) => (edge(i) + edge(i + 1)) / 2);
}

/**
 * f on the grid, first coordinate slowest, a column of cells at a time: a generator, so
 * that long work can be shared out over several screen refreshes.
 * @returns {Generator<void, Float64Array>}
 */
export function* gridValues(network, box, bins) {
  const axis = centres(box, bins);
  const f = evaluator(network);
  const values = new Float64Array(bins * bins);
  for (let i = 0; i < bins; i += 1) {
    for (let j = 0; j < bins; j += 1) values[i * bins + j] = f(axis[i], axis[j]);
    yield;
  }
  return values;
}

/** Run a generator to its end at once. */
export function exhaust(work) {
  let step = work.next();
  while (!step.done) step = work.next();
  return step.value;
}

/** Energies on the grid from the values of f there. */
export function gridEnergies(values, prior, box, bins) {
  const axis = centres(box, bins);
  return values.map((f, k) => -f - logPrior(prior, axis[Math.floor(k / bins)], axis[k % bins]));
}

/** log of the sum of exp, without overflow; -Infinity where there is nothing to add. */
export function logSumExp(values) {
  let top = -Infinity;
  for (const value of values) if (value > top) top = value;
  if (top === -Infinity) return top;
  let sum = 0;
  for (const value of values) sum += Math.exp(value - top);
  return top + Math.log(sum);
}

/** log Z at a temperature by the midpoint rule on the grid. */
export function logPartition(energies, temperature, box, bins) {
  const cell = (box[1] - box[0]) / bins;
  return logSumExp(energies.map((energy) => -energy / temperature)) + 2 * Math.log(cell);
}

/** log p on the grid. */
export function gridLogDensity(energies, temperature, logZ) {
  return energies.map((energy) => -energy / temperature - logZ);
}

/**
 * KL(true || model) in nats, both normalised over the cells of one grid.
 * @param {Float64Array} trueLogDensity  need not be normalised; -Infinity where none
 * @param {Float64Array} logDensity      of the model, on the same grid
 */
export function klDivergence(trueLogDensity, logDensity) {
  const [logP, logQ] = [logSumExp(trueLogDensity), logSumExp(logDensity)];
  let sum = 0;
  for (let k = 0; k < trueLogDensity.length; k += 1) {
    const p = trueLogDensity[k] - logP;
    if (p > -Infinity) sum += Math.exp(p) * (p - (logDensity[k] - logQ));
  }
  return sum;
}

/** Inputs of every neuron of one hidden layer on the grid: one array for each neuron. */
export function layerInputs(network, layer, box, bins) {
  const axis = centres(box, bins);
  const fields = Array.from(
    { length: network.layers[layer].rows },
    () => new Float64Array(bins * bins),
  );
  let k = 0;
  const f = evaluator({ layers: network.layers.slice(0, layer + 1) }, (i, z) => {
    if (i === layer) fields.forEach((field, row) => (field[k] = z[row]));
  });
  for (k = 0; k < bins * bins; k += 1) f(axis[Math.floor(k / bins)], axis[k % bins]);
  return fields;
}

/**
 * Segments of the zero set, cell by cell, each from one grid edge to another. An edge is
 * numbered by its lower corner and direction, so that neighbours share the number.
 */
function zeroSegments(field, bins) {
  const segments = [];
  for (let i = 0; i + 1 < bins; i += 1) {
    for (let j = 0; j + 1 < bins; j += 1) {
      const k = i * bins + j;
      const [a, b, c, d] = [k, k + bins, k + bins + 1, k + 1].map((corner) => field[corner] > 0);
      const hits = [];
      if (a !== b) hits.push(2 * k);
      if (b !== c) hits.push(2 * (k + bins) + 1);
      if (c !== d) hits.push(2 * (k + 1));
      if (d !== a) hits.push(2 * k + 1);
      for (let n = 0; n + 1 < hits.length; n += 2) segments.push([hits[n], hits[n + 1]]);
    }
  }
  return segments;
}

/** Join segments that share an edge into chains of edges. */
function chains(segments) {
  const touching = new Map();
  segments.forEach((segment) => {
    for (const edge of segment) touching.set(edge, [...(touching.get(edge) ?? []), segment]);
  });
  const used = new Set();
  const walk = (edge) => {
    const chain = [];
    for (;;) {
      const next = touching.get(edge).find((segment) => !used.has(segment));
      if (!next) return chain;
      used.add(next);
      edge = next[0] === edge ? next[1] : next[0];
      chain.push(edge);
    }
  };
  return segments.flatMap((segment) => {
    if (used.has(segment)) return [];
    used.add(segment);
    return [[...walk(segment[0]).reverse(), ...segment, ...walk(segment[1])]];
  });
}

/**
 * Where a field on the grid is zero, by linear interpolation between cell centres.
 * @returns {number[][]}  polylines: x1, y1, x2, y2, ...
 */
export function zeroLines(field, box, bins) {
  const axis = centres(box, bins);
  const point = (edge) => {
    const start = edge >> 1;
    const end = edge % 2 ? start + 1 : start + bins;
    const t = field[start] / (field[start] - field[end]);
    const [i, j, k, l] = [start, start, end, end].map((n, m) =>
      axis[m % 2 ? n % bins : Math.floor(n / bins)],
    );
    return [i + t * (k - i), j + t * (l - j)];
  };
  return chains(zeroSegments(field, bins)).map((chain) => chain.flatMap(point));
}

/**
 * The part of the line a x + b y + c = 0 in the square, or null.
 * @returns {[number, number, number, number] | null}
 */
export function clipLine(a, b, c, [low, high]) {
  const ends = [];
  for (const side of [low, high]) {
    const y = -(a * side + c) / b;
    const x = -(b * side + c) / a;
    if (y >= low && y <= high) ends.push([side, y]);
    if (x > low && x < high) ends.push([x, side]);
  }
  return ends.length < 2 ? null : [...ends[0], ...ends[1]];
}
