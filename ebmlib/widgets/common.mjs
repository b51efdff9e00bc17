/**
 * What the widgets share: elements, controls with labels, announcements, decoding.
 *
 * @typedef {object} Model  What a host hands to a widget (anywidget's own interface).
 * @property {(name: string) => any} get
 * @property {(name: string, value: any) => void} set
 * @property {(event: string, callback: () => void) => void} on
 * @property {(event: string, callback: () => void) => void} off
 * @property {() => void} save_changes
 *
 * @typedef {{name: string, labels: string[], kind: "slider" | "choice"}} Axis
 */

/**
 * Make an element.
 * @param {string} tag
 * @param {Record<string, any>} [attributes]  Properties where the element has them.
 * @param {(Node | string)[]} [children]
 * @returns {any}
 */
export function make(tag, attributes = {}, children = []) {
  /** @type {any} */
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/**
 * Set a trait and tell the kernel, where there is one.
 * @param {Model} model
 * @param {string} name
 * @param {any} value
 */
export function assign(model, name, value) {
  model.set(name, value);
  model.save_changes();
}

/**
 * Call back on each change of the named traits; returns what undoes it.
 * @param {Model} model
 * @param {string[]} names
 * @param {() => void} callback
 */
export function follow(model, names, callback) {
  for (const name of names) model.on(`change:${name}`, callback);
  return () => {
    for (const name of names) model.off(`change:${name}`, callback);
  };
}

/**
 * Decode a little-endian typed array written by `encode_array`.
 * @param {{dtype: "f4" | "f8", data: string}} packed
 * @returns {Float64Array}
 */
export function decodeArray({ dtype, data }) {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const size = dtype === "f4" ? 4 : 8;
  return Float64Array.from({ length: bytes.length / size }, (_, i) =>
    size === 4 ? view.getFloat32(4 * i, true) : view.getFloat64(8 * i, true),
  );
}

/**
 * A number with few digits, a true minus sign, and no surprises.
 * @param {number} value
 */
export function format(value, digits = 4) {
  if (!Number.isFinite(value)) return value > 0 ? "∞" : value < 0 ? "−∞" : "undefined";
  const size = Math.abs(value);
  const plain = size === 0 || (size >= 1e-3 && size < 1e5);
  const text = plain
    ? value.toFixed(Math.max(0, digits - Math.max(1, Math.ceil(Math.log10(size || 1)))))
    : value.toExponential(Math.max(0, digits - 2));
  return (Number(text) === 0 ? text.replace("-", "") : text).replace(/-/g, "−");
}

/**
 * A labelled slider over positions 0 to n - 1 of an axis.
 * @param {Axis} axis
 * @param {(position: number) => void} change
 */
function slider(axis, change) {
  const value = make("span", { className: "ebm-value" });
  const input = make("input", { type: "range", min: 0, step: 1 });
  input.addEventListener("input", () => change(Number(input.value)));
  const head = make("span", { className: "ebm-name" }, [axis.name, value]);
  const root = make("label", { className: "ebm-control ebm-slider" }, [head, input]);
  return {
    root,
    show(/** @type {number} */ position, /** @type {string[]} */ labels) {
      input.max = labels.length - 1;
      input.value = position;
      input.setAttribute("aria-valuetext", `${axis.name} ${labels[position]}`);
      value.textContent = labels[position];
    },
  };
}

/**
 * A labelled list.
 * @param {Axis} axis
 * @param {(position: number) => void} change
 */
function list(axis, change) {
  const input = make("select");
  input.addEventListener("change", () => change(input.selectedIndex));
  const name = make("span", { className: "ebm-name" }, [axis.name]);
  let shown = "";
  return {
    root: make("label", { className: "ebm-control ebm-list" }, [name, input]),
    show(/** @type {number} */ position, /** @type {string[]} */ labels) {
      if (shown !== labels.join("\n")) {
        input.replaceChildren(...labels.map((text) => make("option", {}, [text])));
        shown = labels.join("\n");
      }
      input.selectedIndex = position;
    },
  };
}

/**
 * A row of buttons of which one is down: native radio buttons, all in sight.
 * @param {Axis} axis
 * @param {(position: number) => void} change
 */
function buttons(axis, change) {
  const group = `ebm-${Math.random().toString(36).slice(2)}`;
  const row = make("span", { className: "ebm-row" });
  const name = make("legend", { className: "ebm-name" }, [axis.name]);
  let shown = "";
  const button = (/** @type {string} */ text, /** @type {number} */ position) => {
    const input = make("input", { type: "radio", name: group });
    input.addEventListener("change", () => change(position));
    return make("label", { className: "ebm-chip" }, [input, make("span", {}, [text])]);
  };
  return {
    root: make("fieldset", { className: "ebm-control ebm-chips" }, [name, row]),
    show(/** @type {number} */ position, /** @type {string[]} */ labels) {
      if (shown !== labels.join("\n")) {
        row.replaceChildren(...labels.map(button));
        shown = labels.join("\n");
      }
      row.querySelectorAll("input")[position].checked = true;
    },
  };
}

/**
 * The native control that fits an axis: a slider for numbers, buttons for a few words,
 * a list for many.
 * @param {Axis} axis
 * @param {(position: number) => void} change
 * @returns {{root: HTMLElement, show: (position: number, labels: string[]) => void}}
 */
export function axisControl(axis, change) {
  if (axis.kind === "slider") return slider(axis, change);
  const letters = axis.labels.join("").length;
  return axis.labels.length <= 8 && letters <= 72 ? buttons(axis, change) : list(axis, change);
}

/**
 * A labelled list of named values.
 * @param {string} name
 * @param {(value: any) => void} change
 */
export function choice(name, change) {
  /** @type {any[]} */
  let values = [];
  const control = list({ name, labels: [], kind: "choice" }, (i) => change(values[i]));
  return {
    root: control.root,
    /** @param {any} value  @param {[any, string][]} options */
    show(value, options) {
      values = options.map(([key]) => key);
      control.show(values.indexOf(value), options.map(([, text]) => text));
    },
  };
}

/**
 * A region that screen readers read out, politely and not more than once a second.
 * @returns {{root: HTMLElement, say: (text: string) => void, stop: () => void}}
 */
export function announcer() {
  const root = make("p", { className: "ebm-sr", role: "status" });
  root.setAttribute("aria-live", "polite");
  let timer = 0;
  const stop = () => clearTimeout(timer);
  const say = (/** @type {string} */ text) => {
    stop();
    timer = setTimeout(() => {
      root.textContent = text;
    }, 1000);
  };
  return { root, say, stop };
}

/**
 * Tell when an element comes into sight or leaves it (also with its tab).
 * @param {Element} element
 * @param {(visible: boolean) => void} callback
 * @returns {() => void}  Stops watching.
 */
export function watchVisibility(element, callback) {
  let inSight = false;
  const tell = () => callback(inSight && !document.hidden);
  const observer = new IntersectionObserver((entries) => {
    inSight = entries[entries.length - 1].isIntersecting;
    tell();
  });
  observer.observe(element);
  document.addEventListener("visibilitychange", tell);
  return () => {
    observer.disconnect();
    document.removeEventListener("visibilitychange", tell);
  };
}
