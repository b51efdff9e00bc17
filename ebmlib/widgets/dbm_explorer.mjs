import {
  announcer, assign, axisControl, choice, follow, format, make, watchVisibility,
} from "./common.mjs";
import { decodeNumbers, layerChain, layerInputs } from "./dbm_math.mjs";

const LAYERS = ["visible", "hidden1", "hidden2"];
const NAMES = ["image v", "layer h₁", "layer h₂"];
const ORDER = [1, 0, 2]; // of a sweep
const INK = "#e69f00"; // frame of a layer that is kept; blue: the one drawn last
const LAST = "#56b4e9";
const TRACE = 300; // draws whose energies are shown
const ICONS = {
  play: "M4 2.5v11l9.5-5.5z",
  pause: "M3.5 2.5h3.2v11H3.5zM9.3 2.5h3.2v11H9.3z",
};

const spread = (x) => {
  const mean = x.reduce((a, b) => a + b, 0) / x.length;
  return Math.sqrt(x.reduce((a, b) => a + (b - mean) ** 2, 0) / x.length);
};

/** The chain as the traits describe it: replayed, or carried on. */
function laboratory(model, spec) {
  const machines = new Map();
  const machine = () => {
    const name = model.get("machine");
    if (!machines.has(name)) {
      const { sizes, weight1, weight2, biases } = spec.machines[name];
      machines.set(name, {
        sizes,
        weight1: decodeNumbers(weight1),
        weight2: decodeNumbers(weight2),
        biases: biases.map(decodeNumbers),
      });
    }
    return machines.get(name);
  };
  let [key, moves, chain] = ["", "", null];
  return {
    machine,
    now() {
      const wanted = JSON.stringify(["machine", "start", "seed"].map((t) => model.get(t)));
      const list = model.get("moves");
      if (wanted !== key || !list.startsWith(moves) || !chain) {
        const image = spec.machines[model.get("machine")].images[model.get("start")];
        const pixels = image ? Float64Array.from(image, Number) : null;
        [chain, key, moves] = [layerChain(machine(), pixels, model.get("seed")), wanted, ""];
      }
      for (const letter of list.slice(moves.length)) chain.draw(Number(letter));
      moves = list;
      return chain;
    },
  };
}

/** The units of a layer as grey squares, with a frame where one is asked for. */
function paintUnits(canvas, values, frame) {
  const across = Math.ceil(Math.sqrt(values.length));
  const down = Math.ceil(values.length / across);
  const ratio = Math.min(3, window.devicePixelRatio || 1);
  const size = Math.max(1, Math.round(canvas.clientWidth * ratio));
  canvas.width = size;
  canvas.height = size;
  const context = canvas.getContext("2d");
  context.fillStyle = "#000";
  context.fillRect(0, 0, size, size);
  const cell = size / across;
  const gap = values.length <= 100 ? 1 : 0;
  const shift = ((across - down) * cell) / 2;
  values.forEach((value, i) => {
    const shade = Math.round(40 + 215 * value);
    context.fillStyle = `rgb(${shade} ${shade} ${shade})`;
    const [x, y] = [(i % across) * cell, shift + Math.floor(i / across) * cell];
    context.fillRect(x, y, cell - gap + 0.5 * !gap, cell - gap + 0.5 * !gap);
  });
  if (!frame) return;
  context.strokeStyle = frame;
  context.lineWidth = 5 * ratio;
  context.setLineDash(frame === INK ? [9 * ratio, 6 * ratio] : []);
  context.strokeRect(0, 0, size, size);
}

/** The last energies, and which layer each draw moved. */
function paintTrace(canvas, energies) {
  const ratio = Math.min(3, window.devicePixelRatio || 1);
  const [width, height] = [canvas.clientWidth * ratio, 70 * ratio].map(Math.round);
  canvas.width = Math.max(1, width);
  canvas.height = height;
  const context = canvas.getContext("2d");
  const shown = energies.slice(-TRACE);
  const [low, high] = [Math.min(...shown), Math.max(...shown)];
  const at = (i) => [
    (6 + ((canvas.width / ratio - 12) * i) / Math.max(TRACE / 10, shown.length - 1)) * ratio,
    (6 + (58 * (high - shown[i])) / Math.max(1e-9, high - low)) * ratio,
  ];
  context.strokeStyle = getComputedStyle(canvas).color;
  context.fillStyle = LAST;
  context.lineWidth = 1.5 * ratio;
  context.beginPath();
  shown.forEach((_, i) => context.lineTo(...at(i)));
  context.stroke();
  context.beginPath();
  context.arc(...at(shown.length - 1), 4 * ratio, 0, 7);
  context.fill();
}

/** @param {{model: import("./common.mjs").Model, el: HTMLElement}} view */
function render({ model, el }) {
  const spec = model.get("spec");
  const lab = laboratory(model, spec);
  const machines = Object.keys(spec.machines);
  const voice = announcer();

  const extend = (letters) => {
    const all = model.get("moves") + letters;
    assign(model, "moves", all.length > spec.max_moves ? letters : all);
  };
  const sweep = () => ORDER.filter((i) => !model.get("keep").includes(LAYERS[i])).join("");
  const stop = () => assign(model, "playing", false);
  const press = (text, action) => make("button", {
    type: "button", className: "ebm-press", textContent: text, onclick: action,
  });
  const panels = LAYERS.map((name, which) => {
    const canvas = make("canvas", { className: "ebm-field", role: "img" });
    const box = make("input", {
      type: "checkbox",
      onchange: () => {
        const kept = LAYERS.filter((l) => (l === name ? box.checked : model.get("keep").includes(l)));
        assign(model, "keep", kept);
      },
    });
    const draw = press("draw", () => (stop(), extend(String(which))));
    draw.setAttribute("aria-label", `Draw ${NAMES[which]} from its neighbours`);
    draw.style.width = "100%";
    const root = make("div", {}, [
      make("p", { className: "ebm-title" }, [NAMES[which]]),
      make("div", { className: "ebm-square" }, [canvas]),
      make("label", { className: "ebm-check" }, [box, make("span", {}, ["keep"])]),
      draw,
    ]);
    return { canvas, box, root };
  });
  const trio = make("div", {
    style: "display:grid;grid-template-columns:1fr 1fr 1fr;gap:.6rem;max-width:720px;margin:0 auto",
  }, panels.map(({ root }) => root));
  const trace = make("canvas", {
    role: "img",
    style: "display:block;width:100%;max-width:720px;height:70px;margin:.6rem auto 0",
  });
  const body = make("tbody");
  const table = make("table", { className: "ebm-readout" }, [body]);

  const pick = axisControl({ name: "machine", labels: machines, kind: "choice" }, (i) => {
    stop();
    if (!(model.get("start") in spec.machines[machines[i]].images)) assign(model, "start", "noise");
    assign(model, "machine", machines[i]);
  });
  const starts = choice("start from", (name) => (stop(), assign(model, "start", name)));
  const looks = ["states", "chances"];
  const show = axisControl({ name: "show", labels: looks, kind: "choice" }, (i) => {
    assign(model, "show", looks[i]);
  });
  const play = make("button", {
    type: "button", className: "ebm-play",
    onclick: () => assign(model, "playing", !model.get("playing")),
  });
  const one = press("1 sweep", () => (stop(), extend(sweep())));
  const ten = press("10 sweeps", () => (stop(), extend(sweep().repeat(10))));
  const again = press("new start", () => {
    stop();
    assign(model, "moves", "");
    assign(model, "seed", (model.get("seed") + 1) % 1000);
  });
  const lead = make("div", { className: "ebm-lead", style: "flex-wrap:wrap" }, [play, one, ten, again]);
  const caption = make("p", { className: "ebm-caption" }, [model.get("caption")]);
  caption.hidden = !model.get("caption");
  const tools = make("div", { className: "ebm-tools" }, [
    lead, pick.root, make("div", { className: "ebm-pair" }, [starts.root, show.root]),
  ]);
  el.classList.add("ebm", "ebm-particle");
  el.append(trio, trace, table, tools, caption, voice.root);

  const showControls = () => {
    const images = Object.keys(spec.machines[model.get("machine")].images);
    pick.show(machines.indexOf(model.get("machine")), machines);
    starts.show(model.get("start"), ["noise", ...images].map((name) => [name, name]));
    show.show(looks.indexOf(model.get("show")), looks);
    const playing = model.get("playing");
    const path = playing ? ICONS.pause : ICONS.play;
    play.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${path}"/></svg>`;
    play.setAttribute("aria-label", playing ? "Pause the chain" : "Let the chain run");
    panels.forEach(({ box }, i) => {
      box.checked = model.get("keep").includes(LAYERS[i]);
      box.setAttribute("aria-label", `Keep ${NAMES[i]} in sweeps`);
    });
  };
  const paint = () => {
    const chain = lab.now();
    const values = model.get("show") === "states" ? chain.layers : chain.chances;
    panels.forEach(({ canvas }, i) => {
      const kept = model.get("keep").includes(LAYERS[i]);
      paintUnits(canvas, values[i], kept ? INK : i === chain.last ? LAST : "");
      const on = chain.layers[i].reduce((a, b) => a + b, 0);
      canvas.setAttribute("aria-label", `${NAMES[i]}: ${on} of ${values[i].length} units on` +
        (i ? "" : `; ${model.get("alt")}`));
    });
    paintTrace(trace, chain.energies);
    const energy = chain.energies[chain.energies.length - 1];
    trace.setAttribute("aria-label", `Energy after each draw, now ${format(energy, 5)}`);
    const { below, above } = layerInputs(lab.machine(), chain.layers, 1);
    const rows = [
      ["layers drawn", String(chain.energies.length - 1)],
      ["energy E(v, h₁, h₂)", format(energy, 5)],
      ["input of h₁ from below, sd over units", format(spread(below), 4)],
      ["input of h₁ from above, sd over units", format(spread(above), 4)],
    ];
    body.replaceChildren(...rows.map(([name, text]) =>
      make("tr", {}, [make("th", { scope: "row" }, [name]), make("td", {}, [text])])));
    if (!model.get("playing")) voice.say(`${rows[0][1]} draws, energy ${rows[1][1]}`);
  };
  let frame = 0;
  let before = 0;
  const tick = (time) => {
    if (!model.get("playing")) return;
    if (time - before > 90) {
      before = time;
      const next = sweep();
      if (next && model.get("moves").length + next.length <= spec.max_moves) extend(next);
      else stop();
    }
    frame = requestAnimationFrame(tick);
  };
  const resized = new ResizeObserver(paint);
  resized.observe(trio);
  showControls();
  const undo = [
    follow(model, ["machine", "start", "seed", "show", "keep"], () => (showControls(), paint())),
    follow(model, ["moves"], paint),
    follow(model, ["playing"], () => {
      cancelAnimationFrame(frame);
      showControls();
      if (model.get("playing")) frame = requestAnimationFrame(tick);
    }),
    watchVisibility(trio, (visible) => {
      if (!visible && model.get("playing")) stop();
    }),
  ];
  return () => {
    cancelAnimationFrame(frame);
    undo.forEach((end) => end());
    resized.disconnect();
    voice.stop();
  };
}

export default { render };
