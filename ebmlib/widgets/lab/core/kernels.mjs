/**
 * The two loops in which all the time goes. They work on blocks of 64 points, one row of
 * 64 numbers a neuron, and hold a tile of the result in local variables: with one load
 * for every multiplication they would be half as fast.
 */

/** Points in a block. */
export const BLOCK = 64;

/**
 * out = W input, for one block.
 * @param {Float64Array} W       rows x columns; rows a multiple of 2
 * @param {number} rows
 * @param {number} columns
 * @param {Float64Array} input   columns x BLOCK, from `from`
 * @param {number} from
 * @param {Float64Array} out     rows x BLOCK, from `to`
 * @param {number} to
 */
export function multiply(W, rows, columns, input, from, out, to) {
  for (let r = 0; r < rows; r += 2) {
    const r0 = r * columns;
    const r1 = r0 + columns;
    for (let i = 0; i < BLOCK; i += 4) {
      let a = 0;
      let b = 0;
      let c = 0;
      let d = 0;
      let e = 0;
      let f = 0;
      let g = 0;
      let h = 0;
      for (let k = 0, p = from + i; k < columns; k += 1, p += BLOCK) {
        const u = W[r0 + k];
        const v = W[r1 + k];
        const x = input[p];
        const y = input[p + 1];
        const z = input[p + 2];
        const w = input[p + 3];
        a += u * x;
        b += u * y;
        c += u * z;
        d += u * w;
        e += v * x;
        f += v * y;
        g += v * z;
        h += v * w;
      }
      const q = to + r * BLOCK + i;
      out[q] = a;
      out[q + 1] = b;
      out[q + 2] = c;
      out[q + 3] = d;
      out[q + BLOCK] = e;
      out[q + BLOCK + 1] = f;
      out[q + BLOCK + 2] = g;
      out[q + BLOCK + 3] = h;
    }
  }
}

/**
 * G += left right^T, for one block.
 * @param {Float64Array} left    rows x BLOCK, from `at`; rows a multiple of 4
 * @param {number} at
 * @param {number} rows
 * @param {Float64Array} right   columns x BLOCK, from `from`; columns a multiple of 2
 * @param {number} from
 * @param {number} columns
 * @param {Float64Array} G       rows x columns
 */
export function addOuter(left, at, rows, right, from, columns, G) {
  for (let r = 0; r < rows; r += 4) {
    for (let k = 0; k < columns; k += 2) {
      let a = 0;
      let b = 0;
      let c = 0;
      let d = 0;
      let e = 0;
      let f = 0;
      let g = 0;
      let h = 0;
      let p = at + r * BLOCK;
      let q = from + k * BLOCK;
      for (const end = p + BLOCK; p < end; p += 1, q += 1) {
        const x = left[p];
        const y = left[p + BLOCK];
        const z = left[p + 2 * BLOCK];
        const w = left[p + 3 * BLOCK];
        const u = right[q];
        const v = right[q + BLOCK];
        a += x * u;
        b += x * v;
        c += y * u;
        d += y * v;
        e += z * u;
        f += z * v;
        g += w * u;
        h += w * v;
      }
      const s = r * columns + k;
      G[s] += a;
      G[s + 1] += b;
      G[s + columns] += c;
      G[s + columns + 1] += d;
      G[s + 2 * columns] += e;
      G[s + 2 * columns + 1] += f;
      G[s + 3 * columns] += g;
      G[s + 3 * columns + 1] += h;
    }
  }
}
