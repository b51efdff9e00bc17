/**
 * Networks with one or two hidden layers: values, and gradients in the parameters and
 * in the input, at many points at once, in float64.
 *
 * `theta` holds the layers as PyTorch does. For the loops (see kernels.mjs) each layer's
 * weights are copied, once for every new theta, into matrices whose sides are multiples
 * of four; the rows of a bias are an input that is 1.
 */
import { addOuter, BLOCK, multiply } from "./kernels.mjs";

/** @typedef {import("./types.mjs").Activation} Activation */
/** @typedef {import("./types.mjs").Network} Network */

/** PyTorch's own constants. */
export const SLOPE = 0.01;
const SOFTPLUS_LIMIT = 20;

/** @param {number} size */
const padded = (size) => 4 * Math.ceil(size / 4);

/** @param {number[]} widths */
export function parameterCount(widths) {
  let count = 0;
  for (let i = 1; i < widths.length; i += 1) count += widths[i] * (widths[i - 1] + 1);
  return count;
}

/**
 * A network with all weights 0.
 * @param {number[]} widths
 * @param {Activation} activation
 * @param {number} [priorSd]
 * @returns {Network}
 */
export function makeNetwork(widths, activation, priorSd = 0) {
  const theta = new Float64Array(parameterCount(widths));
  return { widths: [...widths], activation, priorSd, theta };
}

/** Where each layer's weight and bias stand in theta. @param {number[]} widths */
export function layout(widths) {
  let start = 0;
  return widths.slice(1).map((rows, i) => {
    const columns = widths[i];
    const layer = { rows, columns, weight: start, bias: start + rows * columns };
    start = layer.bias + rows;
    return layer;
  });
}

/**
 * Draw initial weights, as `ebmlib.energy.mlp` (in law: the generators differ).
 * @param {Network} network
 * @param {import("./types.mjs").Init} init
 * @param {Float64Array} data   through which "lines" draws its lines
 * @param {() => number} uniform
 * @param {() => number} normal
 */
export function initialise({ widths, theta }, init, data, uniform, normal) {
  const layers = layout(widths);
  layers.forEach(({ rows, columns, weight, bias }, depth) => {
    const last = depth === layers.length - 1;
    theta.fill(0, weight, bias + rows);
    if (init === "lines" && last) return;
    const gain = init === "lines" && depth > 0 ? 2 : 1;
    const bound = 1 / Math.sqrt(columns);
    const sd = gain * Math.sqrt(2 / columns);
    for (let k = weight; k < bias; k += 1) {
      theta[k] = init === "torch" ? (2 * uniform() - 1) * bound : sd * normal();
    }
    for (let r = 0; r < rows && init === "torch"; r += 1) {
      theta[bias + r] = (2 * uniform() - 1) * bound;
    }
    for (let r = 0; r < rows && init === "lines" && depth === 0; r += 1) {
      const row = 2 * Math.floor((uniform() * data.length) / 2);
      const [u, v] = [theta[weight + 2 * r], theta[weight + 2 * r + 1]];
      theta[bias + r] = -(u * data[row] + v * data[row + 1]);
    }
  });
}

/** What each activation does to a stretch of numbers, in place. */
const APPLY = {
  /** @param {Float64Array} h @param {number} from @param {number} to */
  relu(h, from, to) {
    for (let i = from; i < to; i += 1) if (h[i] < 0) h[i] = 0;
  },
  /** @param {Float64Array} h @param {number} from @param {number} to */
  leaky_relu(h, from, to) {
    for (let i = from; i < to; i += 1) if (h[i] < 0) h[i] *= SLOPE;
  },
  /** @param {Float64Array} h @param {number} from @param {number} to */
  softplus(h, from, to) {
    for (let i = from; i < to; i += 1) {
      if (h[i] <= SOFTPLUS_LIMIT) h[i] = Math.log1p(Math.exp(h[i]));
    }
  },
  /** @param {Float64Array} h @param {number} from @param {number} to */
  tanh(h, from, to) {
    for (let i = from; i < to; i += 1) h[i] = Math.tanh(h[i]);
  },
};

/** Multiply d by the activation's slope, which its value h tells. */
const TIMES_SLOPE = {
  /** @param {Float64Array} d @param {Float64Array} h @param {number} from @param {number} n */
  relu(d, h, from, n) {
    for (let i = 0; i < n; i += 1) if (!(h[from + i] > 0)) d[i] = 0;
  },
  /** @param {Float64Array} d @param {Float64Array} h @param {number} from @param {number} n */
  leaky_relu(d, h, from, n) {
    for (let i = 0; i < n; i += 1) if (!(h[from + i] > 0)) d[i] *= SLOPE;
  },
  /** @param {Float64Array} d @param {Float64Array} h @param {number} from @param {number} n */
  softplus(d, h, from, n) {
    for (let i = 0; i < n; i += 1) {
      if (h[from + i] <= SOFTPLUS_LIMIT) d[i] *= -Math.expm1(-h[from + i]);
    }
  },
  /** @param {Float64Array} d @param {Float64Array} h @param {number} from @param {number} n */
  tanh(d, h, from, n) {
    for (let i = 0; i < n; i += 1) d[i] *= 1 - h[from + i] * h[from + i];
  },
};

/**
 * A layer's matrices with padded sides. The input's last used row is the constant 1.
 * @typedef {object} Packed
 * @property {number} rows      padded
 * @property {number} columns   padded, with room for the constant
 * @property {Float64Array} W   rows x columns
 * @property {Float64Array} WT  columns x rows
 * @property {Float64Array} G   gradient, rows x columns
 */

/**
 * Memory for a network's arithmetic at up to `capacity` points.
 *
 * @typedef {object} Batch
 * @property {number} count       points in use
 * @property {Float64Array} f     the network's values (after `forward`)
 * @property {Float64Array[]} h   per layer its input, block by block
 */

/**
 * Everything that a network computes. Memory is taken once.
 * @param {Network} network
 */
export function makeEngine(network) {
  const { widths, activation, theta } = network;
  const layers = layout(widths);
  const apply = APPLY[activation];
  const timesSlope = TIMES_SLOPE[activation];
  // a row of ones follows each layer's inputs: the bias is a column of W
  const packed = layers.map(({ rows, columns }) => {
    const [R, C] = [padded(rows), padded(columns + 1)];
    return {
      rows: R, columns: C, W: new Float64Array(R * C), WT: new Float64Array(R * C),
      G: new Float64Array(R * C),
    };
  });
  const delta = packed.map(({ rows }) => new Float64Array(rows * BLOCK));
  const back = packed.map(({ columns }) => new Float64Array(columns * BLOCK));
  const out = new Float64Array(4 * BLOCK);

  /** Copy theta into the matrices: call after every change of theta. */
  function pack() {
    layers.forEach(({ rows, columns, weight, bias }, l) => {
      const { rows: R, columns: C, W, WT } = packed[l];
      for (let r = 0; r < rows; r += 1) {
        for (let c = 0; c < columns; c += 1) {
          WT[c * R + r] = W[r * C + c] = theta[weight + r * columns + c];
        }
        WT[columns * R + r] = W[r * C + columns] = theta[bias + r];
      }
    });
  }

  /** @param {number} capacity @returns {Batch} */
  function makeBatch(capacity) {
    const blocks = Math.ceil(capacity / BLOCK);
    const h = packed.map(({ columns }, l) => {
      const rows = new Float64Array(blocks * columns * BLOCK);
      for (let block = 0; block < blocks; block += 1) {
        const ones = (block * columns + layers[l].columns) * BLOCK;
        rows.fill(1, ones, ones + BLOCK);
      }
      return rows;
    });
    return { count: 0, f: new Float64Array(blocks * BLOCK), h };
  }

  /**
   * Put points (or the first `count` of them) into a batch.
   * @param {Batch} batch @param {Float64Array} points
   */
  function load(batch, points, count = points.length / 2) {
    const [x, stride] = [batch.h[0], packed[0].columns * BLOCK];
    batch.count = count;
    for (let i = 0; i < count; i += 1) {
      const place = (i >> 6) * stride + (i & 63);
      x[place] = points[2 * i];
      x[place + BLOCK] = points[2 * i + 1];
    }
  }

  /**
   * Values at a batch's points, into batch.f; only the blocks from `first` to before `end`
   * where long work is shared out.
   * @param {Batch} batch
   */
  function forward({ count, h, f }, first = 0, end = Math.ceil(count / BLOCK)) {
    const last = layers.length - 1;
    for (let block = first; block < end; block += 1) {
      for (let l = 0; l < last; l += 1) {
        const { columns, W } = packed[l];
        const real = layers[l].rows;
        const to = block * packed[l + 1].columns * BLOCK;
        const ones = to + real * BLOCK;
        multiply(W, real + (real & 1), columns, h[l], block * columns * BLOCK, h[l + 1], to);
        if (real & 1) h[l + 1].fill(1, ones, ones + BLOCK); // an odd row's neighbour
        apply(h[l + 1], to, ones);
      }
      const { columns, W } = packed[last];
      multiply(W, 2, columns, h[last], block * columns * BLOCK, out, 0);
      f.set(out.subarray(0, BLOCK), block * BLOCK);
    }
  }

  /** Send `seed` (df of each point of a block) down to the slope of the lowest sums. */
  function descend(/** @type {Batch} */ { h }, /** @type {number} */ block) {
    for (let l = layers.length - 1; l > 0; l -= 1) {
      const { rows, columns, WT } = packed[l];
      multiply(WT, columns, rows, delta[l], 0, back[l], 0);
      const size = layers[l].columns * BLOCK;
      delta[l - 1].set(back[l].subarray(0, size));
      timesSlope(delta[l - 1], h[l], block * columns * BLOCK, size);
    }
  }

  /**
   * Add sum_i seeds_i df(x_i)/dtheta to what `collect` will hand out, after `forward`.
   * @param {Batch} batch
   * @param {Float64Array} seeds  one a point
   */
  function backward(batch, seeds, first = 0, end = Math.ceil(batch.count / BLOCK)) {
    const top = delta[layers.length - 1];
    for (let block = first; block < end; block += 1) {
      for (let i = 0; i < BLOCK; i += 1) {
        const place = block * BLOCK + i;
        top[i] = place < batch.count ? seeds[place] : 0;
      }
      descend(batch, block);
      packed.forEach(({ rows, columns, G }, l) => {
        addOuter(delta[l], 0, rows, batch.h[l], block * columns * BLOCK, columns, G);
      });
    }
  }

  /**
   * The sum of all `backward` since the last call.
   * @param {Float64Array} gradient  as theta; overwritten
   */
  function collect(gradient) {
    layers.forEach(({ rows, columns, weight, bias }, l) => {
      const { columns: C, G } = packed[l];
      for (let r = 0; r < rows; r += 1) {
        for (let c = 0; c < columns; c += 1) gradient[weight + r * columns + c] = G[r * C + c];
        gradient[bias + r] = G[r * C + columns];
      }
      G.fill(0);
    });
  }

  /**
   * df/dx at a batch's points, after `forward`.
   * @param {Batch} batch
   * @param {Float64Array} gradient  interleaved
   */
  function inputGradient(batch, gradient) {
    const { rows, WT } = packed[0];
    for (let block = 0; block * BLOCK < batch.count; block += 1) {
      delta[layers.length - 1].fill(1, 0, BLOCK);
      descend(batch, block);
      multiply(WT, 2, rows, delta[0], 0, back[0], 0);
      const most = Math.min(BLOCK, batch.count - block * BLOCK);
      for (let i = 0; i < most; i += 1) {
        gradient[2 * (block * BLOCK + i)] = back[0][i];
        gradient[2 * (block * BLOCK + i) + 1] = back[0][BLOCK + i];
      }
    }
  }

  pack();
  /** Blocks whose forward pass takes about a millisecond. */
  const slice = Math.max(1, Math.floor(1.5e6 / (theta.length * BLOCK)));
  return { network, slice, pack, makeBatch, load, forward, backward, collect, inputGradient };
}

/** @typedef {ReturnType<typeof makeEngine>} Engine */

/**
 * log p0 at a point; 0 for the flat reference, as in `TiltedEnergy`.
 * @param {number} sd @param {number} x @param {number} y
 */
export function logPrior(sd, x, y) {
  if (sd === 0) return 0;
  return -0.5 * (x * x + y * y) / (sd * sd) - Math.log(2 * Math.PI * sd * sd);
}
