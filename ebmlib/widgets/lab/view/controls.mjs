import { make } from "../../common.mjs";

/**
 * Native controls made from the core's options, each with a sentence that explains it.
 *
 * @typedef {import("../core/types.mjs").Option} Option
 *
 * @typedef {object} Control
 * @property {HTMLElement} root
 * @property {(value: any) => void} show
 */

let serial = 0;

/** Let an element explain itself: on hover and focus in the guide, and to a reader of screens. */
export function explain(/** @type {HTMLElement} */ element, /** @type {string} */ help) {
  element.dataset.help = help;
  const input = element.matches("input, select, button, canvas")
    ? element : element.querySelector("input, select, button");
  (element.tagName === "FIELDSET" ? element : input)?.setAttribute("aria-description", help);
  return element;
}

/** How a value is shown. */
function textOf(/** @type {Option} */ { names, unit }, /** @type {any} */ value) {
  return names?.[value] ?? (unit === "neurons" || !unit ? String(value) : `${value} ${unit}`);
}

/** @param {string} label */
const capital = (label) => label[0].toUpperCase() + label.slice(1);

/** A slider over the allowed numbers. */
function slider(/** @type {Option} */ option, /** @type {(value: any) => void} */ change, /** @type {any[]} */ values) {
  const out = make("span", { className: "ebm-value" });
  const input = make("input", { type: "range", min: 0, max: values.length - 1, step: 1 });
  input.addEventListener("input", () => change(values[Number(input.value)]));
  const name = make("span", { className: "ebm-name" }, [capital(option.label), out]);
  return {
    root: make("label", { className: "ebm-control ebm-slider" }, [name, input]),
    show(/** @type {any} */ value) {
      input.value = values.indexOf(value);
      out.textContent = textOf(option, value);
      input.setAttribute("aria-valuetext", textOf(option, value));
    },
  };
}

/** A row of buttons of which one is down. */
export function chips(/** @type {Option} */ option, /** @type {(value: any) => void} */ change, /** @type {any[]} */ values, /** @type {(value: any) => (Node | string)[]} */ face) {
  serial += 1;
  const inputs = values.map((value) => {
    const input = make("input", { type: "radio", name: `ebm-lab-${serial}` });
    input.addEventListener("change", () => change(value));
    return input;
  });
  const labels = inputs.map((input, i) =>
    make("label", { className: "ebm-chip" }, [input, make("span", {}, face(values[i]))]));
  const name = make("legend", { className: "ebm-name" }, [capital(option.label)]);
  return {
    root: make("fieldset", { className: "ebm-control ebm-chips" }, [
      name, make("span", { className: "ebm-row" }, labels)]),
    inputs,
    show(/** @type {any} */ value) {
      inputs.forEach((input, i) => {
        input.checked = values[i] === value;
      });
    },
  };
}

/** A list to choose from. */
function list(/** @type {Option} */ option, /** @type {(value: any) => void} */ change, /** @type {any[]} */ values) {
  const options = values.map((value) => make("option", {}, [textOf(option, value)]));
  const input = make("select", {}, options);
  input.addEventListener("change", () => change(values[input.selectedIndex]));
  const name = make("span", { className: "ebm-name" }, [capital(option.label)]);
  return {
    root: make("label", { className: "ebm-control ebm-list" }, [name, input]),
    show(/** @type {any} */ value) {
      input.selectedIndex = values.indexOf(value);
    },
  };
}

/** A whole number to type. */
function seedControl(/** @type {Option} */ option, /** @type {(value: number) => void} */ change) {
  const [least, most] = /** @type {[number, number]} */ (option.range);
  const input = make("input", { type: "number", min: least, max: most, step: 1 });
  input.addEventListener("change", () => change(Number(input.value)));
  const name = make("span", { className: "ebm-name" }, [capital(option.label)]);
  return {
    root: make("label", { className: "ebm-control" }, [name, input]),
    show(/** @type {number} */ value) {
      if (document.activeElement !== input || Number(input.value) !== value) input.value = value;
    },
  };
}

/** Chips of which several may be down. */
export function checks(/** @type {Option} */ option, /** @type {(value: string[]) => void} */ change, /** @type {(word: string) => (Node | string)[]} */ face, /** @type {Record<string, string>} */ helps) {
  const values = /** @type {string[]} */ (option.values);
  const inputs = values.map(() => make("input", { type: "checkbox" }));
  inputs.forEach((input) =>
    input.addEventListener("change", () => change(values.filter((_, i) => inputs[i].checked))));
  const labels = inputs.map((input, i) => explain(
    make("label", { className: "ebm-chip" }, [input, make("span", {}, face(values[i]))]), helps[values[i]]));
  return {
    root: make("div", { className: "ebm-control lab-checks", role: "group", ariaLabel: option.label }, labels),
    labels,
    show(/** @type {string[]} */ shown) {
      inputs.forEach((input, i) => {
        input.checked = shown.includes(values[i]);
      });
    },
  };
}

/**
 * The control that fits an option.
 * @param {Option} option
 * @param {(value: any) => void} change
 * @param {{values?: any[], short?: Record<string, string>}} [looks]
 * @returns {Control}
 */
export function controlFor(option, change, { values = option.values ?? [], short } = {}) {
  const face = (/** @type {any} */ value) => [short?.[value] ?? textOf(option, value)];
  const control = option.range ? seedControl(option, change)
    : values.every((value) => typeof value === "number")
    ? slider(option, change, values)
    : short ? chips(option, change, values, face) : list(option, change, values);
  explain(control.root, option.help);
  return control;
}

const ICONS = {
  play: "M5 3l11 6-11 6z", pause: "M4 3h4v12H4zM10 3h4v12h-4z",
  step: "M3 3l8 6-8 6zM12 3h3v12h-3z",
  reset: "M9 3a6 6 0 1 1-5.8 4.5l1.9.5A4 4 0 1 0 9 5v3L4.500 4 9 0z",
  slow: "M9 2a7 7 0 1 0 0 14A7 7 0 0 0 9 2zm0 2a5 5 0 1 1 0 10A5 5 0 0 1 9 4zm-1 1h2v4l3 2-1 1.600-4-2.500z",
  link: "M7 11l4-4M6.500 8L4 10.500a2.500 2.500 0 0 0 3.500 3.500L10 11.500M11.500 10L14 7.500A2.500 2.500 0 0 0 10.500 4L8 6.500",
  save: "M9 2v8M5.500 7L9 10.500 12.500 7M3 13v2h12v-2",
  dice: "M4 4h10v10H4zM7 7h.010M11 7h.010M9 9h.010M7 11h.010M11 11h.010",
};

/** @param {keyof typeof ICONS} name */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 18 18");
  svg.setAttribute("aria-hidden", "true");
  if (["link", "save", "dice"].includes(name)) svg.classList.add("lab-outline");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/**
 * A button with an icon, a word, and an explanation.
 * @param {keyof typeof ICONS} name
 * @param {string} word
 * @param {string} help
 * @param {() => void} press
 */
export function button(name, word, help, press) {
  const face = make("span", { className: "lab-word" }, [word]);
  const root = make("button", { type: "button", className: "lab-button" }, [icon(name), face]);
  root.addEventListener("click", press);
  explain(root, help);
  return root;
}
