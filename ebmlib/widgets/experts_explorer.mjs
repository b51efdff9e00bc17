import {
  announcer, assign, axisControl, choice, follow, format, make, watchVisibility,
} from "./common.mjs";
import { colourBar, decodePalette, paintField, valueRange } from "./density_view.mjs";
import {
  exactLogPartition, expertEnergies, logBoxMass, unitVector, verdict,
} from "./experts_math.mjs";

const FIELD_BINS = 128;
const MASS_BINS = 200;
const LOG_DEPTH = 20; // nats below the top at which the colours of a log density end
const EXPERT_STYLES = [
  { colour: "#e69f00", dash: [] },
  { colour: "#56b4e9", dash: [8, 4] },
  { colour: "#cc79a7", dash: [2, 4] },
];
/** Which sliders of an expert a family listens to. */
const LISTENS = {
  gaussian: ["direction", "strength", "width", "position"],
  student_t: ["direction", "strength", "width", "position"],
  logistic: ["direction", "width", "position"],
  logistic_bowl: ["direction", "width", "position"],
  rbm: ["direction", "strength", "position"],
};
const HAS_BOWL = ["logistic_bowl", "rbm"];

/** A slider over given numbers that reads and writes one of them. */
function numberSlider(name, values, read, write) {
  const labels = values.map((value) => String(value).replace("-", "−"));
  const control = axisControl({ name, labels, kind: "slider" }, (i) => write(values[i]));
  const nearest = (value) =>
    values.reduce((best, v, i) => (Math.abs(v - value) < Math.abs(values[best] - value) ? i : best), 0);
  return { root: control.root, show: () => control.show(nearest(read()), labels) };
}

/** Values of what is shown, with the range of its colours. */
function fieldOf(show, energies, logMass) {
  const fields = {
    density: () => energies.map((energy) => Math.exp(-energy - logMass)),
    log_density: () => energies.map((energy) => -energy - logMass),
    energy: () => energies,
  };
  const field = fields[show]();
  let range = valueRange(field, false);
  if (show === "density") range = [0, range[1]];
  const below = show === "log_density" && range[0] < range[1] - LOG_DEPTH;
  if (below) range = [range[1] - LOG_DEPTH, range[1]];
  return { field, range, below };
}

/** Each expert's middle line; the chosen one is thick and shows where it points. */
function paintExperts(canvas, experts, chosen, half) {
  const ratio = Math.min(3, window.devicePixelRatio || 1);
  const size = Math.max(1, Math.round(canvas.clientWidth * ratio));
  canvas.width = size;
  canvas.height = size;
  const context = canvas.getContext("2d");
  const at = (x, y) => [((x + half) * size) / (2 * half), ((half - y) * size) / (2 * half)];
  experts.forEach((expert, i) => {
    const [c, s] = unitVector(expert);
    const [x, y] = [c * expert.position, s * expert.position];
    const { colour, dash } = EXPERT_STYLES[i];
    const lines = [[at(x - 3 * half * s, y + 3 * half * c), at(x + 3 * half * s, y - 3 * half * c)]];
    if (i === chosen) {
      const [tip, wing] = [0.24 * half, 0.07 * half];
      const end = at(x + tip * c, y + tip * s);
      const barb = (side) =>
        at(x + (tip - wing) * c - side * wing * s, y + (tip - wing) * s + side * wing * c);
      lines.push([at(x, y), end], [barb(1), end], [barb(-1), end]);
    }
    const width = i === chosen ? 3 : 1.4;
    for (const [stroke, extra] of [["#111", 2], [colour, 0]]) {
      context.strokeStyle = stroke;
      context.lineWidth = (width + extra) * ratio;
      lines.forEach(([from, to], k) => {
        context.setLineDash(k === 0 && extra === 0 ? dash.map((d) => d * ratio) : []);
        context.globalAlpha = extra && k === 0 && dash.length ? 0.35 : 1;
        context.beginPath();
        context.moveTo(...from);
        context.lineTo(...to);
        context.stroke();
      });
    }
  });
}

/** Mass in the box against the box's size, as a drawing with words. */
function massChart() {
  const name = make("p", { className: "ebm-name" }, ["log of the mass in the box; dashed: exact log Z"]);
  const drawing = make("div");
  return {
    root: make("div", { className: "ebm-mass" }, [name, drawing]),
    show(halves, masses, half, exact) {
      const all = exact === null ? masses : [...masses, exact];
      const [low, high] = [Math.min(...all), Math.max(...all)];
      const pad = Math.max(0.5, 0.12 * (high - low));
      const px = (i) => 46 + (i * 260) / (halves.length - 1);
      const py = (v) => 122 - ((v - low + pad) / (high - low + 2 * pad)) * 108;
      const path = masses.map((v, i) => `${i ? "L" : "M"}${px(i)} ${py(v)}`).join("");
      const dots = masses.map((v, i) =>
        `<circle cx="${px(i)}" cy="${py(v)}" r="${halves[i] === half ? 6 : 3}"/>`);
      const ticks = halves.map((r, i) => `<text x="${px(i)}" y="138" text-anchor="middle">${r}</text>`);
      const levels = [low, high].filter((v, i) => i === 0 || high - low > 0.05);
      const sides = levels.map((v) =>
        `<text x="40" y="${py(v) + 4}" text-anchor="end">${format(v, 3)}</text>`);
      const line = exact === null ? ""
        : `<path class="exact" d="M46 ${py(exact)}H306"/>`;
      const words = masses.map((v, i) => `${format(v, 4)} at ${halves[i]}`).join(", ");
      drawing.innerHTML =
        `<svg viewBox="0 0 320 158" role="img" aria-label="log of the mass in the box: ${words}">` +
        `<path class="frame" d="M46 8V124H312"/>${line}<path class="mass" d="${path}"/>` +
        `${dots.join("")}${ticks.join("")}${sides.join("")}` +
        '<text x="178" y="154" text-anchor="middle">half side R of the box</text></svg>';
    },
  };
}

/** The table of numbers. */
function expertReadout() {
  const body = make("tbody");
  const root = make("table", { className: "ebm-readout" }, [body]);
  return {
    root,
    show(rows) {
      body.replaceChildren(
        ...rows.map(([name, text]) =>
          make("tr", {}, [make("th", { scope: "row" }, [name]), make("td", {}, [text])]),
        ),
      );
    },
  };
}

/** All controls; `show()` puts them in agreement with the model. */
function expertControls(model, spec) {
  const expert = () => model.get("experts")[model.get("selected")];
  const change = (name) => (value) => {
    const experts = model.get("experts").map((e) => ({ ...e }));
    experts[model.get("selected")][name] = value;
    assign(model, "experts", experts);
  };
  const trait = (name) => [() => model.get(name), (value) => assign(model, name, value)];
  const family = choice("family", (value) => assign(model, "family", value));
  const shown = choice("show", (value) => assign(model, "show", value));
  const count = axisControl({ name: "experts", labels: ["1", "2", "3"], kind: "choice" },
    (i) => {
      if (model.get("selected") > i) assign(model, "selected", i);
      assign(model, "count", i + 1);
    });
  const selected = axisControl({ name: "sliders for expert", labels: ["1"], kind: "choice" },
    (i) => assign(model, "selected", i));
  const half = numberSlider("box half side R", spec.halves, ...trait("half"));
  const bowl = numberSlider("width of the bowl", spec.values.bowl, ...trait("bowl"));
  const own = LISTENS.gaussian.map((name) => {
    const label = name === "direction" ? "direction, °" : name;
    return [name, numberSlider(label, spec.values[name], () => expert()[name], change(name))];
  });
  const sliders = make("div", { className: "ebm-pair" }, own.map(([, { root }]) => root));
  const box = make("div", { className: "ebm-pair" }, [half.root, bowl.root]);
  return {
    root: make("div", { className: "ebm-tools" }, [
      family.root, shown.root, count.root, selected.root, sliders, box,
    ]),
    show() {
      const now = model.get("family");
      family.show(now, Object.entries(spec.families));
      shown.show(model.get("show"), Object.entries(spec.shown));
      count.show(model.get("count") - 1, ["1", "2", "3"]);
      selected.show(model.get("selected"), ["1", "2", "3"].slice(0, model.get("count")));
      half.show();
      bowl.show();
      bowl.root.hidden = !HAS_BOWL.includes(now);
      for (const [name, control] of own) {
        control.root.hidden = !LISTENS[now].includes(name);
        control.show();
      }
    },
  };
}

/** @param {{model: import("./common.mjs").Model, el: HTMLElement}} view */
function render({ model, el }) {
  const spec = model.get("spec");
  const palette = decodePalette(spec.palette);
  const field = make("canvas", { className: "ebm-field", role: "img" });
  const overlay = make("canvas");
  overlay.setAttribute("aria-hidden", "true");
  const square = make("div", { className: "ebm-square" }, [field, overlay]);
  const bar = colourBar();
  const chart = massChart();
  const table = expertReadout();
  const controls = expertControls(model, spec);
  const voice = announcer();
  const caption = make("p", { className: "ebm-caption" }, [model.get("caption")]);
  caption.hidden = !model.get("caption");
  const board = make("div", { className: "ebm-board" }, [square, bar.root, chart.root]);
  controls.root.append(table.root);
  el.classList.add("ebm", "ebm-experts");
  el.append(make("div", { className: "ebm-plane" }, [board, controls.root]), caption, voice.root);

  let visible = false;
  const scene = () => ({
    family: model.get("family"), bowl: model.get("bowl"),
    experts: model.get("experts").slice(0, model.get("count")),
  });
  const showLines = () =>
    paintExperts(overlay, scene().experts, model.get("selected"), model.get("half"));

  const compute = () => {
    el.setAttribute("aria-busy", "true");
    controls.show();
    if (!visible) return;
    const [now, half, show] = [scene(), model.get("half"), model.get("show")];
    const masses = spec.halves.map((r) => logBoxMass(expertEnergies(now, r, MASS_BINS), r, MASS_BINS));
    const logMass = masses[spec.halves.indexOf(half)];
    const { field: values, range, below } = fieldOf(show, expertEnergies(now, half, FIELD_BINS), logMass);
    paintField(field, values, FIELD_BINS, range, palette);
    bar.show(spec.shown[show], range, palette, below);
    const exact = exactLogPartition(now);
    const { finite, why } = verdict(now);
    chart.show(spec.halves, masses, half, exact);
    const last = masses[masses.length - 1] - masses[masses.length - 2];
    table.show([
      [`log of the mass, R = ${half}`, format(logMass, 6)],
      ["exact log Z of the plane", finite ? (exact === null ? "no formula" : format(exact, 6)) : "∞"],
      ["gain from the last doubling", `${format(Math.abs(last) < 1e-9 ? 0 : last, 3)} nats`],
      ["normalisable", `${finite ? "yes" : "no"}: ${why}`],
    ]);
    field.setAttribute("aria-label",
      `${model.get("alt")} (${spec.families[now.family]}, ${now.experts.length} experts, ` +
      `${spec.shown[show]} on the square of half side ${half})`);
    voice.say(`${finite ? "normalisable" : "not normalisable"}: ${why}`);
    el.removeAttribute("aria-busy");
    showLines();
  };

  const resized = new ResizeObserver(() => visible && showLines());
  resized.observe(square);
  const undo = [
    follow(model, ["family", "experts", "count", "bowl", "half", "show"], compute),
    follow(model, ["selected"], () => (controls.show(), showLines())),
    watchVisibility(el, (now) => {
      const appeared = now && !visible;
      visible = now;
      if (appeared && el.hasAttribute("aria-busy")) compute();
    }),
  ];
  compute();
  return () => {
    undo.forEach((stop) => stop());
    resized.disconnect();
    voice.stop();
  };
}

export default { render };
