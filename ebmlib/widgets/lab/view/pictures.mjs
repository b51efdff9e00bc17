import { format, make } from "../../common.mjs";
import { firstLayerLines, laterLayerLines, SIDE } from "../core/index.mjs";
import { RAMPS } from "./colour.mjs";
import { explain } from "./controls.mjs";
import { paintPlane } from "./plane.mjs";
import { HELP, METHODS, PHASES, SIDES } from "./words.mjs";

/**
 * @typedef {import("../core/types.mjs").Config} Config
 * @typedef {import("../core/types.mjs").Side} Side
 * @typedef {import("../core/types.mjs").Trainer} Trainer
 * @typedef {import("./colour.mjs").Theme} Theme
 * @typedef {import("./session.mjs").Phase} Phase
 */

/** What a side does, in a few words. */
export function summary(/** @type {Side} */ side) {
  const chains = {
    exact: "exact, on the grid",
    cd: `CD-${side.steps}, s = ${side.step}`,
    persistent: `persistent, ${side.steps} × s = ${side.step}`,
    shortrun: `short runs, ${side.steps} × s = ${side.step}`,
  }[side.method];
  return side.method === "exact" || side.temperature === 1 ? chains : `${chains}, T = ${side.temperature}`;
}

/**
 * What a side does and, where the two do the same, in what else they differ.
 * @param {Side} side  @param {Side | null} other
 */
export function contrast(side, other) {
  if (!other || summary(side) !== summary(other)) return summary(side);
  const { prior, lr, batch, activation } = side;
  const parts = [
    [shape(side) !== shape(other) || activation !== other.activation,
      `${shape(side)} ${SIDE.activation.names?.[activation]}`],
    [prior !== other.prior, prior ? `prior sd ${prior}` : "flat prior"],
    [lr !== other.lr, `rate ${lr}`],
    [batch !== other.batch, batch ? `batch ${batch}` : "all data"],
    [side.init !== other.init, SIDE.init.names?.[side.init]],
  ];
  const found = parts.flatMap(([differs, words]) => (differs ? [words] : []));
  return found.length ? found.join(", ") : summary(side);
}

/** The network of a side in a few characters. */
export const shape = (/** @type {Side} */ { width1, width2 }) => (width2 ? `${width1}–${width2}` : `${width1}`);

/** Largest value of a field. */
function top(/** @type {ArrayLike<number>} */ values) {
  let most = -Infinity;
  for (let k = 0; k < values.length; k += 1) if (values[k] > most) most = values[k];
  return most;
}

/** What the colours show: values, ramp, ends of the scale, and the words for the colour bar. */
export function colouring(/** @type {Trainer} */ trainer, /** @type {string} */ show, /** @type {Phase | null} */ phase) {
  const { truth } = trainer.problem;
  const field = trainer.field();
  if (phase?.kind === "push" || phase?.kind === "pull") {
    // a constant added to the energy changes no density: the mean is left out
    const change = phase.kind === "push" ? trainer.push() : trainer.pull();
    const mean = change.reduce((sum, v) => sum + v, 0) / change.length;
    const values = change.map((v) => mean - v);
    const most = top(values.map(Math.abs)) || 1;
    return { values, ramp: "signed", range: [-most, most], words: ["energy rises", "falls (less the mean)"], power: 1 };
  }
  const most = truth ? Math.exp(top(truth.logProb)) : 0;
  if (show === "truth" && truth) {
    return { values: truth.logProb.map(Math.exp), ramp: "density", range: [0, most], words: ["0", format(most, 3)], power: 0.7 };
  }
  if (show === "difference" && truth) {
    const values = field.logProb.map((v, k) => Math.exp(v) - Math.exp(truth.logProb[k]));
    return { values, ramp: "signed", range: [-most, most], words: ["too little", "too much"], power: 1 };
  }
  if (show === "energy") {
    const low = -top(field.energy.map((v) => -v));
    const high = Math.min(top(field.energy), low + 30);
    return { values: field.energy.map((v) => -v), ramp: "energy", range: [-high, -low], words: [`high ${format(high, 3)}`, `low ${format(low, 3)}`], power: 1 };
  }
  if (show === "log_density") {
    const high = top(field.logProb);
    return { values: field.logProb, ramp: "density", range: [high - 12, high], words: [format(high - 12, 3), format(high, 3)], power: 1 };
  }
  const highest = Math.max(Math.exp(top(field.logProb)), 0.6 * most);
  return { values: field.logProb.map(Math.exp), ramp: "density", range: [0, highest], words: ["0", format(highest, 3)], power: 0.7 };
}

/** The lines of every hidden layer. */
function linesOf(/** @type {Trainer} */ trainer) {
  const { network, problem } = trainer;
  const layers = [firstLayerLines(network)];
  if (network.widths.length > 3) layers.push(laterLayerLines(network, problem.grid));
  return layers;
}

/**
 * The section of one side: head, picture, and what is written on it.
 * @param {number} index  0 or 1
 * @param {{back: () => void, reset: () => void}} ways  out of a run that has stopped
 */
export function pictureOf(index, ways) {
  const { letter } = SIDES[index];
  const badge = make("span", { className: `lab-badge lab-badge-${letter.toLowerCase()}` }, [letter]);
  const title = make("span", { className: "lab-title" });
  const score = make("span", { className: "lab-score" });
  const canvas = make("canvas", { className: "lab-plane" });
  canvas.setAttribute("role", "img");
  explain(canvas, HELP.picture);
  const pill = make("p", { className: "lab-pill", hidden: true });
  const words = make("p");
  const back = make("button", { type: "button", className: "lab-button", textContent: "Back to good weights" });
  const again = make("button", { type: "button", className: "lab-button", textContent: "Start again" });
  back.addEventListener("click", ways.back);
  again.addEventListener("click", ways.reset);
  const alert = make("div", { className: "lab-alert", hidden: true, role: "alert" }, [
    words, make("div", { className: "lab-alert-buttons" }, [back, again])]);
  const strip = make("canvas", { className: "lab-ramp", width: 128, height: 1, ariaHidden: "true" });
  const [least, most] = [make("span"), make("span")];
  const scale = make("p", { className: "lab-scale" }, [least, strip, most]);
  const root = make("section", { className: "lab-side" }, [
    make("p", { className: "lab-head" }, [badge, title, score]),
    make("div", { className: "lab-square" }, [canvas, pill, alert]),
    scale,
  ]);
  let painted = "";

  return {
    root,
    /**
     * @param {Trainer} trainer
     * @param {Config} config
     * @param {{theme: Theme, slow: boolean, phase: Phase | null, compare: boolean}} how
     */
    paint(trainer, config, { theme, slow, phase, compare }) {
      const { side } = trainer;
      badge.hidden = !compare;
      title.textContent = compare ? contrast(side, index ? config.a : config.b) : `${METHODS[side.method]} · ${shape(side)}`;
      const field = trainer.field();
      const history = trainer.history;
      const likelihood = history.length ? history.logLikelihood[history.length - 1] : NaN;
      score.textContent = Number.isFinite(field.kl) ? `KL ${format(field.kl, 4)}`
        : Number.isFinite(likelihood) ? `log-lik. ${format(likelihood, 4)}` : "";
      const look = colouring(trainer, config.view.show, phase);
      const layers = new Set(config.view.layers);
      const walking = phase?.kind === "chains";
      if (slow && phase?.kind === "push") layers.delete("chains");
      if (slow && phase?.kind === "pull") layers.delete("data");
      if (walking) layers.add("chains");
      const ramp = /** @type {"density" | "energy" | "signed"} */ (look.ramp);
      paintPlane(canvas, {
        theme, values: look.values, grid: trainer.problem.grid, ramp,
        range: /** @type {[number, number]} */ (look.range), power: look.power,
        energy: field.energy, force: trainer.force, layers, data: trainer.problem.data,
        chains: side.method === "exact" ? null : trainer.chains,
        lines: layers.has("lines") ? linesOf(trainer) : [],
      }, canvas.clientWidth || 300);
      [least.textContent, most.textContent] = look.words;
      if (painted !== theme + ramp) {
        painted = theme + ramp;
        const context = /** @type {CanvasRenderingContext2D} */ (strip.getContext("2d"));
        const image = context.createImageData(128, 1);
        for (let i = 0; i < 128; i += 1) image.data.set(RAMPS[theme][ramp].subarray(8 * i, 8 * i + 4), 4 * i);
        context.putImageData(image, 0, 0);
      }
      pill.hidden = !(slow && phase);
      if (phase) {
        pill.textContent = walking ? `Langevin step ${phase.done} of ${phase.total}`
          : PHASES[/** @type {keyof typeof PHASES} */ (phase.kind)];
      }
      alert.hidden = !trainer.stopped;
      if (trainer.stopped && words.textContent !== trainer.stopped.message) {
        words.textContent = trainer.stopped.message;
      }
    },
    /** Say in words what the picture shows. @param {Trainer} trainer @param {string} show */
    describe(trainer, show) {
      const kl = trainer.field().kl;
      const exact = Number.isFinite(kl) ? ` KL from the true density: ${format(kl, 3)} nats.` : "";
      canvas.setAttribute("aria-label",
        `Model ${letter}, ${summary(trainer.side)}: ${show} after ${trainer.count} updates.${exact}`);
    },
  };
}
