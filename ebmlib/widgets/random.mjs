/** Random numbers that can be repeated: every figure draws from a seed. */

/** Uniform numbers in (0, 1): the 32-bit generator sfc32. @param {number} seed */
export function uniforms(seed) {
  let [a, b, c, count] = [seed | 0, 0x9e3779b9 | 0, 0x243f6a88 | 0, 1];
  const next = () => {
    const sum = (((a + b) | 0) + count) | 0;
    count = (count + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return ((sum >>> 0) + 0.5) / 4294967296;
  };
  for (let i = 0; i < 15; i += 1) next();
  return next;
}

/** Standard normal numbers (Box and Muller), two at a time. @param {() => number} uniform */
export function normals(uniform) {
  let kept = NaN;
  return () => {
    if (!Number.isNaN(kept)) {
      const value = kept;
      kept = NaN;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log(uniform()));
    const angle = 2 * Math.PI * uniform();
    kept = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
}
