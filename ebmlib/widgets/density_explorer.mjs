import {
  announcer, assign, axisControl, choice, decodeArray, follow, format, make, watchVisibility,
} from "./common.mjs";
import {
  decodeNetwork, gridEnergies, gridLogDensity, gridValues, klDivergence, logPartition, probe,
} from "./density_math.mjs";
import {
  boundaryLines, colourBar, decodePalette, layerKey, paintField, paintOverlay, valueRange,
} from "./density_view.mjs";
import { probeHandle } from "./probe.mjs";

const LOG_DEPTH = 20; // nats below the top at which the colours of a log density end
const SLICE_MS = 12; // of work between two screen refreshes

/** Decode on first use, once. */
function lazily(items, decode) {
  const done = new Map();
  return (key) => {
    if (!done.has(key)) done.set(key, decode(items[key], key));
    return done.get(key);
  };
}

/** Run a generator in slices; the promise is of null when `stale()` says to give up. */
async function inSlices(work, stale) {
  for (;;) {
    const end = performance.now() + SLICE_MS;
    while (performance.now() < end) {
      const step = work.next();
      if (step.done) return step.value;
    }
    await new Promise((resolve) => setTimeout(resolve));
    if (stale()) return null;
  }
}

/** Keeps each model's values on each grid, so that only new ones are computed. */
function gridStore(spec, network) {
  const kept = new Map();
  return async (number, bins, stale) => {
    const key = `${number} ${bins}`;
    if (!kept.has(key)) {
      const values = await inSlices(gridValues(network(number), spec.box, bins), stale);
      if (!values) return null;
      kept.set(key, gridEnergies(values, spec.models[number].prior, spec.box, bins));
      if (kept.size > 24) kept.delete(kept.keys().next().value);
    }
    return kept.get(key);
  };
}

/** What the picture shows, as values on a grid, with its colours. */
function fieldOf(show, { energies, logDensity, values, truth }) {
  const density = () => logDensity.map(Math.exp);
  const fields = {
    density,
    log_density: () => logDensity,
    f: () => values(),
    energy: () => energies,
    truth: () => truth.map(Math.exp),
    difference: () => density().map((p, k) => p - Math.exp(truth[k])),
  };
  const field = fields[show]();
  let range = valueRange(field, show === "difference");
  const below = show === "log_density" && range[0] < range[1] - LOG_DEPTH;
  if (below) range = [range[1] - LOG_DEPTH, range[1]];
  if (["density", "truth"].includes(show)) range = [0, range[1]];
  return { field, range, below, palette: show === "difference" ? "diverging" : "sequential" };
}

/** One control for each axis of models; later ones offer what exists with earlier ones. */
function modelControls(model, spec) {
  const keys = spec.models.map(({ key }) => key);
  const offered = (place, key) => {
    const open = keys.filter((other) => other.slice(0, place).every((v, i) => v === key[i]));
    return spec.axes[place].labels.filter((label) => open.some((k) => k[place] === label));
  };
  const pick = (place, position) => {
    const now = model.get("model");
    const wish = [...now.slice(0, place), offered(place, now)[position]];
    const fits = keys.filter((key) => wish.every((label, i) => label === key[i]));
    const rest = (key) => key.filter((label, i) => i > place && label === now[i]).length;
    fits.sort((a, b) => rest(b) - rest(a));
    assign(model, "model", [...fits[0]]);
  };
  const controls = spec.axes.map((axis, i) => axisControl(axis, (position) => pick(i, position)));
  return {
    roots: controls.map((control) => control.root),
    show() {
      const key = model.get("model");
      controls.forEach((control, i) => {
        const labels = offered(i, key);
        control.show(labels.indexOf(key[i]), labels);
        control.root.hidden = spec.axes[i].labels.length < 2;
      });
    },
  };
}

/** Temperature on a logarithmic scale, T = 1 in the middle when the range is symmetric. */
function temperatureControl(model, [low, high]) {
  const value = make("span", { className: "ebm-value" });
  const input = make("input", {
    type: "range", min: Math.log10(low), max: Math.log10(high), step: 0.05,
  });
  input.addEventListener("input", () => {
    assign(model, "temperature", Number((10 ** Number(input.value)).toPrecision(4)));
  });
  const name = make("span", { className: "ebm-name" }, ["temperature T", value]);
  return {
    root: make("label", { className: "ebm-control ebm-slider" }, [name, input]),
    show() {
      const temperature = model.get("temperature");
      input.value = Math.log10(temperature);
      value.textContent = format(temperature, 3);
      input.setAttribute("aria-valuetext", `temperature ${format(temperature, 3)}`);
    },
  };
}

/** The probe's handle (drag, tap, arrow keys) and its two number fields. */
function probeControl(model, square, box) {
  const [low, high] = box;
  const handle = probeHandle(model, square, box);
  const fields = ["probe x₁", "probe x₂"].map((text, i) => {
    const input = make("input", { type: "number", min: low, max: high, step: 0.01 });
    input.addEventListener("change", () => {
      const next = [...model.get("probe")];
      if (input.value !== "") next[i] = Number(input.value);
      handle.set(...next);
      input.value = model.get("probe")[i];
    });
    const name = make("span", { className: "ebm-name" }, [text]);
    return { input, root: make("label", { className: "ebm-control" }, [name, input]) };
  });
  return {
    root: make("div", { className: "ebm-pair" }, fields.map(({ root }) => root)),
    show() {
      handle.show();
      fields.forEach(({ input }, i) => (input.value = model.get("probe")[i]));
    },
  };
}

/** The table of numbers under the controls. */
function readout() {
  const body = make("tbody");
  const pair = (v) => `(${format(v[0])}, ${format(v[1])})`;
  return {
    root: make("table", { className: "ebm-readout" }, [body]),
    show(network, here, logZ, kl) {
      const counts = here.active.map((n, i) => `${n} of ${network.layers[i].rows}`);
      const rows = [
        ["f(x)", format(here.f, 5)],
        ["energy E(x)", format(here.energy, 5)],
        ["log p(x)", format(here.logDensity, 5)],
        ["score −∇E(x)", pair(here.score)],
        ["active neurons", counts.join(", ") || "none"],
        ["log Z", format(logZ, 6)],
        ...(kl === null ? [] : [["KL(true ‖ model)", `${format(kl, 4)} nats`]]),
      ];
      body.replaceChildren(
        ...rows.map(([name, text]) =>
          make("tr", {}, [make("th", { scope: "row" }, [name]), make("td", {}, [text])]),
        ),
      );
    },
  };
}

/** Whether points are drawn. */
function pointsControl(model) {
  const input = make("input", { type: "checkbox" });
  input.addEventListener("change", () => assign(model, "points", input.checked));
  const root = make("label", { className: "ebm-check" }, [input, "data points"]);
  return { root, show: () => (input.checked = model.get("points")) };
}

/** Computes what the widget shows; nothing here touches the page. */
function calculator(model, spec) {
  const network = lazily(spec.models, ({ network: packed }) => decodeNetwork(packed));
  const truths = lazily(spec.truths, ({ log_density: packed }) => decodeArray(packed));
  const points = lazily(spec.datasets, decodeArray);
  const lines = lazily({}, (_, key) => {
    const [number, layer] = key.split(" ").map(Number);
    return boundaryLines(network(number), layer, spec.box);
  });
  const energiesOn = gridStore(spec, network);
  const number = () => {
    const key = model.get("model").join("\n");
    return spec.models.findIndex((entry) => entry.key.join("\n") === key);
  };
  const density = (energies, bins) => {
    const temperature = model.get("temperature");
    const logZ = logPartition(energies, temperature, spec.box, bins);
    return { energies, bins, logZ, logDensity: gridLogDensity(energies, temperature, logZ) };
  };
  return {
    number,
    network: () => network(number()),
    prior: () => spec.models[number()].prior,
    hasTruth: () => spec.models[number()].truth !== null,
    depth: () => network(number()).layers.length - 1,
    data: () => {
      const place = spec.models[number()].data;
      return place === null || !model.get("points") ? null : points(place);
    },
    boundaries: () =>
      Array.from({ length: Math.min(model.get("boundaries"), network(number()).layers.length - 1) },
        (_, layer) => lines(`${number()} ${layer}`)),
    /** The density on the reader's grid and on that of the true density. */
    async densities(stale) {
      const now = number();
      const bins = model.get("resolution");
      const energies = await energiesOn(now, bins, stale);
      const place = spec.models[now].truth;
      if (!energies || place === null) return energies && { own: density(energies, bins) };
      const side = spec.truths[place].bins;
      const others = await energiesOn(now, side, stale);
      if (!others) return null;
      const onTruth = { ...density(others, side), truth: truths(place) };
      const kl = klDivergence(onTruth.truth, onTruth.logDensity);
      return { own: density(energies, bins), onTruth, kl };
    },
  };
}

/** @param {{model: import("./common.mjs").Model, el: HTMLElement}} view */
function render({ model, el }) {
  const spec = model.get("spec");
  const palettes = lazily(spec.palettes, decodePalette);
  const sums = calculator(model, spec);
  const field = make("canvas", { className: "ebm-field", role: "img" });
  const overlay = make("canvas");
  overlay.setAttribute("aria-hidden", "true");
  const square = make("div", { className: "ebm-square" }, [field, overlay]);
  const bar = colourBar();
  const key = layerKey();
  const models = modelControls(model, spec);
  const shown = choice("show", (value) => assign(model, "show", value));
  const grid = choice("grid", (value) => assign(model, "resolution", value));
  const borders = choice("neuron boundaries", (value) => assign(model, "boundaries", value));
  const temperature = temperatureControl(model, spec.temperatures);
  const dots = pointsControl(model);
  const marker = probeControl(model, square, spec.box);
  const table = readout();
  const voice = announcer();
  const caption = make("p", { className: "ebm-caption" }, [model.get("caption")]);
  caption.hidden = !model.get("caption");

  const board = make("div", { className: "ebm-board" }, [
    square, bar.root, key.root, table.root,
  ]);
  const pair = make("div", { className: "ebm-pair ebm-uneven" }, [shown.root, grid.root]);
  const looks = make("div", { className: "ebm-pair" }, [borders.root, dots.root]);
  const tools = make("div", { className: "ebm-tools" }, [
    ...models.roots, pair, temperature.root, looks, marker.root,
  ]);
  el.classList.add("ebm", "ebm-density");
  el.append(make("div", { className: "ebm-plane" }, [board, tools]), caption, voice.root);

  let result = null;
  let visible = false;
  let round = 0;
  const ink = () => (model.get("show") === "difference" ? "#222222" : "#ffffff");

  const showControls = () => {
    const options = Object.entries(spec.shown).filter(
      ([name]) => sums.hasTruth() || !["truth", "difference"].includes(name),
    );
    const layers = Array.from({ length: sums.depth() }, (_, i) => [
      i + 1, i === 0 ? "layer 1" : `layers 1–${i + 1}`,
    ]);
    models.show();
    shown.show(model.get("show"), options);
    grid.show(model.get("resolution"), spec.resolutions.map((n) => [n, `${n}²`]));
    borders.show(Math.min(model.get("boundaries"), sums.depth()), [[0, "none"], ...layers]);
    temperature.show();
    dots.show();
    dots.root.hidden = spec.models[sums.number()].data === null;
    marker.show();
    key.show(Math.min(model.get("boundaries"), sums.depth()), ink());
  };

  const showProbe = () => {
    marker.show();
    if (!result || el.hasAttribute("aria-busy")) return;
    const at = model.get("probe");
    const here = probe(
      sums.network(), sums.prior(), ...at, model.get("temperature"), result.own.logZ,
    );
    table.show(sums.network(), here, result.own.logZ, result.kl ?? null);
    paintOverlay(overlay, {
      box: spec.box, boundaries: sums.boundaries(), data: sums.data(), probe: at, score: here.score,
      ink: ink(),
    });
    voice.say(`log density ${format(here.logDensity)} at ${at.join(", ")}`);
  };

  const showField = () => {
    if (!result) return;
    const show = model.get("show");
    const fits = ["truth", "difference"].includes(show) ? result.onTruth : result.own;
    const f = () => {
      // E + f + log p0 = 0: f is had again from the energies, without another pass.
      const noPrior = gridEnergies(new Float64Array(fits.energies.length), sums.prior(),
        spec.box, fits.bins);
      return fits.energies.map((energy, k) => noPrior[k] - energy);
    };
    const { field: values, range, below, palette } = fieldOf(show, { ...fits, values: f });
    paintField(field, values, fits.bins, range, palettes(palette));
    bar.show(spec.shown[show], range, palettes(palette), below);
    const name = model.get("model").join(", ");
    field.setAttribute("aria-label",
      `${model.get("alt")} (${name}; ${spec.shown[show]}, ${format(range[0], 3)} to ` +
      `${format(range[1], 3)}, temperature ${format(model.get("temperature"), 3)})`);
  };

  const compute = async () => {
    round += 1;
    const mine = round;
    square.classList.add("ebm-busy");
    el.setAttribute("aria-busy", "true");
    if (!sums.hasTruth() && ["truth", "difference"].includes(model.get("show"))) {
      assign(model, "show", "density");
    }
    showControls();
    if (!visible) return;
    const next = await sums.densities(() => mine !== round);
    if (mine !== round || !next) return;
    result = next;
    square.classList.remove("ebm-busy");
    el.removeAttribute("aria-busy");
    showField();
    showProbe();
  };

  const resized = new ResizeObserver(showProbe);
  resized.observe(square);
  el.setAttribute("aria-busy", "true");
  showControls();
  const undo = [
    follow(model, ["model", "temperature", "resolution"], compute),
    follow(model, ["show"], () => (showControls(), showField(), showProbe())),
    follow(model, ["points", "boundaries"], () => (showControls(), showProbe())),
    follow(model, ["probe"], showProbe),
    watchVisibility(el, (now) => {
      const appeared = now && !visible;
      visible = now;
      if (appeared && el.hasAttribute("aria-busy")) compute();
    }),
  ];
  return () => {
    round += 1;
    undo.forEach((stop) => stop());
    resized.disconnect();
    voice.stop();
  };
}

export default { render };
