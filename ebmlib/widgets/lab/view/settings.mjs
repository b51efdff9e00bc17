import { make } from "../../common.mjs";
import { DENSITIES, SHARED, SIDE, encodeDrawing, makeDensity } from "../core/index.mjs";
import { RAMPS } from "./colour.mjs";
import { chips, controlFor, explain } from "./controls.mjs";
import { drawingPad, starter } from "./pad.mjs";
import { sharp } from "./plane.mjs";
import { HELP, METHODS, SIDES } from "./words.mjs";

/**
 * The settings: built from the core's options, in four groups or as a short row.
 *
 * @typedef {import("../core/types.mjs").Config} Config
 * @typedef {import("../core/types.mjs").Side} Side
 * @typedef {(scope: "shared" | "side", name: string, value: any) => void} Change
 */

/** @type {[string, string[]][]} */
const GROUPS = [
  ["Negative phase", ["method", "steps", "step", "temperature", "chains"]],
  ["Network and prior", ["width1", "width2", "activation", "prior"]],
  ["Learning", ["lr", "batch", "seed"]],
];
const MORE = ["points", "bins", "init", "schedule", "horizon"];

/** Which controls have a say under the present settings. */
function inUse(/** @type {string} */ name, /** @type {Side} */ side) {
  if (["steps", "step", "temperature", "chains"].includes(name)) return side.method !== "exact";
  return name !== "horizon" || side.schedule === "cosine";
}

/** A density in small. */
function thumbnail(/** @type {HTMLCanvasElement} */ canvas, /** @type {string} */ name, /** @type {import("./colour.mjs").Theme} */ theme) {
  const [side, cells] = [40, 20];
  const context = sharp(canvas, side, side);
  const { logDensity } = makeDensity(name);
  const values = Float64Array.from({ length: cells * cells }, (_, k) =>
    Math.exp(logDensity(-1 + (2 * Math.floor(k / cells) + 1) / cells, -1 + (2 * (k % cells) + 1) / cells)));
  const most = values.reduce((a, b) => Math.max(a, b), 0);
  values.forEach((value, k) => {
    const at = 4 * Math.round(255 * Math.min(1, (value / most) ** 0.6));
    const [r, g, b] = RAMPS[theme].density.subarray(at, at + 3);
    context.fillStyle = `rgb(${r},${g},${b})`;
    const cell = side / cells;
    context.fillRect(Math.floor(k / cells) * cell, side - ((k % cells) + 1) * cell, cell, cell);
  });
}

/** The data: a picture for each density, and a pad to draw one. */
function dataControl(/** @type {Change} */ change, /** @type {boolean} */ given) {
  const names = [...Object.keys(DENSITIES), "drawn", ...(given ? ["given"] : [])];
  const canvases = new Map(Object.keys(DENSITIES).map((name) =>
    [name, make("canvas", { className: "lab-thumb", width: 40, height: 40, ariaHidden: "true" })]));
  const pad = drawingPad((text) => {
    if (text) change("shared", "drawing", text);
  });
  const known = SHARED.data.names ?? {};
  let drawing = "";
  const { root: row, show } = chips({ ...SHARED.data, label: "true density" }, (name) => {
    if (name === "drawn" && !drawing) change("shared", "drawing", encodeDrawing(starter()));
    else change("shared", "data", name);
  }, names, (name) => {
    const canvas = canvases.get(name);
    if (!canvas) return [name === "drawn" ? "Draw" : "Python"];
    return [canvas, make("span", { className: "ebm-sr" }, [known[name]])];
  });
  row.classList.add("lab-data");
  row.querySelectorAll("label").forEach((/** @type {HTMLElement} */ label, /** @type {number} */ i) => {
    label.title = known[names[i]];
  });
  explain(row, SHARED.data.help);
  return {
    root: make("div", {}, [row, pad.root]),
    /** @param {Config} config */
    show(config) {
      show(config.data);
      drawing = config.drawing;
      pad.root.hidden = config.data !== "drawn";
      if (!pad.root.hidden) pad.show(config.drawing);
    },
    /** @param {import("./colour.mjs").Theme} theme */
    paint(theme) {
      for (const [name, canvas] of canvases) thumbnail(canvas, name, theme);
      if (!pad.root.hidden) pad.paint();
    },
  };
}

/**
 * @param {string[] | null} only  names of the options to offer; null: all, in groups
 * @param {boolean} given         whether there are data from Python
 * @param {Change} change
 * @param {(index: number) => void} edit  which side the settings belong to
 */
export function settingsOf(only, given, change, edit) {
  const data = !only || only.includes("data") ? dataControl(change, given) : null;
  /** @type {Map<string, import("./controls.mjs").Control>} */
  const controls = new Map();
  const controlOf = (/** @type {string} */ name) => {
    const shared = Object.hasOwn(SHARED, name);
    const option = shared ? SHARED[name] : SIDE[/** @type {keyof Side} */ (name)];
    const scope = shared ? "shared" : "side";
    const control = controlFor(option, (value) => change(scope, name, value),
      name === "method" ? { short: METHODS } : {});
    control.root.dataset.option = name;
    if (name !== "seed") control.root.dataset.later = "";
    if (name === "method") {
      control.root.querySelectorAll("label").forEach((label, i) => {
        const word = /** @type {string[]} */ (SIDE.method.values)[i];
        label.title = SIDE.method.names?.[word] ?? word;
      });
    }
    controls.set(name, control);
    return control.root;
  };
  const which = chips({ ...SIDE.method, label: "Settings of model" }, edit, [0, 1], (i) => [SIDES[i].letter]);
  explain(which.root, HELP.side);
  which.root.classList.add("lab-which");
  /** @type {HTMLElement[]} */
  let parts;
  if (only) {
    const names = only.filter((name) => name !== "data" && (Object.hasOwn(SHARED, name) || Object.hasOwn(SIDE, name)));
    parts = [make("div", { className: "lab-row" }, names.map(controlOf))];
    if (data) parts.unshift(data.root);
  } else {
    const group = (/** @type {string} */ title, /** @type {HTMLElement[]} */ children, open = true) =>
      make("details", { className: "lab-group", open }, [
        make("summary", {}, [title]), make("div", { className: "lab-row" }, children)]);
    parts = [
      make("div", {}, [
        group("Data", [/** @type {any} */ (data).root]), group("More", MORE.map(controlOf), false)]),
      ...GROUPS.map(([title, names]) => group(title, names.map(controlOf))),
    ];
  }
  const groups = make("div", { className: only ? "lab-few" : "lab-groups" }, parts);
  const root = make("div", { className: "lab-settings" }, [which.root, groups]);
  return {
    root,
    which: which.root,
    /** @param {Config} config  @param {number} editing */
    show(config, editing) {
      const side = editing && config.b ? config.b : config.a;
      which.root.hidden = !config.b;
      which.show(editing);
      data?.show(config);
      for (const [name, control] of controls) {
        const from = Object.hasOwn(SHARED, name) ? config : side;
        control.root.hidden = !inUse(name, side);
        control.show(/** @type {any} */ (from)[name]);
      }
    },
    /** @param {import("./colour.mjs").Theme} theme */
    paint: (theme) => data?.paint(theme),
    /** Closed groups on a phone keep the page short. */
    fold() {
      groups.querySelectorAll("details").forEach((/** @type {HTMLDetailsElement} */ details, /** @type {number} */ i) => {
        details.open = i < 1;
      });
    },
  };
}
