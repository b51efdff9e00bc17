import { announcer, assign, axisControl, choice, follow, format, make, watchVisibility } from "./common.mjs";
import {
  decodeNetwork, exhaust, gridEnergies, gridLogDensity, gridValues, logPartition,
  logPriorGradient,
} from "./density_math.mjs";
import { colourBar, decodePalette, layerKey, paintField } from "./density_view.mjs";
import {
  boundaryNeurons, holds, linearRegions, localCentre, polygonArea, regionAt,
} from "./partition_math.mjs";
import { neuronStrips, paintPartition, paintRegions, regionValues } from "./partition_view.mjs";
import { probeHandle } from "./probe.mjs";

const BINS = 120; // of the density's picture; the regions themselves need no grid

/** Keeps what was computed for a key, the last few dozen of them. */
function remember(compute) {
  const kept = new Map();
  return (...key) => {
    const name = key.join(" ");
    if (!kept.has(name)) {
      kept.set(name, compute(...key));
      if (kept.size > 60) kept.delete(kept.keys().next().value);
    }
    return kept.get(name);
  };
}

/** Which network is on show, and what follows from it; nothing here touches the page. */
function choiceOf(model, spec) {
  const network = remember((number, step) => decodeNetwork(spec.models[number].networks[step]));
  const regions = remember((number, step, depth) =>
    linearRegions(network(number, step), spec.box, depth),
  );
  const logDensity = remember((number, step) => {
    const values = exhaust(gridValues(network(number, step), spec.box, BINS));
    const energies = gridEnergies(values, spec.models[number].prior, spec.box, BINS);
    return gridLogDensity(energies, 1, logPartition(energies, 1, spec.box, BINS));
  });
  return () => {
    const number = spec.models.findIndex(({ name }) => name === model.get("model"));
    const { steps, prior } = spec.models[number];
    const step = Math.min(model.get("step"), steps.length - 1);
    const { layers } = network(number, step);
    const hidden = layers.length - 1;
    const depth = Math.min(model.get("depth"), hidden);
    return {
      steps, step, prior, hidden, depth,
      sizes: layers.slice(0, depth).map(({ rows }) => rows),
      regions: regions(number, step, depth),
      density: () => logDensity(number, step).map(Math.exp),
    };
  };
}

/** What is known of the probe's region. */
function regionFacts(now, [x, y]) {
  const region = regionAt(now.regions, x, y);
  const { plane } = region;
  const pull = logPriorGradient(now.prior, x, y);
  const centre = plane && localCentre(now.prior, plane);
  return {
    region,
    plane,
    centre,
    inside: Boolean(centre) && holds(region, ...centre),
    score: plane ? [plane[0] + pull[0], plane[1] + pull[1]] : [0, 0],
    value: plane ? plane[0] * x + plane[1] * y + plane[2] : NaN,
    bounding: boundaryNeurons(region),
    area: polygonArea(region),
  };
}

/** One slider for each coordinate of the probe. */
function probeSliders(model, set, [low, high]) {
  const sliders = ["x₁", "x₂"].map((text, i) => {
    const value = make("span", { className: "ebm-value" });
    const input = make("input", { type: "range", min: low, max: high, step: 0.01 });
    input.addEventListener("input", () => {
      const next = [...model.get("probe")];
      next[i] = Number(input.value);
      set(...next);
    });
    const name = make("span", { className: "ebm-name" }, [text, value]);
    const root = make("label", { className: "ebm-control ebm-slider" }, [name, input]);
    return { input, value, root };
  });
  return {
    root: make("div", { className: "ebm-pair" }, sliders.map(({ root }) => root)),
    show() {
      sliders.forEach(({ input, value }, i) => {
        input.value = model.get("probe")[i];
        value.textContent = format(model.get("probe")[i], 3);
      });
    },
  };
}

/** The table of numbers under the picture. */
function regionTable() {
  const body = make("tbody");
  const pair = (v) => `(${format(v[0], 3)}, ${format(v[1], 3)})`;
  const rowsOf = (now, facts) => {
    const corners = facts.region.owners.length;
    const rows = [
      ["regions in the square", String(now.regions.length)],
      ["this region", `${corners} corners, area ${Number(facts.area.toPrecision(2))}`],
      ["bounded by", `${facts.bounding.length} of ${facts.region.active.length} neurons`],
    ];
    if (!facts.plane) return [...rows, ["f on this region", "not a plane yet: add layers"]];
    rows.push(["f(x)", format(facts.value, 4)], ["gradient of f here", pair(facts.plane)]);
    if (!facts.centre) return rows;
    const where = facts.inside ? "inside: a mode" : "outside the region";
    return [...rows, ["centre of the local Gaussian", `${pair(facts.centre)}, ${where}`]];
  };
  return {
    root: make("table", { className: "ebm-readout" }, [body]),
    show(now, facts) {
      body.replaceChildren(
        ...rowsOf(now, facts).map(([name, text]) =>
          make("tr", {}, [make("th", { scope: "row" }, [name]), make("td", {}, [text])]),
        ),
      );
    },
  };
}

/** @param {{model: import("./common.mjs").Model, el: HTMLElement}} view */
function render({ model, el }) {
  const spec = model.get("spec");
  const current = choiceOf(model, spec);
  const palette = decodePalette(spec.palette);
  const field = make("canvas", { className: "ebm-field", role: "img" });
  const overlay = make("canvas");
  overlay.setAttribute("aria-hidden", "true");
  const square = make("div", { className: "ebm-square" }, [field, overlay]);
  const bar = colourBar();
  const key = layerKey();
  const names = spec.models.map(({ name }) => name);
  const which = choice("model", (value) => assign(model, "model", value));
  const training = axisControl({ name: "training step", labels: [], kind: "slider" }, (step) =>
    assign(model, "step", step),
  );
  const layers = choice("cut by", (value) => assign(model, "depth", value));
  const fill = choice("colour", (value) => assign(model, "fill", value));
  const handle = probeHandle(model, square, spec.box);
  const sliders = probeSliders(model, handle.set, spec.box);
  const strips = neuronStrips();
  const table = regionTable();
  const voice = announcer();
  const caption = make("p", { className: "ebm-caption" }, [model.get("caption")]);
  caption.hidden = !model.get("caption");
  const looks = make("div", { className: "ebm-pair" }, [layers.root, fill.root]);
  const board = make("div", { className: "ebm-board" }, [square, bar.root, key.root]);
  const tools = make("div", { className: "ebm-tools" }, [
    which.root, training.root, looks, sliders.root, strips.root, table.root,
  ]);
  el.classList.add("ebm", "ebm-partition");
  el.append(make("div", { className: "ebm-plane" }, [board, tools]), caption, voice.root);

  const showControls = (now) => {
    const options = Array.from({ length: now.hidden }, (_, i) => [
      i + 1, i === 0 ? "layer 1" : `layers 1–${i + 1}`,
    ]);
    which.show(model.get("model"), names.map((name) => [name, name]));
    which.root.hidden = names.length < 2;
    training.show(now.step, now.steps);
    training.root.hidden = now.steps.length < 2;
    layers.show(now.depth, options);
    fill.show(model.get("fill"), Object.entries(spec.fills));
    key.show(now.depth, "#ffffff");
  };

  const showField = (now) => {
    const kind = model.get("fill");
    if (kind === "density") {
      const density = now.density();
      const range = [0, density.reduce((a, b) => Math.max(a, b), 0)];
      paintField(field, density, BINS, range, palette);
      bar.show(spec.fills[kind], range, palette, false);
    } else {
      const { values, range } = regionValues(kind, now.regions);
      paintRegions(field, spec.box, now.regions, values, range, palette);
      const more = kind === "fineness" ? ": −log₁₀ of the area, 5 and more" : "";
      bar.show(spec.fills[kind] + more, range, palette, false);
    }
    const step = now.steps.length > 1 ? `, training step ${now.steps[now.step]}` : "";
    field.setAttribute("aria-label",
      `${model.get("alt")} (${model.get("model")}${step}; ${now.regions.length} regions of ` +
      `${now.depth} layers; colour: ${spec.fills[kind]})`);
  };

  const showProbe = (now) => {
    const probe = model.get("probe");
    const facts = regionFacts(now, probe);
    handle.show();
    sliders.show();
    strips.show(facts.region.active, now.sizes, facts.bounding);
    table.show(now, facts);
    paintPartition(overlay, { ...now, ...facts, box: spec.box, probe });
    voice.say(
      `${now.regions.length} regions; this one has ${facts.region.owners.length} corners and ` +
      `${facts.bounding.length} boundary neurons`,
    );
  };

  let visible = false;
  const showAll = () => {
    const now = current();
    showControls(now);
    if (!visible) return;
    showField(now);
    showProbe(now);
    el.removeAttribute("aria-busy");
  };
  const redraw = () => {
    if (visible) showProbe(current());
  };
  const resized = new ResizeObserver(redraw);
  resized.observe(square);
  el.setAttribute("aria-busy", "true");
  handle.show();
  sliders.show();
  showAll();
  const undo = [
    follow(model, ["model", "step", "depth", "fill"], showAll),
    follow(model, ["probe"], redraw),
    watchVisibility(el, (seen) => {
      const appeared = seen && !visible;
      visible = seen;
      if (appeared) showAll();
    }),
  ];
  return () => {
    undo.forEach((stop) => stop());
    resized.disconnect();
    voice.stop();
  };
}

export default { render };
