import {
  announcer, assign, axisControl, choice, decodeArray, follow, format, make, watchVisibility,
} from "./common.mjs";
import { zeroLines } from "./density_math.mjs";
import { colourBar, decodePalette, paintField } from "./density_view.mjs";
import {
  consider, largestScore, poolFilter, poolGains, poolMoments, poolScores, pursuitProblem,
} from "./pursuit_math.mjs";
import {
  filterKey, paintFilters, paintMarks, paintPool, poolHandle, pursuitChart,
} from "./pursuit_view.mjs";

/** Four decimals where they say something; what Newton left over counts as nothing. */
const nats = (value) => format(Math.abs(value) < 1e-8 ? 0 : value, 5);

const degrees = (angle) => `${Number(angle.toFixed(2))}°`;

const TOLERATED = 1e-8; // of a mismatch, after the fit
const LEVELS = [0.1, 0.35]; // of the data's highest density: where its contours lie

/** What is known of the densities and the chosen filters; nothing here touches the page. */
export function pursuitState(model, spec) {
  const { box, bins, pool } = spec;
  const problems = new Map();
  const kept = new Map();
  const problem = () => {
    const name = model.get("density");
    if (!problems.has(name)) {
      const { log_density: packed } = spec.densities.find((entry) => entry.name === name);
      const made = pursuitProblem(decodeArray(packed), spec.prior, pool, box, bins);
      const top = made.data.reduce((a, b) => Math.max(a, b), 0);
      const contours = LEVELS.flatMap((level) =>
        zeroLines(made.data.map((mass) => mass - level * top), box, bins));
      problems.set(name, { ...made, contours, top });
    }
    return problems.get(name);
  };
  /** The map over the pool for the filters chosen so far, and the greedy rule's next. */
  const survey = (fit, criterion) => {
    const key = JSON.stringify([model.get("density"), criterion, fit.filters]);
    if (!kept.has(key)) {
      const { moments } = problem();
      const now = poolMoments(fit.masses, pool, box, bins);
      const gains = criterion === "gain"
        ? poolGains(fit.masses, moments.mean, pool, box, bins) : null;
      const scores = poolScores(criterion, moments, now, gains);
      const mismatches = poolScores("mismatch", moments, now, null);
      if (kept.size > 40) kept.clear();
      kept.set(key, { scores, best: nextBest(fit, scores), left: largestScore(mismatches), mismatches });
    }
    return kept.get(key);
  };
  const ask = (fit, number) => consider(fit, problem().data, number, pool, box, bins);
  const nextBest = (fit, scores) => {
    const passed = new Set();
    for (;;) {
      const best = largestScore(scores, passed);
      if (best < 0 || scores[best] === 0) return -1;
      if (!ask(fit, best).refused) return best;
      passed.add(best);
    }
  };
  return {
    now() {
      const { contours, data, top, fit, path } = problem();
      const filters = model.get("filters");
      const here = fit(filters);
      return {
        contours, data, top, fit: here, path: path(filters),
        facts: ask(here, model.get("candidate")),
        ...survey(here, model.get("criterion")),
      };
    },
    ask: (number) => ask(problem().fit(model.get("filters")), number),
    fit: (filters) => problem().fit(filters),
    path: () => problem().path(model.get("filters")),
    best: () => survey(problem().fit(model.get("filters")), model.get("criterion")).best,
  };
}

/** Two sliders that do what the handle does. */
function filterSliders(model, pool, set) {
  const rows = pool.offsets.length;
  const now = () => model.get("candidate");
  const labels = [
    pool.angles.map(degrees),
    pool.offsets.map((offset) => format(offset, 3)),
  ];
  const angle = axisControl({ name: "angle of w", labels: labels[0], kind: "slider" }, (i) =>
    set(i, now() % rows));
  const offset = axisControl({ name: "offset b", labels: labels[1], kind: "slider" }, (j) =>
    set(Math.floor(now() / rows), j));
  return {
    root: make("div", { className: "ebm-pair" }, [angle.root, offset.root]),
    show() {
      angle.show(Math.floor(now() / rows), labels[0]);
      offset.show(now() % rows, labels[1]);
    },
  };
}

/** Rows of words and numbers. */
function factTable() {
  const body = make("tbody");
  return {
    root: make("table", { className: "ebm-readout" }, [body]),
    show(rows) {
      body.replaceChildren(...rows.map(([name, text]) =>
        make("tr", {}, [make("th", { scope: "row" }, [name]), make("td", {}, [text])])));
    },
  };
}

/** The four buttons; what each does is said in words, and why not, if it was refused. */
function pursuitActions(model, spec, state, report) {
  const names = (number) => {
    const [angle, offset] = poolFilter(spec.pool, number);
    return `angle ${degrees(angle)}, offset ${format(offset, 3)}`;
  };
  const add = (number) => {
    const filters = model.get("filters");
    if (number < 0) return report("Nothing left to add: every filter of the pool matches.");
    if (filters.length >= spec.most) return report(`Not added: ${spec.most} filters are the most here.`);
    const { refused, gain } = state.ask(number);
    if (refused) return report(`Not added: ${refused}.`);
    const next = [...filters, number];
    const { error, coefficients, kl } = state.fit(next);
    if (error > TOLERATED) {
      const size = coefficients.reduce((most, c) => Math.max(most, Math.abs(c)), 0);
      return report("Not added: Newton's method does not match it together with the others " +
        `(error ${error.toExponential(0)}, coefficients up to ${size.toExponential(0)}).`);
    }
    const fall = state.fit(filters).kl - kl;
    report(`Filter ${next.length} (${names(number)}): KL fell by ${nats(fall)} nats; ` +
      `its own coefficient alone would have gained ${nats(gain)}.`);
    return assign(model, "filters", next);
  };
  const press = (text, action) => make("button", {
    type: "button", className: "ebm-press", textContent: text, onclick: action,
  });
  const none = () => report("No filter is chosen: this is the prior.");
  const drop = () => {
    const filters = model.get("filters");
    if (!filters.length) return none();
    report(`Filter ${filters.length} removed; the others were fitted again.`);
    return assign(model, "filters", filters.slice(0, -1));
  };
  const again = () => {
    if (!model.get("filters").length) return none();
    assign(model, "former", state.path());
    report("Back to the prior.");
    return assign(model, "filters", []);
  };
  return make("div", { className: "ebm-pair" }, [
    press("add this filter", () => add(model.get("candidate"))),
    press("add the greedy best", () => add(state.best())),
    press("remove the last", drop),
    press("start again", again),
  ]);
}

/** @param {{model: import("./common.mjs").Model, el: HTMLElement}} view */
function render({ model, el }) {
  const spec = model.get("spec");
  const { box, bins, pool } = spec;
  const state = pursuitState(model, spec);
  const [sequential, diverging] = [spec.palettes.sequential, spec.palettes.diverging].map(decodePalette);
  const hidden = (canvas) => (canvas.setAttribute("aria-hidden", "true"), canvas);
  const field = make("canvas", { className: "ebm-field", role: "img" });
  const lines = hidden(make("canvas"));
  const plane = make("div", { className: "ebm-square" }, [field, lines]);
  const map = make("canvas", { className: "ebm-field", role: "img" });
  const marks = hidden(make("canvas"));
  const square = make("div", { className: "ebm-square" }, [map, marks]);
  const [planeBar, mapBar] = [colourBar(), colourBar()];
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((turn) => make("span", {}, [`${360 * turn}°`]));
  const [least, most] = [pool.offsets[0], pool.offsets[pool.offsets.length - 1]];
  const sides = `angle of w; offset b from ${format(least, 3)} (bottom) to ${format(most, 3)} (top)`;
  const axis = make("div", {}, [
    make("div", { className: "ebm-ticks" }, ticks), make("p", { className: "ebm-title" }, [sides]),
  ]);
  const titled = (text, ...parts) => make("div", { className: "ebm-board" }, [
    make("p", { className: "ebm-title" }, [text]), ...parts,
  ]);
  const boards = make("div", { className: "ebm-boards" }, [
    titled("model density, and what it matches", plane, planeBar.root, filterKey()),
    titled("the pool: one place for each filter", square, axis, mapBar.root),
  ]);

  let message = "";
  const note = make("p", { className: "ebm-note" });
  const voice = announcer();
  const showNote = (facts) => {
    note.textContent = message || (facts.refused ? `Your filter cannot be added: ${facts.refused}.`
      : `Your filter would gain ${nats(facts.gain)} nats by its own coefficient alone.`);
  };
  const report = (text) => {
    message = text;
    note.textContent = text;
    voice.say(text);
  };
  const handle = poolHandle(model, square, pool);
  const sliders = filterSliders(model, pool, handle.set);
  const names = spec.densities.map(({ name }) => name);
  const density = axisControl({ name: "data", labels: names, kind: "choice" }, (i) => {
    report(`${names[i]}: back to the prior.`);
    assign(model, "former", []);
    assign(model, "filters", []);
    assign(model, "density", names[i]);
  });
  const criteria = choice("the greedy rule looks at", (value) => {
    message = "";
    assign(model, "criterion", value);
  });
  const actions = pursuitActions(model, spec, state, report);
  const chart = pursuitChart(spec.most);
  const table = factTable();
  const caption = make("p", { className: "ebm-caption" }, [model.get("caption")]);
  caption.hidden = !model.get("caption");
  const tools = make("div", { className: "ebm-tools" }, [
    actions, note, sliders.root, density.root, criteria.root,
  ]);
  const read = make("div", {}, [table.root, chart.root]);
  el.classList.add("ebm", "ebm-pursuit");
  el.append(boards, make("div", { className: "ebm-plane" }, [tools, read]), caption, voice.root);

  const showControls = () => {
    density.show(names.indexOf(model.get("density")), names);
    density.root.hidden = names.length < 2;
    criteria.show(model.get("criterion"), Object.entries(spec.criteria));
    sliders.show();
    handle.show();
  };
  const showFacts = (now) => {
    const { fit, facts } = now;
    const asked = model.get("candidate");
    const scene = { box, pool, asked, ...now };
    paintFilters(lines, scene);
    paintMarks(marks, scene);
    const [angle, offset] = poolFilter(pool, now.left);
    const error = fit.error ? ` (error ${fit.error.toExponential(0).replace("-", "−")})` : "";
    table.show([
      ["KL(data ‖ model), nats", nats(fit.kl)],
      ["numbers matched", `${fit.filters.length}${error}`],
      ["largest mismatch left", `${nats(now.mismatches[now.left])} at ${degrees(angle)}, ${format(offset, 3)}`],
      ["your filter: expectation, data", nats(facts.target)],
      ["expectation, model", nats(facts.expectation)],
      ["mismatch", nats(facts.mismatch)],
    ]);
    showNote(facts);
  };
  const showAll = () => {
    showControls();
    if (!visible) return;
    const now = state.now();
    const { fit } = now;
    const cell = ((box[1] - box[0]) / bins) ** 2;
    const values = fit.masses.map((mass) => mass / cell);
    const range = [0, values.reduce((a, b) => Math.max(a, b), 0)];
    paintField(field, values, bins, range, sequential);
    planeBar.show("density p of the model", range, sequential, false);
    const what = spec.criteria[model.get("criterion")];
    const ends = paintPool(map, now.scores, pool, diverging);
    mapBar.show(`${what}; red: more under the data`, ends, diverging, false);
    [0, 2].forEach((place, i) => (mapBar.root.children[place].textContent = nats(ends[i])));
    chart.show(now.path, model.get("former"));
    const words = `${fit.filters.length} filters, KL ${nats(fit.kl)} nats`;
    field.setAttribute("aria-label", `${model.get("alt")} (${model.get("density")}, ${words})`);
    map.setAttribute("aria-label",
      `${what} of each filter of the pool, by angle and offset, after ${fit.filters.length} filters`);
    showFacts(now);
    voice.say(message ? `${message} ${words}` : words);
    el.removeAttribute("aria-busy");
  };

  let visible = false;
  const redraw = () => visible && showFacts(state.now());
  const resized = new ResizeObserver(redraw);
  resized.observe(plane);
  resized.observe(square);
  el.setAttribute("aria-busy", "true");
  showControls();
  const undo = [
    follow(model, ["density", "criterion", "filters", "former"], showAll),
    follow(model, ["candidate"], () => {
      message = "";
      showControls();
      redraw();
    }),
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
