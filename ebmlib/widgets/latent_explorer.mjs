import {
  announcer, assign, choice, decodeArray, follow, format, make, watchVisibility,
} from "./common.mjs";
import { decodeNetwork, evaluator, mapper, probeNetwork } from "./density_math.mjs";
import { colourBar, decodePalette, drawProbe, paintField, projector } from "./density_view.mjs";
import { composed, corrected, latentStep, posterior, variation } from "./latent_math.mjs";
import { probeHandle } from "./probe.mjs";

const KEPT = 300; // last places of the chain
const WAY = 60; // of which so many are joined by lines
const LATTICE = 10; // meshes a side, drawn with so many points each
const SYMBOLS = {
  play: "M4 2.5v11l9.5-5.5z",
  pause: "M3.5 2.5h3.2v11H3.5zM9.3 2.5h3.2v11H9.3z",
};

/** Lines of a mesh over the latent square, as points: x1, y1, x2, y2, ... */
function meshLines([low, high]) {
  const at = (k, n) => low + ((high - low) * k) / n;
  const fine = 12 * LATTICE;
  return [0, 1].flatMap((axis) =>
    Array.from({ length: LATTICE + 1 }, (_, i) =>
      Array.from({ length: fine + 1 }, (__, k) => {
        const point = [at(i, LATTICE), at(k, fine)];
        return axis ? point.reverse() : point;
      }).flat()));
}

/** What 99 of 100 values do not exceed in size. */
function usualSize(values) {
  return values.map(Math.abs).sort()[Math.floor(0.99 * values.length)];
}

/** All that is computed; nothing here touches the page. */
function laboratory(model, spec) {
  const [base, critic] = [spec.base, spec.critic].map(decodeNetwork);
  const both = composed(base, critic);
  const [map, value] = [mapper(base), evaluator(critic)];
  const masses = decodeArray(spec.masses);
  const truth = spec.truth && decodeArray(spec.truth);
  const image = (z) => [...map(...z)];
  const [latent, plane] = [spec.latent, spec.tilt].map(decodeArray);
  let mesh = null;
  return {
    truth,
    data: spec.data && decodeArray(spec.data),
    masses,
    plane,
    size: usualSize(latent),
    now() {
      const temperature = model.get("temperature");
      const tilted = posterior(latent, temperature);
      return {
        ...tilted,
        top: tilted.ratio.reduce((a, b) => Math.max(a, b), 0),
        corrected: corrected(masses, plane, temperature),
      };
    },
    image,
    /** What is read off at a latent point. */
    at(z) {
      const x = image(z);
      return { x, d: value(...x), slope: probeNetwork(both, ...z).gradient };
    },
    step: (z, number) => latentStep(both, spec.box, z, {
      temperature: model.get("temperature"), step: model.get("step_size"),
      seed: spec.seed + number,
    }),
    meshes() {
      mesh ??= [meshLines(spec.box)];
      mesh[1] ??= mesh[0].map((line) =>
        line.flatMap((_, k) => (k % 2 ? [] : image([line[k], line[k + 1]]))));
      return mesh;
    },
  };
}

/** A slider on a logarithmic scale. */
function powerSlider(model, trait, text, [low, high], change) {
  const value = make("span", { className: "ebm-value" });
  const input = make("input", {
    type: "range", min: Math.log10(low), max: Math.log10(high), step: 0.02,
  });
  input.addEventListener("input", () => {
    const raw = Number((10 ** Number(input.value)).toPrecision(3));
    change(Math.min(high, Math.max(low, raw)));
  });
  const name = make("span", { className: "ebm-name" }, [text, value]);
  return {
    root: make("label", { className: "ebm-control ebm-slider" }, [name, input]),
    show() {
      const now = model.get(trait);
      input.value = Math.log10(now);
      value.textContent = format(now, 3);
      input.setAttribute("aria-valuetext", `${text} ${format(now, 3)}`);
    },
  };
}

function checkBox(model, trait, text) {
  const input = make("input", { type: "checkbox" });
  input.addEventListener("change", () => assign(model, trait, input.checked));
  return {
    root: make("label", { className: "ebm-check" }, [input, text]),
    show: () => (input.checked = model.get(trait)),
  };
}

/** Dots, each with a dark rim. */
function drawDots(context, at, places, radius, colour, ratio) {
  context.fillStyle = colour;
  context.strokeStyle = "#000";
  context.lineWidth = 0.6 * ratio;
  for (let k = 0; k + 1 < places.length; k += 2) {
    context.beginPath();
    context.arc(...at(places[k], places[k + 1]), radius * ratio, 0, 7);
    context.fill();
    context.stroke();
  }
}

function drawLine(context, at, line, styles, ratio) {
  context.beginPath();
  for (let k = 0; k + 1 < line.length; k += 2) context.lineTo(...at(line[k], line[k + 1]));
  for (const [colour, width] of styles) {
    context.strokeStyle = colour;
    context.lineWidth = width * ratio;
    context.stroke();
  }
}

/** A cross where a proposal was refused. */
function drawRefusal(context, at, place, ratio) {
  const [px, py] = at(...place);
  const r = 5 * ratio;
  for (const [colour, width] of [["#000", 4.5], ["#ff9a5c", 2.2]]) {
    context.beginPath();
    context.moveTo(px - r, py - r);
    context.lineTo(px + r, py + r);
    context.moveTo(px - r, py + r);
    context.lineTo(px + r, py - r);
    context.strokeStyle = colour;
    context.lineWidth = width * ratio;
    context.stroke();
  }
}

/** Everything that lies over a field: mesh, data, the chain's way, and the particle. */
function paintOver(canvas, box, { mesh, data, way, refused, particle, slope }) {
  const ratio = Math.min(3, window.devicePixelRatio || 1);
  const size = Math.max(1, Math.round(canvas.clientWidth * ratio));
  canvas.width = size;
  canvas.height = size;
  const context = canvas.getContext("2d");
  const at = projector(box, size);
  context.lineJoin = "round";
  context.globalAlpha = 0.55;
  for (const line of mesh) drawLine(context, at, line, [["#fff", 0.8]], ratio);
  context.globalAlpha = 1;
  if (data) drawDots(context, at, data, 1.6, "#fff", ratio);
  drawLine(context, at, way.slice(-2 * WAY), [["#000", 3], ["#e69f00", 1.6]], ratio);
  drawDots(context, at, way, 2.4, "#e69f00", ratio);
  if (refused) drawRefusal(context, at, refused, ratio);
  drawProbe(context, at, particle, slope, ratio);
}

/** The rows of the table beside the pictures. */
function latentRows(spec, lab, now, here, z, steps, accepted) {
  const density = Math.exp(here.d / here.T - now.logZ);
  const share = `${format((100 * density) / now.top, 3)} %`;
  const rate = steps ? `, ${Math.round((100 * accepted) / steps)} % accepted` : "";
  const pair = (point) => point.map((value) => format(value, 4)).join(", ");
  const outside = here.x.some((value) => value < spec.plane[0] || value > spec.plane[1]);
  const rows = [
    ["latent point z", pair(z)],
    ["its image B(z)", pair(here.x) + (outside ? " (off the picture)" : "")],
    ["critic d(B(z))", format(here.d, 4)],
    ["posterior / prior density at z", format(density, 4)],
    ["as a share of the highest", share],
    ["Z₀ = E exp(d/T)", format(Math.exp(now.logZ), 4)],
    ["effective share of samples", format(now.effective, 3)],
  ];
  if (lab.truth) {
    const distance = (masses) => variation(masses, lab.truth).toFixed(3);
    rows.push(["total variation, generator to data", distance(lab.masses)]);
    rows.push(["total variation, corrected to data", distance(now.corrected)]);
  }
  rows.push(["MALA steps", `${steps}${rate}`]);
  return rows;
}

/** @param {{model: import("./common.mjs").Model, el: HTMLElement}} view */
function render({ model, el }) {
  const spec = model.get("spec");
  const lab = laboratory(model, spec);
  const palettes = Object.fromEntries(
    Object.entries(spec.palettes).map(([name, hex]) => [name, decodePalette(hex)]),
  );
  const panel = (text) => {
    const field = make("canvas", { className: "ebm-field", role: "img" });
    const over = make("canvas");
    over.setAttribute("aria-hidden", "true");
    const square = make("div", { className: "ebm-square" }, [field, over]);
    const bar = colourBar();
    const title = make("p", { className: "ebm-title" }, [text]);
    return { field, over, square, bar, root: make("div", {}, [title, square, bar.root]) };
  };
  const [left, right] = [panel("latent square z"), panel("plane x = B(z)")];
  const duo = make("div", { className: "ebm-duo" }, [left.root, right.root]);
  const marker = probeHandle(model, left.square, spec.box, "Latent particle");
  const body = make("tbody");
  const table = make("table", { className: "ebm-readout" }, [body]);
  const voice = announcer();

  /** The chain forgets its way, and stops. */
  const forget = () => {
    assign(model, "playing", false);
    assign(model, "path", []);
    assign(model, "refused", []);
    assign(model, "steps", 0);
    assign(model, "accepted", 0);
  };
  const advance = () => {
    const z = model.get("probe");
    const number = model.get("steps") + 1;
    const next = lab.step(z, number);
    const path = model.get("path").length ? model.get("path") : [...z];
    assign(model, "path", [...path, ...next.z].slice(-2 * KEPT));
    assign(model, "refused", next.accepted ? [] : next.proposal);
    assign(model, "accepted", model.get("accepted") + (next.accepted ? 1 : 0));
    assign(model, "steps", number);
    assign(model, "probe", next.z);
  };

  const play = make("button", {
    type: "button", className: "ebm-play",
    onclick: () => {
      if (model.get("steps") >= spec.max_steps) forget();
      assign(model, "playing", !model.get("playing"));
    },
  });
  const press = (text, action) => make("button", {
    type: "button", className: "ebm-press", textContent: text, onclick: action,
  });
  const once = press("one step", () => {
    assign(model, "playing", false);
    if (model.get("steps") >= spec.max_steps) forget();
    advance();
    showOver();
  });
  once.dataset.once = "";
  const clear = press("clear path", () => {
    forget();
    showOver();
  });
  const lead = make("div", { className: "ebm-lead" }, [play, once, clear]);
  const heat = powerSlider(model, "temperature", "temperature T of the critic", spec.temperatures,
    (value) => assign(model, "temperature", value));
  const stride = powerSlider(model, "step_size", "step size", spec.steps,
    (value) => assign(model, "step_size", value));
  stride.root.dataset.later = "";
  const shown = choice("show in the plane", (value) => assign(model, "show", value));
  const mesh = checkBox(model, "mesh", "mesh of the square");
  const dots = checkBox(model, "points", "data points");
  dots.root.hidden = !spec.data;
  const caption = make("p", { className: "ebm-caption" }, [model.get("caption")]);
  caption.hidden = !model.get("caption");
  const tools = make("div", { className: "ebm-tools" }, [
    heat.root, make("div", { className: "ebm-pair" }, [shown.root, stride.root]),
    lead, make("div", { className: "ebm-pair" }, [mesh.root, dots.root]),
  ]);
  el.classList.add("ebm", "ebm-particle", "ebm-latent");
  el.append(duo, tools, table, caption, voice.root);

  let now = null;
  let frame = 0;
  const showControls = () => {
    heat.show();
    stride.show();
    mesh.show();
    dots.show();
    marker.show();
    shown.show(model.get("show"), Object.entries(spec.shown));
    clear.disabled = model.get("path").length === 0;
  };
  /** Not with every step: a click ends on the icon that it began on. */
  const showPlay = () => {
    const playing = model.get("playing");
    const path = playing ? SYMBOLS.pause : SYMBOLS.play;
    play.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${path}"/></svg>`;
    play.setAttribute("aria-label", playing ? "Pause the chain" : "Let the particle move");
    play.title = playing ? "Pause" : "Play";
  };
  const showOver = () => {
    showControls();
    const z = model.get("probe");
    const here = { ...lab.at(z), T: model.get("temperature") };
    const path = model.get("path");
    const refused = model.get("refused");
    const meshes = model.get("mesh") ? lab.meshes() : [[], []];
    const way = path.flatMap((_, k) => (k % 2 ? [] : lab.image([path[k], path[k + 1]])));
    paintOver(left.over, spec.box, {
      mesh: meshes[0], data: null, way: path, refused: refused.length ? refused : null,
      particle: z, slope: here.slope,
    });
    paintOver(right.over, spec.plane, {
      mesh: meshes[1], data: model.get("points") ? lab.data : null, way,
      refused: refused.length ? lab.image(refused) : null, particle: here.x, slope: [0, 0],
    });
    const rows = latentRows(spec, lab, now, here, z, model.get("steps"), model.get("accepted"));
    body.replaceChildren(...rows.map(([name, text]) =>
      make("tr", {}, [make("th", { scope: "row" }, [name]), make("td", {}, [text])])));
    if (!model.get("playing")) {
      voice.say(`${rows[1][0]} ${rows[1][1]}, posterior over prior ${rows[3][1]}`);
    }
  };
  const showPlane = () => {
    const show = model.get("show");
    const text = spec.shown[show];
    if (show === "critic") {
      const { plane, size } = lab;
      paintField(right.field, plane, spec.bins, [-size, size], palettes.diverging);
      right.bar.show(text, [-size, size], palettes.diverging, true);
      right.bar.root.children[2].textContent = `≥ ${format(size, 3)}`;
    } else {
      const masses = { corrected: now.corrected, generator: lab.masses, data: lab.truth }[show];
      const cell = ((spec.plane[1] - spec.plane[0]) / spec.bins) ** 2;
      const range = [0, spec.top];
      paintField(right.field, masses.map((mass) => mass / cell), spec.bins, range,
        palettes.sequential);
      right.bar.show(text, range, palettes.sequential, false);
      right.bar.root.children[2].textContent = `≥ ${format(spec.top, 3)}`;
    }
    right.field.setAttribute("aria-label",
      `${model.get("alt")} (the plane: ${text}, temperature ${format(model.get("temperature"), 3)})`);
  };
  const showAll = () => {
    now = lab.now();
    const range = [0, now.top];
    paintField(left.field, now.ratio, spec.resolution, range, palettes.sequential);
    left.bar.show("posterior / prior", range, palettes.sequential, false);
    left.field.setAttribute("aria-label",
      `${model.get("alt")} (latent square: posterior over prior density, up to ` +
      `${format(range[1], 3)} at temperature ${format(model.get("temperature"), 3)})`);
    showPlane();
    showOver();
  };
  const tick = () => {
    if (!model.get("playing")) return;
    advance();
    if (model.get("steps") >= spec.max_steps) assign(model, "playing", false);
    showOver();
    frame = requestAnimationFrame(tick);
  };

  showPlay();
  showAll();
  const resized = new ResizeObserver(() => showOver());
  resized.observe(left.square);
  const undo = [
    follow(model, ["temperature"], showAll),
    follow(model, ["show"], () => (showControls(), showPlane())),
    follow(model, ["step_size"], showControls),
    follow(model, ["mesh", "points", "path", "refused"], () => !model.get("playing") && showOver()),
    follow(model, ["probe"], () => {
      const [path, z] = [model.get("path"), model.get("probe")];
      // moved by hand: the chain begins anew from here
      if (path.length && (path[path.length - 2] !== z[0] || path[path.length - 1] !== z[1])) {
        forget();
      }
      if (!model.get("playing")) showOver();
    }),
    follow(model, ["playing"], () => {
      cancelAnimationFrame(frame);
      showPlay();
      if (model.get("playing")) frame = requestAnimationFrame(tick);
      else showOver();
    }),
    watchVisibility(left.square, (visible) => {
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
