import { format, make } from "../../common.mjs";
import { paintChart } from "./charts.mjs";
import { INK } from "./colour.mjs";
import { explain } from "./controls.mjs";
import { HELP, SIDES } from "./words.mjs";

/**
 * The four charts of learning.
 *
 * @typedef {import("../core/types.mjs").Lab} Lab
 * @typedef {"kl" | "likelihood" | "energy" | "gradient"} Name
 */

/** @type {Record<Name, {title: string, unit: string, log: boolean, rows: ("kl" | "logLikelihood" | "dataEnergy" | "sampleEnergy" | "gradNorm")[]}>} */
const CHARTS = {
  kl: { title: "KL(q ‖ p)", unit: "nats", log: true, rows: ["kl"] },
  likelihood: { title: "log-likelihood", unit: "nats", log: false, rows: ["logLikelihood"] },
  energy: { title: "mean energy", unit: "nats", log: false, rows: ["dataEnergy", "sampleEnergy"] },
  gradient: { title: "gradient norm", unit: "", log: true, rows: ["gradNorm"] },
};

/**
 * @param {Name[]} names
 */
export function curvesOf(names) {
  const charts = names.map((name) => {
    const canvas = make("canvas", { className: "lab-chart" });
    canvas.setAttribute("role", "img");
    const values = make("span", { className: "lab-values" });
    const head = make("figcaption", {}, [make("span", {}, [CHARTS[name].title]), values]);
    return { name, canvas, values, root: explain(make("figure", { className: "lab-figure", tabIndex: -1 }, [head, canvas]), HELP[name]) };
  });
  return {
    root: make("div", { className: "lab-curves" }, charts.map(({ root }) => root)),
    /** @param {Lab} lab  @param {import("./colour.mjs").Theme} theme */
    paint(lab, theme) {
      const { truth } = lab.problem;
      for (const { name, canvas, values, root } of charts) {
        const { rows, log } = CHARTS[name];
        root.hidden = name === "kl" && !truth;
        if (root.hidden) continue;
        const lines = lab.trainers.flatMap(({ history }, i) => rows.map((row, r) => ({
          x: history.step, y: history[row], length: history.length,
          colour: INK[theme][SIDES[i].ink], dash: r ? [2, 3] : SIDES[i].dash,
        })));
        const ends = lab.trainers.map(({ history, field }) => (name === "kl" ? format(field().kl, 3)
          : history.length ? format(history[rows[0]][history.length - 1], 3) : "–"));
        values.replaceChildren(...ends.map((text, i) =>
          make("span", { className: `lab-ink-${SIDES[i].ink}` }, [lab.b ? `${SIDES[i].letter} ${text}` : text])));
        const floor = name === "likelihood" && truth
          ? { value: -truth.entropy, label: "−entropy of q" } : null;
        const history = lab.a.history;
        const last = history.length ? history.step[history.length - 1] : 0;
        paintChart(canvas, {
          lines, floor, log, theme, cursor: last > lab.count + 1 ? lab.count : null,
        }, canvas.clientWidth || 200, canvas.clientHeight || 92);
        canvas.setAttribute("aria-label", `${CHARTS[name].title} after ${lab.count} updates: ${ends.join(" and ")}`);
      }
    },
  };
}
