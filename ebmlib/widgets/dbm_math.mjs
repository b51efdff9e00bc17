import { sigmoid } from "./rbm_math.mjs";
import { uniforms } from "./random.mjs";

/**
 * A deep Boltzmann machine of zeros and ones with two hidden layers, in float64.
 *
 * @typedef {object} DeepMachine
 * @property {number[]} sizes  units of the visible, first and second hidden layer
 * @property {Float64Array} weight1  sizes[1] x sizes[0], a hidden unit's weights in a row
 * @property {Float64Array} weight2  sizes[2] x sizes[1]
 * @property {Float64Array[]} biases  of the three layers
 */

/** Add W x (or, turned, W' x) to `input`; the rows of W have `width` numbers. */
function addProduct(input, weight, width, x, turned) {
  const rows = weight.length / width;
  for (let r = 0; r < rows; r += 1) {
    if (turned && x[r] === 0) continue;
    let sum = 0;
    for (let c = 0; c < width; c += 1) {
      if (turned) input[c] += x[r] * weight[r * width + c];
      else sum += weight[r * width + c] * x[c];
    }
    if (!turned) input[r] += sum;
  }
  return input;
}

/** What a layer receives from the one below and from the one above, without its bias. */
export function layerInputs({ sizes, weight1, weight2 }, layers, which) {
  const zero = () => new Float64Array(sizes[which]);
  const [v, h1, h2] = layers;
  if (which === 0) return { below: zero(), above: addProduct(zero(), weight1, sizes[0], h1, true) };
  if (which === 2) return { below: addProduct(zero(), weight2, sizes[1], h1, false), above: zero() };
  return {
    below: addProduct(zero(), weight1, sizes[0], v, false),
    above: addProduct(zero(), weight2, sizes[1], h2, true),
  };
}

/** P(unit = 1 | the neighbouring layers) for every unit of a layer. */
export function layerChance(machine, layers, which) {
  const { below, above } = layerInputs(machine, layers, which);
  return machine.biases[which].map((bias, i) => sigmoid(bias + below[i] + above[i]));
}

/** E(v, h1, h2). */
export function deepEnergy(machine, layers) {
  const { below, above } = layerInputs(machine, layers, 1);
  let value = 0;
  machine.biases.forEach((bias, which) => {
    for (let i = 0; i < bias.length; i += 1) value -= bias[i] * layers[which][i];
  });
  for (let j = 0; j < below.length; j += 1) value -= (below[j] + above[j]) * layers[1][j];
  return value;
}

/**
 * A chain that redraws one layer at a time. Without an image every unit starts as a fair
 * coin flip, in the order of the layers; with one the visible units start there.
 * @param {DeepMachine} machine
 * @param {ArrayLike<number> | null} image
 * @param {number} seed
 */
export function layerChain(machine, image, seed) {
  const uniform = uniforms(seed);
  const coin = (n) => Float64Array.from({ length: n }, () => (uniform() < 0.5 ? 1 : 0));
  const layers = machine.sizes.map(coin);
  if (image) layers[0] = Float64Array.from(image);
  const chain = {
    layers,
    chances: layers.map((x) => x.slice()), // of each unit when its layer was last drawn
    energies: [deepEnergy(machine, layers)],
    last: -1, // the layer drawn last
    /** @param {number} which  0: visible, 1 and 2: hidden */
    draw(which) {
      const chance = layerChance(machine, layers, which);
      chain.chances[which] = chance;
      layers[which] = chance.map((p) => (uniform() < p ? 1 : 0));
      chain.energies.push(deepEnergy(machine, layers));
      chain.last = which;
    },
  };
  return chain;
}

/** Numbers from base64: half, single or double precision, little-endian. */
export function decodeNumbers({ dtype, data }) {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const size = Number(dtype.slice(1));
  const half = (at) => {
    const bits = view.getUint16(at, true);
    const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
    const size16 = exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction;
    return bits >> 15 ? -size16 : size16;
  };
  const read = { 2: half, 4: (at) => view.getFloat32(at, true), 8: (at) => view.getFloat64(at, true) };
  return Float64Array.from({ length: bytes.length / size }, (_, i) => read[size](i * size));
}
