/**
 * Randomness by place: what happens in update number `count` depends on the seed and on
 * this number alone. So going back in time needs no state of a generator.
 */
import { normals, uniforms } from "../../random.mjs";

/** Purposes that must not share numbers. */
export const STREAMS = { data: 1, weights: 2, chains: 3, update: 4 };

/** Mix three whole numbers into 32 bits (the finaliser of MurmurHash3 after each). */
function mix(/** @type {number[]} */ ...parts) {
  let hash = 0;
  for (const part of parts) {
    hash = (hash + Math.imul(part | 0, 0x9e3779b1) + 0x7f4a7c15) | 0;
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    hash ^= hash >>> 16;
  }
  return hash;
}

/**
 * @param {number} seed
 * @param {number} purpose  of STREAMS
 * @param {number} [count]
 * @returns {{uniform: () => number, normal: () => number}}
 */
export function stream(seed, purpose, count = 0) {
  const uniform = uniforms(mix(seed, purpose, count));
  return { uniform, normal: normals(uniform) };
}
