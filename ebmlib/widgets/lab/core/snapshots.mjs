/** States to go back to: at most 48 of them, evenly spread over what has been trained. */

const MOST = 48;

/**
 * @typedef {object} State  All that the next updates depend on.
 * @property {number} count
 * @property {Float64Array} theta
 * @property {Float64Array} mean     Adam's
 * @property {Float64Array} square   Adam's
 * @property {Float64Array} chains   where the chains are
 */

export function makeSnapshots() {
  /** @type {State[]} */
  let kept = [];
  let every = 1;
  /** @type {State | null} */
  let present = null; // where one was before going back
  const all = () => (present && present.count > (kept.at(-1)?.count ?? -1) ? [...kept, present] : kept);
  return {
    clear() {
      [kept, every, present] = [[], 1, null];
    },
    /** Called at the start of each update: what lies in its future is gone. */
    offer(/** @type {number} */ count, /** @type {() => State} */ state) {
      present = null;
      while (kept.length && kept[kept.length - 1].count >= count) kept.pop();
      if (count % every) return;
      if (kept.length === MOST) {
        every *= 2;
        kept = kept.filter((each) => each.count % every === 0);
        if (count % every) return;
      }
      kept.push(state());
    },
    /** What lies behind a count was another run: options have changed. */
    forget(/** @type {number} */ count) {
      present = null;
      kept = kept.filter((each) => each.count <= count);
    },
    /** Keep the present, so that one can come back to it. */
    keep(/** @type {State} */ state) {
      if (!all().some(({ count }) => count >= state.count)) present = state;
    },
    /** Counts that there are, and the present one. */
    counts(/** @type {number} */ now) {
      const list = all().map(({ count }) => count);
      return list.length && list[list.length - 1] >= now ? list : [...list, now];
    },
    /** The last state at or before a count. */
    before(/** @type {number} */ count) {
      const list = all();
      return list.filter((each) => each.count <= count).at(-1) ?? list[0];
    },
  };
}
