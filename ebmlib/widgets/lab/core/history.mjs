/** Learning curves of bounded length. */

const ROOM = 4096;
const COLUMNS = /** @type {const} */ (
  ["step", "kl", "logLikelihood", "dataEnergy", "sampleEnergy", "gradNorm"]
);

/** @returns {import("./types.mjs").History} */
export function makeHistory() {
  const columns = /** @type {Record<(typeof COLUMNS)[number], Float64Array>} */ (
    Object.fromEntries(COLUMNS.map((name) => [name, new Float64Array(ROOM)]))
  );
  const history = {
    length: 0,
    every: 1,
    ...columns,
    clear() {
      history.length = 0;
      history.every = 1;
    },
    /** Add an entry; those of a future that did not happen are dropped. @param {import("./types.mjs").Entry} entry */
    add(entry) {
      while (history.length && columns.step[history.length - 1] >= entry.step) history.length -= 1;
      if (entry.step % history.every) return;
      if (history.length === ROOM) {
        for (const name of COLUMNS) {
          for (let k = 0; k < ROOM / 2; k += 1) columns[name][k] = columns[name][2 * k];
        }
        history.length = ROOM / 2;
        history.every *= 2;
        if (entry.step % history.every) return;
      }
      for (const name of COLUMNS) columns[name][history.length] = entry[name];
      history.length += 1;
    },
  };
  return history;
}
