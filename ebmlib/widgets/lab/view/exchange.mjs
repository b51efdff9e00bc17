import { decodeArray } from "../../common.mjs";
import { fromJSON, toJSON } from "../core/index.mjs";

/**
 * What goes to and comes from a notebook.
 *
 * @typedef {import("../../common.mjs").Model} Model
 */

/** Data and networks that came from Python. */
export function readGiven(/** @type {Model} */ model) {
  const given = model.get("given") ?? {};
  return {
    points: given.points ? decodeArray(given.points) : null,
    network: given.network ? fromJSON(given.network) : null,
  };
}

/** The traits that tell a notebook where the run stands. */
export function traitsOf(/** @type {import("./session.mjs").Session} */ { lab, config, playing, seeking }) {
  const finite = (/** @type {number} */ value) => (Number.isFinite(value) ? value : null);
  return {
    config,
    count: lab.count,
    playing: playing && !seeking,
    metrics: lab.trainers.map(({ history, count, field, stopped }) => {
      const last = history.length - 1;
      const at = (/** @type {Float64Array} */ row) => (last < 0 ? null : finite(row[last]));
      return {
        count, kl: finite(field().kl), log_likelihood: at(history.logLikelihood),
        data_energy: at(history.dataEnergy), sample_energy: at(history.sampleEnergy),
        grad_norm: at(history.gradNorm), stopped: stopped?.message ?? null,
      };
    }),
    ...(playing ? {} : { weights: lab.trainers.map(({ network }) => toJSON(network)) }),
  };
}
