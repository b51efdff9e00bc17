import {
  announcer, assign, axisControl, choice, decodeArray, follow, format, make, watchVisibility,
} from "./common.mjs";
import { decodePalette } from "./density_view.mjs";
import {
  brushed, freeEnergy, gibbsChain, hiddenChance, shareAbove, stroke,
} from "./rbm_math.mjs";
import { BRUSHES, energyRange, paintEnergies, paintFilters, paintImage } from "./rbm_view.mjs";

const TRAIL = 60; // last free energies of the chain that are drawn
const PLAY_ICONS = {
  play: "M4 2.5v11l9.5-5.5z",
  pause: "M3.5 2.5h3.2v11H3.5zM9.3 2.5h3.2v11H9.3z",
};
const JUMPS = [1, 10, 100, 1000];

const bits = (text) => Float64Array.from(text, Number);

/** The machine, drawing and chain as the traits describe them. */
function bench(model, spec) {
  const machines = new Map();
  let key = "";
  let chain = null;
  let trail = [];
  const entry = () => spec.models.find(({ name }) => name === model.get("model"));
  const machine = () => {
    const { name, side, hidden, weight, visible_bias: b, hidden_bias: c, reference } = entry();
    if (!machines.has(name)) {
      machines.set(name, {
        side, hidden, visible: side * side, weight: decodeArray(weight),
        visibleBias: decodeArray(b), hiddenBias: decodeArray(c),
        reference: reference === null ? null : decodeArray(reference),
      });
    }
    return machines.get(name);
  };
  const fits = (text) => text.length === machine().visible;
  /** What is drawn; the model's first image where a drawing is of another size. */
  const drawing = () => (fits(model.get("drawing")) ? model.get("drawing") : entry().starts[0].bits);
  const free = () => (fits(model.get("free")) ? model.get("free") : "1".repeat(machine().visible));
  return {
    entry, machine, drawing, free,
    /** The chain after as many steps as the trait says, and its last free energies. */
    now() {
      const wanted = [model.get("model"), model.get("seed"), drawing(), free()].join(" ");
      if (wanted !== key || chain.steps > model.get("steps")) {
        chain = gibbsChain(machine(), bits(drawing()), bits(free()), model.get("seed"));
        trail = [freeEnergy(machine(), chain.v)];
      }
      key = wanted;
      while (chain.steps < model.get("steps")) {
        chain.step();
        if (model.get("steps") - chain.steps < TRAIL) trail.push(freeEnergy(machine(), chain.v));
      }
      trail = trail.slice(-TRAIL);
      return { chain, trail };
    },
  };
}

/** The pad: a button with a canvas, that draws under pointers and arrow keys. */
function drawingPad(model, lab, paint) {
  const canvas = make("canvas");
  const root = make("button", { type: "button", className: "ebm-pad" }, [canvas]);
  let last = null;
  const cell = (event) => {
    const box = canvas.getBoundingClientRect();
    const { side } = lab.machine();
    return [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width]
      .map((share) => Math.min(side - 1, Math.max(0, Math.floor(share * side))));
  };
  const to = (place) => {
    paint(last === null ? [place] : stroke(last, place));
    last = place;
  };
  root.addEventListener("pointerdown", (event) => {
    root.setPointerCapture(event.pointerId);
    last = null;
    to(cell(event));
  });
  root.addEventListener("pointermove", (event) => {
    if (root.hasPointerCapture(event.pointerId)) to(cell(event));
  });
  const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
  root.addEventListener("keydown", (event) => {
    const { side } = lab.machine();
    const here = model.get("cursor").map((k) => Math.min(k, side - 1));
    if (event.key in moves) {
      const next = here.map((k, i) => Math.min(side - 1, Math.max(0, k + moves[event.key][i])));
      if (event.shiftKey) paint([next]);
      else assign(model, "cursor", next);
    } else if (event.key === " " || event.key === "Enter") paint([here]);
    else return;
    event.preventDefault();
  });
  return { root, canvas };
}

/** @param {{model: import("./common.mjs").Model, el: HTMLElement}} view */
function render({ model, el }) {
  const spec = model.get("spec");
  const palette = decodePalette(spec.palette);
  const lab = bench(model, spec);

  /** Set some traits at once; whatever changes the chain's start takes it back to it. */
  const change = (traits) => {
    assign(model, "playing", false);
    for (const [name, value] of Object.entries({ steps: 0, ...traits })) assign(model, name, value);
  };
  const paint = (places) => {
    if (!places.length) return;
    const { mask, value } = BRUSHES[model.get("brush")];
    const { side } = lab.machine();
    const text = [...(mask ? lab.free() : lab.drawing())];
    for (const [i, j] of places) for (const k of brushed(side, i, j, lab.entry().radius)) text[k] = value;
    change({ [mask ? "free" : "drawing"]: text.join(""), cursor: places[places.length - 1] });
  };
  const pad = drawingPad(model, lab, paint);
  const result = make("canvas", { className: "ebm-result", role: "img" });
  const filters = make("canvas", { className: "ebm-filters", role: "img" });
  const energies = make("canvas", { className: "ebm-energies", role: "img" });
  const title = (text) => make("p", { className: "ebm-title" }, [text]);
  const shown = title("");
  const duo = make("div", { className: "ebm-duo" }, [
    make("div", {}, [title("your drawing"), pad.root]), make("div", {}, [shown, result]),
  ]);
  const [low, high] = [make("span"), make("span")];
  const scale = make("p", { className: "ebm-scale" }, [low, make("span", {}, ["free energy F"]), high]);
  const body = make("tbody");
  const table = make("table", { className: "ebm-readout ebm-two" }, [body]);
  const voice = announcer();

  const names = spec.models.map(({ name }) => name);
  const models = axisControl({ name: "model", labels: names, kind: "choice" }, (i) => {
    const { side, starts } = spec.models[i];
    const other = side !== lab.machine().side;
    change({
      model: names[i],
      ...(other ? { drawing: starts[0].bits, free: "1".repeat(side * side), cursor: [0, 0] } : {}),
    });
  });
  const starts = choice("start from", (text) => change({ drawing: text }));
  const kinds = Object.keys(BRUSHES);
  const labels = kinds.map((name) => BRUSHES[name].label);
  const brushes = axisControl({ name: "brush", labels, kind: "choice" }, (i) =>
    assign(model, "brush", kinds[i]));
  const views = axisControl({ name: "right image", labels: [], kind: "choice" }, (i) =>
    assign(model, "show", ["sample", "probability"][i]));
  /** The rows that are left free, when they are a band: how many, and from where. */
  const band = () => {
    const { side } = lab.machine();
    const full = Array.from({ length: side }, (_, i) =>
      lab.free().slice(i * side, (i + 1) * side) === "1".repeat(side));
    const count = full.filter(Boolean).length;
    return { side, count, first: Math.max(0, full.indexOf(true)) };
  };
  const freeRows = (count, first) => {
    const { side } = lab.machine();
    const from = Math.min(first, side - count);
    change({ free: Array.from({ length: side }, (_, i) =>
      (i >= from && i < from + count ? "1" : "0").repeat(side)).join("") });
  };
  const many = axisControl({ name: "rows left free", labels: [], kind: "slider" }, (i) =>
    freeRows(i, band().first));
  const from = axisControl({ name: "first of them", labels: [], kind: "slider" }, (i) =>
    freeRows(band().count, i));

  const press = (text, action) => make("button", {
    type: "button", className: "ebm-press", textContent: text, onclick: action,
  });
  const play = make("button", {
    type: "button", className: "ebm-play",
    onclick: () => assign(model, "playing", !model.get("playing")),
  });
  const ahead = (count) => {
    assign(model, "playing", false);
    const next = model.get("steps") + count;
    assign(model, "steps", next > spec.max_steps ? count : next);
  };
  const jumps = JUMPS.map((count) =>
    press(count === 1 ? "1 step" : count.toLocaleString("en"), () => ahead(count)));
  const lead = make("div", { className: "ebm-lead" }, [
    play, ...jumps, press("back to the drawing", () => change({})),
  ]);
  const more = make("div", { className: "ebm-lead" }, [
    press("clear", () => change({
      drawing: "0".repeat(lab.machine().visible), free: "1".repeat(lab.machine().visible),
    })),
    press("other noise", () => {
      const steps = Math.max(1, model.get("steps"));
      change({ seed: (model.get("seed") + 1) % 1000, steps });
    }),
  ]);
  const caption = make("p", { className: "ebm-caption" }, [model.get("caption")]);
  caption.hidden = !model.get("caption");
  if (names.length < 2) models.root.hidden = true;
  const tools = make("div", { className: "ebm-tools" }, [
    lead, models.root, starts.root, brushes.root,
    make("div", { className: "ebm-pair" }, [many.root, from.root]), views.root, more,
  ]);
  el.classList.add("ebm", "ebm-particle", "ebm-rbm");
  el.append(duo, tools, title("hidden units: red pixels switch them on, blue ones off; bar: chance to be on"),
    filters, title("grey: real digits; triangle: drawing; dots: chain, newest on top"),
    energies, scale, table, caption, voice.root);

  const showControls = () => {
    const { starts: images } = lab.entry();
    models.show(names.indexOf(model.get("model")), names);
    const known = images.some((one) => one.bits === lab.drawing());
    starts.show(lab.drawing(), [
      ...images.map((one) => [one.bits, one.name]),
      ...(known ? [] : [[lab.drawing(), "your own drawing"]]),
    ]);
    brushes.show(kinds.indexOf(model.get("brush")), labels);
    views.show(model.get("show") === "sample" ? 0 : 1, ["sample", "probabilities"]);
    const { side, count, first } = band();
    const numbers = Array.from({ length: side + 1 }, (_, i) => String(i));
    many.show(count, [...numbers.slice(0, side), `all ${side}`]);
    from.root.hidden = count === 0 || count === side;
    from.show(Math.min(first, side - count), numbers.slice(0, side - count + 1).map((n) => String(Number(n) + 1)));
    const playing = model.get("playing");
    const path = playing ? PLAY_ICONS.pause : PLAY_ICONS.play;
    play.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${path}"/></svg>`;
    play.setAttribute("aria-label", playing ? "Pause the chain" : "Let the chain run");
    play.title = playing ? "Pause" : "Play";
  };
  const row = (name, ...cells) => make("tr", {}, [
    make("th", { scope: "row" }, [name]), ...cells.map((text) => make("td", {}, [text])),
  ]);
  const show = () => {
    const machine = lab.machine();
    const { side, reference } = machine;
    const { chain, trail } = lab.now();
    const image = bits(lab.drawing());
    const free = bits(lab.free());
    const drawn = freeEnergy(machine, image);
    const present = freeEnergy(machine, chain.v);
    const cursor = model.get("cursor").map((k) => Math.min(k, side - 1));
    paintImage(pad.canvas, image, side, { free, cursor, brush: model.get("brush") });
    const values = model.get("show") === "sample" ? chain.v : chain.chance;
    paintImage(result, values, side, {});
    paintFilters(filters, machine, side, hiddenChance(machine, chain.v), palette);
    const range = energyRange(reference, drawn);
    paintEnergies(energies, range, reference, drawn, trail);
    const [left, right] = range.map((value) => format(value, 3));
    low.textContent = left;
    high.textContent = right;
    const { log_partition: logZ } = lab.entry();
    const percent = (value) => `${format(100 * shareAbove(reference, value), 3)} %`;
    const count = (v) => String(v.reduce((a, b) => a + b, 0));
    const steps = model.get("steps").toLocaleString("en");
    shown.textContent = `after ${steps} Gibbs step${steps === "1" ? "" : "s"}`;
    body.replaceChildren(
      make("tr", {}, ["", "drawing", "chain"].map((text) => make("th", { scope: "col" }, [text]))),
      row("free energy F", format(drawn, 4), format(present, 4)),
      ...(logZ === null ? [] : [
        row("log p = −F − log Z", format(-drawn - logZ, 4), format(-present - logZ, 4)),
      ]),
      ...(reference === null ? [] : [
        row("real digits with a higher F", percent(drawn), percent(present)),
      ]),
      row("pixels on", count(image), count(chain.v)),
    );
    const words = `${steps} steps: free energy ${format(present, 3)}, drawing ${format(drawn, 3)}`;
    const [i, j] = cursor;
    pad.root.setAttribute("aria-label", `Drawing pad, row ${i + 1}, column ${j + 1} of ${side}: ` +
      "arrow keys move, space paints, shift and an arrow key draw");
    result.setAttribute("aria-label", `${model.get("alt")} (the chain's image after ${steps} steps)`);
    filters.setAttribute("aria-label", `${machine.hidden} hidden units with their weights`);
    energies.setAttribute("aria-label", `Free energies: ${words}`);
    if (!model.get("playing")) voice.say(words);
  };
  let timer = 0;
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
  const tick = () => {
    if (!model.get("playing")) return;
    const next = model.get("steps") + 1;
    assign(model, "steps", Math.min(spec.max_steps, next));
    if (next >= spec.max_steps) assign(model, "playing", false);
    else timer = setTimeout(tick, calm.matches ? 1000 : spec.interval);
  };
  const resized = new ResizeObserver(show);
  resized.observe(duo);
  showControls();
  const settings = ["model", "drawing", "free", "seed", "brush", "show", "cursor"];
  const undo = [
    follow(model, settings, () => (showControls(), show())),
    follow(model, ["steps"], show),
    follow(model, ["playing"], () => {
      clearTimeout(timer);
      showControls();
      if (model.get("playing")) tick();
    }),
    watchVisibility(el, (visible) => {
      if (!visible && model.get("playing")) assign(model, "playing", false);
    }),
  ];
  return () => {
    clearTimeout(timer);
    undo.forEach((stop) => stop());
    resized.disconnect();
    voice.stop();
  };
}

export default { render };
