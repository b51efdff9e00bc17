import {
  announcer, assign, axisControl, decodeArray, follow, format, make, watchVisibility,
} from "./common.mjs";
import { decodePalette, paintField, projector } from "./density_view.mjs";
import {
  bilinear, distance, dropped, exactMasses, independentDistance, particles,
} from "./particle_math.mjs";
import { probeHandle } from "./probe.mjs";

const SLICE_MS = 14; // of steps between two screen refreshes
const TRAIL = 60; // last places of the first particle that are drawn
const ICONS = {
  play: "M4 2.5v11l9.5-5.5z",
  pause: "M3.5 2.5h3.2v11H3.5zM9.3 2.5h3.2v11H9.3z",
};

/** A slider on a logarithmic scale. */
function logSlider(model, trait, text, [low, high]) {
  const value = make("span", { className: "ebm-value" });
  const input = make("input", {
    type: "range", min: Math.log10(low), max: Math.log10(high), step: 0.02,
  });
  const name = make("span", { className: "ebm-name" }, [text, value]);
  return {
    input,
    root: make("label", { className: "ebm-control ebm-slider" }, [name, input]),
    value: () => Number(Math.min(high, Math.max(low, 10 ** Number(input.value))).toPrecision(3)),
    show() {
      const now = model.get(trait);
      input.value = Math.log10(now);
      value.textContent = format(now, 3);
      input.setAttribute("aria-valuetext", `${text} ${format(now, 3)}`);
    },
  };
}

/** The chains as the traits describe them: computed anew, or carried on. */
function laboratory(model, spec) {
  const fields = spec.energies.map(() => null);
  const masses = new Map();
  let key = "";
  let run = null;
  let trail = [];
  const number = () => spec.energies.findIndex(({ name }) => name === model.get("energy"));
  const field = () => {
    const i = number();
    fields[i] ??= bilinear(decodeArray(spec.energies[i].values), spec.nodes, spec.box);
    return fields[i];
  };
  const exact = () => {
    const name = `${number()} ${model.get("temperature")}`;
    if (!masses.has(name)) {
      masses.set(name, exactMasses(field(), spec.box, spec.bins, model.get("temperature")));
      if (masses.size > 20) masses.delete(masses.keys().next().value);
    }
    return masses.get(name);
  };
  const begin = () => {
    const kernel = spec.kernels[model.get("kernel")];
    run = particles({
      field: field(), box: spec.box, kernel, step: model.get("step_size"),
      temperature: model.get("temperature"), bins: spec.bins, seed: spec.seed,
      positions: dropped(
        model.get("probe"), model.get("count"), spec.spread, spec.box, spec.seed + 1,
      ),
    });
    trail = [run.cloud.x.slice(0, 2)];
  };
  const advance = () => {
    run.advance();
    trail.push(run.cloud.x.slice(0, 2));
    if (trail.length > TRAIL) trail.shift();
  };
  const traits = ["energy", "kernel", "step_size", "temperature", "count", "probe"];
  return {
    exact,
    /** The run after as many steps as the trait says. */
    now() {
      const wanted = JSON.stringify(traits.map((name) => model.get(name)));
      if (wanted !== key || run.steps > model.get("steps")) begin();
      key = wanted;
      while (run.steps < model.get("steps")) advance();
      return { run, trail };
    },
    /** Go on for a while, up to a number of steps; returns the steps made in all. */
    walk(last) {
      const end = performance.now() + SLICE_MS;
      while (run.steps < last && performance.now() < end) advance();
      return run.steps;
    },
  };
}

/** The way of the first particle, all particles, and where they were dropped. */
function paintParticles(canvas, box, { run, trail }, drop) {
  const ratio = Math.min(3, window.devicePixelRatio || 1);
  const size = Math.max(1, Math.round(canvas.clientWidth * ratio));
  canvas.width = size;
  canvas.height = size;
  const context = canvas.getContext("2d");
  const at = projector(box, size);
  const { x } = run.cloud;
  const single = x.length === 2;
  context.lineJoin = "round";
  for (const [colour, width] of [["#000", 3], ["#e69f00", 1.6]]) {
    context.beginPath();
    for (const place of trail) context.lineTo(...at(place[0], place[1]));
    context.strokeStyle = colour;
    context.lineWidth = width * ratio;
    context.globalAlpha = single ? 0.9 : 0.6;
    context.stroke();
  }
  context.globalAlpha = 1;
  context.strokeStyle = "#000";
  context.lineWidth = 0.7 * ratio;
  for (let k = x.length - 2; k >= 0; k -= 2) {
    context.fillStyle = k === 0 ? "#e69f00" : "#fff";
    context.beginPath();
    context.arc(...at(x[k], x[k + 1]), (k === 0 ? 4.5 : 2) * ratio, 0, 7);
    context.fill();
    context.stroke();
  }
  const [px, py] = at(...drop);
  for (const [colour, width] of [["#000", 4], ["#fff", 1.8]]) {
    context.strokeStyle = colour;
    context.lineWidth = width * ratio;
    context.beginPath();
    for (const [dx, dy] of [[1, 1], [1, -1]]) {
      context.moveTo(px - 6 * ratio * dx, py - 6 * ratio * dy);
      context.lineTo(px + 6 * ratio * dx, py + 6 * ratio * dy);
    }
    context.stroke();
  }
}

/** @param {{model: import("./common.mjs").Model, el: HTMLElement}} view */
function render({ model, el }) {
  const spec = model.get("spec");
  const palette = decodePalette(spec.palette);
  const lab = laboratory(model, spec);
  const kernels = Object.keys(spec.kernels);

  const field = make("canvas", { className: "ebm-field", role: "img" });
  const overlay = make("canvas");
  overlay.setAttribute("aria-hidden", "true");
  const square = make("div", { className: "ebm-square" }, [field, overlay]);
  const visits = make("canvas", { className: "ebm-field", role: "img" });
  const other = make("div", { className: "ebm-square" }, [visits]);
  const titled = (root, text) => make("div", {}, [
    make("p", { className: "ebm-title" }, [text]), root,
  ]);
  const duo = make("div", { className: "ebm-duo" }, [
    titled(square, "density, particles"), titled(other, "places visited"),
  ]);
  const body = make("tbody");
  const table = make("table", { className: "ebm-readout" }, [body]);
  const voice = announcer();

  /** A change of setting starts the chains again. */
  const change = (name, value) => {
    assign(model, "playing", false);
    assign(model, "steps", Math.min(model.get("steps"), spec.first_steps));
    assign(model, name, value);
  };
  const axis = (name, labels) => ({ name, labels, kind: "choice" });
  const names = spec.energies.map(({ name }) => name);
  const energies = axisControl(axis("energy", names), (i) => change("energy", names[i]));
  const labels = kernels.map((name) => spec.kernels[name].label);
  const methods = axisControl(axis("kernel", labels), (i) => change("kernel", kernels[i]));
  const sizes = spec.counts.map((n) => (n === 1 ? "one particle" : `${n} particles`));
  const cloud = axisControl(axis("drop", sizes), (i) => change("count", spec.counts[i]));
  const step = logSlider(model, "step_size", "step size", spec.steps);
  const heat = logSlider(model, "temperature", "temperature T", spec.temperatures);
  step.input.addEventListener("input", () => change("step_size", step.value()));
  heat.input.addEventListener("input", () => change("temperature", heat.value()));
  const marker = probeHandle(model, square, spec.box, "Drop place");

  const play = make("button", {
    type: "button", className: "ebm-play",
    onclick: () => {
      if (model.get("steps") >= spec.max_steps) assign(model, "steps", 0);
      assign(model, "playing", !model.get("playing"));
    },
  });
  const press = (text, action) => make("button", {
    type: "button", className: "ebm-press", textContent: text, onclick: action,
  });
  const hundred = press("100 steps", () => {
    assign(model, "playing", false);
    const next = model.get("steps") + 100;
    assign(model, "steps", next > spec.max_steps ? 100 : next);
  });
  const again = press("start again", () => {
    assign(model, "playing", false);
    assign(model, "steps", 0);
  });
  const lead = make("div", { className: "ebm-lead" }, [play, hundred, again]);
  const caption = make("p", { className: "ebm-caption" }, [model.get("caption")]);
  caption.hidden = !model.get("caption");
  const tools = make("div", { className: "ebm-tools" }, [
    lead, energies.root, methods.root,
    make("div", { className: "ebm-pair" }, [step.root, heat.root]), cloud.root,
  ]);
  el.classList.add("ebm", "ebm-particle");
  el.append(duo, table, tools, caption, voice.root);

  let frame = 0;
  let painted = "";
  const showControls = () => {
    energies.show(names.indexOf(model.get("energy")), names);
    methods.show(kernels.indexOf(model.get("kernel")), labels);
    cloud.show(spec.counts.indexOf(model.get("count")), sizes);
    step.show();
    heat.show();
    marker.show();
    const playing = model.get("playing");
    const path = playing ? ICONS.pause : ICONS.play;
    play.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${path}"/></svg>`;
    play.setAttribute("aria-label", playing ? "Pause the particles" : "Let the particles move");
    play.title = playing ? "Pause" : "Play";
  };
  const show = () => {
    const { run, trail } = lab.now();
    const masses = lab.exact();
    const top = masses.reduce((a, b) => Math.max(a, b), 0);
    const now = `${model.get("energy")} ${model.get("temperature")}`;
    if (painted !== now) paintField(field, masses, spec.bins, [0, top], palette);
    painted = now;
    const visited = run.counts.reduce((a, b) => a + b, 0);
    const share = run.counts.map((n) => n / Math.max(1, visited));
    paintField(visits, share, spec.bins, [0, top], palette);
    paintParticles(overlay, spec.box, { run, trail }, model.get("probe"));
    const tv = distance(run.counts, masses);
    const ideal = independentDistance(masses, visited);
    const accepted = format(run.acceptance(), 3);
    const tempered = spec.kernels[model.get("kernel")].ladder;
    const rows = [
      ["steps taken", String(run.steps)],
      ["total variation, histogram to exact", visited ? format(tv, 4) : "–"],
      [`of ${visited} independent draws, on average`, visited ? format(ideal, 4) : "–"],
      ["proposals accepted", run.steps ? accepted : "–"],
      ...(tempered ? [["swaps accepted", run.steps ? format(run.swapRate(), 3) : "–"]] : []),
    ];
    body.replaceChildren(...rows.map(([name, text]) =>
      make("tr", {}, [make("th", { scope: "row" }, [name]), make("td", {}, [text])])));
    const words = `${run.steps} steps, total variation ${visited ? format(tv, 3) : "not known"}`;
    field.setAttribute("aria-label", `${model.get("alt")} (exact density of the energy ` +
      `${model.get("energy")}, and the particles)`);
    visits.setAttribute("aria-label", `Histogram of the places visited: ${words}`);
    if (!model.get("playing")) voice.say(words);
  };
  const tick = () => {
    if (!model.get("playing")) return;
    const made = lab.walk(Math.min(spec.max_steps, model.get("steps") + spec.steps_per_frame));
    assign(model, "steps", made);
    if (made >= spec.max_steps) assign(model, "playing", false);
    frame = requestAnimationFrame(tick);
  };
  const resized = new ResizeObserver(show);
  resized.observe(square);
  showControls();
  const settings = ["energy", "kernel", "step_size", "temperature", "count", "probe"];
  const undo = [
    follow(model, settings, () => (showControls(), show())),
    follow(model, ["steps"], show),
    follow(model, ["playing"], () => {
      cancelAnimationFrame(frame);
      showControls();
      if (model.get("playing")) frame = requestAnimationFrame(tick);
    }),
    watchVisibility(square, (visible) => {
      if (!visible && model.get("playing")) assign(model, "playing", false);
    }),
  ];
  return () => {
    cancelAnimationFrame(frame);
    undo.forEach((stop) => stop());
    resized.disconnect();
    voice.stop();
  };
}

export default { render };
