/// <reference path="./view/css.d.ts" />
import { assign, follow, make, watchVisibility } from "../common.mjs";
import { PRESETS, VIEW, clampConfig, decode, encode, toSafetensors } from "./core/index.mjs";
import { button, checks, controlFor, explain, icon } from "./view/controls.mjs";
import { curvesOf } from "./view/curves.mjs";
import { themeOf, watchTheme } from "./view/colour.mjs";
import { readGiven, traitsOf } from "./view/exchange.mjs";
import { layerFace } from "./view/legend.mjs";
import { contrast, pictureOf, summary } from "./view/pictures.mjs";
import { createSession } from "./view/session.mjs";
import { settingsOf } from "./view/settings.mjs";
import { copyText, saveFile } from "./view/share.mjs";
import { HELP, LAYERS, SIDES } from "./view/words.mjs";
import { format } from "../common.mjs";
import css from "./view/lab.css";

export * from "./core/index.mjs";

/**
 * EBM Lab: train an energy-based model in the page, with the exact answer beside it.
 *
 * @typedef {import("../common.mjs").Model} Model
 * @typedef {import("./core/types.mjs").Config} Config
 */

const PREFIX = "#lab";
/** Milliseconds between two announcements, and between two messages to a kernel. */
const SAY = 2000;

/** The configuration in the page's address, if it is one of the Lab's. */
const fromAddress = () => (location.hash === PREFIX || location.hash.startsWith(`${PREFIX}&`)
  ? location.hash.slice(PREFIX.length) : null);

/** The number of updates in an address. */
const countIn = (/** @type {string | null} */ text) =>
  Math.min(5000, Number(/&at=(\d{1,5})(?:&|$)/.exec(text ?? "")?.[1] ?? 0));

/** @param {{model: Model, el: HTMLElement}} host */
function render({ model, el }) {
  const spec = model.get("spec");
  const small = Boolean(spec.small);
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const address = small ? null : fromAddress();
  const given = readGiven(model);
  const first = address === null ? clampConfig(model.get("config")) : decode(address);
  const eager = Boolean(model.get("playing")) && !calm;
  let editing = first.b ? 1 : 0; // B is what is held against A
  let theme = themeOf();
  let said = 0;
  let sent = 0;
  let sending = false;
  let sentence = "";

  const session = createSession(first, given, { paint, changed });

  // -- Changes asked for by controls ------------------------------------------------
  const configure = (/** @type {Config} */ next) => {
    session.configure(next);
    send(true);
  };
  const change = (/** @type {"shared" | "side"} */ scope, /** @type {string} */ name, /** @type {any} */ value) => {
    const next = structuredClone(session.config);
    if (scope === "side") {
      const side = editing && next.b ? next.b : next.a;
      Object.assign(side, { [name]: value });
    } else Object.assign(next, { [name]: value }, name === "drawing" ? { data: "drawn" } : {});
    configure(next);
  };
  const look = (/** @type {string} */ name, /** @type {any} */ value) => {
    const next = structuredClone(session.config);
    Object.assign(next.view, { [name]: value });
    configure(next);
  };
  const toggle = (/** @type {boolean} */ slow) => {
    if (session.playing && session.slow === slow) session.pause();
    else {
      session.setSlow(slow);
      session.play();
    }
  };

  // -- Elements ---------------------------------------------------------------------
  const play = /** @type {HTMLButtonElement} */ (
    explain(make("button", { type: "button", className: "ebm-play lab-play" }), HELP.play));
  play.addEventListener("click", () => toggle(false));
  const once = button("step", "Step", HELP.step, () => session.step());
  once.dataset.once = "";
  const slow = button("slow", "Slow", HELP.slow, () => toggle(true));
  const reset = button("reset", "Reset", HELP.reset, () => session.reset());
  reset.dataset.reset = "";
  const speed = controlFor(VIEW.speed, (value) => look("speed", value));
  const counter = make("output", { className: "lab-counter" });
  const preset = make("select", {}, [
    make("option", { value: "", textContent: "Choose a surprise …" }),
    ...PRESETS.map(({ id, title }) => make("option", { value: id, textContent: title })),
  ]);
  preset.addEventListener("change", () => {
    const found = PRESETS.find(({ id }) => id === preset.value);
    if (!found) return;
    if (found.config.b) editing = 1;
    configure(found.config);
    session.seek(0);
    if (!calm) toggle(false);
  });
  const presets = explain(make("label", { className: "ebm-control lab-presets" }, [
    make("span", { className: "ebm-name" }, ["Presets"]), preset]), HELP.preset);
  const share = button("link", "Copy link", HELP.share, async () => {
    const at = session.lab.count ? `&at=${Math.min(5000, session.lab.count)}` : "";
    const text = `${location.href.replace(/#.*/, "")}${hash()}${at}`;
    guide((await copyText(text)) ? "The address is copied: it holds every setting." : text);
  });
  const save = button("save", "Weights", HELP.save, () => {
    const trainer = session.lab.trainers[editing] ?? session.lab.a;
    saveFile(toSafetensors(trainer.network), `ebm-lab-${trainer.side.method}-${trainer.count}.safetensors`);
  });
  const tip = make("p", { className: "lab-guide" });
  const live = make("p", { className: "ebm-sr", role: "status" });
  live.setAttribute("aria-live", "polite");

  const ways = {
    back: () => session.scrub(Math.max(0, (session.lab.snapshots().filter((n) => n < session.lab.count).pop() ?? 0))),
    reset: () => session.reset(),
  };
  const pictures = [0, 1].map((index) => pictureOf(index, ways));
  const curves = curvesOf(small ? ["kl", "likelihood"] : ["kl", "likelihood", "energy", "gradient"]);
  const show = controlFor(VIEW.show, (value) => look("show", value));
  const layers = checks(VIEW.layers, (value) => look("layers", value), layerFace, LAYERS);
  const place = make("span", { className: "ebm-value" });
  const scrub = make("input", { type: "range", min: 0, max: 0, step: 1 });
  const timeline = explain(make("label", { className: "ebm-control ebm-slider lab-scrub" }, [
    make("span", { className: "ebm-name" }, ["Go back to", place]), scrub]), HELP.scrub);
  scrub.addEventListener("input", () => session.scrub(session.lab.snapshots()[Number(scrub.value)] ?? 0));
  const compare = make("input", { type: "checkbox" });
  const comparing = explain(make("label", { className: "ebm-chip lab-compare" }, [
    compare, make("span", {}, ["Compare two"])]), HELP.compare);
  compare.addEventListener("change", () => {
    const next = structuredClone(session.config);
    const other = next.a.method === "exact" ? "shortrun" : "exact";
    next.b = compare.checked ? { ...next.a, method: other } : null;
    if (next.b) editing = 1;
    configure(next);
  });
  for (const i of [0, 3, 5]) layers.labels[i].dataset.later = "";
  const settings = settingsOf(small ? spec.controls : null, Boolean(given.points), change, (index) => {
    editing = index;
    changed();
  });
  // for the tests: what acts elsewhere than on a picture, and what the next update shows
  for (const each of [share, save, speed.root, settings.which]) each.dataset.elsewhere = "";
  const door = make("a", { className: "lab-door", textContent: "Open in the full Lab" });

  const bar = make("div", { className: "lab-bar" }, [
    make("div", { className: "lab-buttons" }, small ? [play, once, reset] : [play, once, slow, reset]), counter,
    ...(small ? [door] : [speed.root, presets]),
  ]);
  bar.setAttribute("role", "group");
  bar.setAttribute("aria-label", "Training");
  const stage = make("div", { className: "lab-stage" }, [
    make("div", { className: "lab-pictures" }, pictures.map(({ root }) => root)), curves.root]);
  const options = make("div", { className: "lab-options" }, small ? [] : [
    comparing, show.root, make("div", { className: "lab-buttons" }, [share, save]), layers.root]);
  const caption = make("p", { className: "ebm-caption", textContent: model.get("caption") });
  caption.hidden = !caption.textContent;
  const root = make("div", { className: `ebm ebm-lab${small ? " lab-small" : ""}` }, [
    make("style", { textContent: css }), bar, tip, stage, timeline, options, settings.root, live, caption]);
  el.append(root);

  // -- What is shown ----------------------------------------------------------------
  function hash() {
    const text = encode(session.config);
    return text ? `${PREFIX}&${text}` : PREFIX;
  }
  function guide(/** @type {string} */ text) {
    const { a, b } = session.config;
    const standing = b ? `A: ${contrast(a, b)}. B: ${contrast(b, a)}.`
      : `A small network learns these data; its negative phase is ${summary(a)}. Hover over anything, or focus it, to learn what it is.`;
    tip.textContent = text || sentence || standing;
  }
  function paint() {
    const { lab, config } = session;
    root.classList.toggle("lab-two", Boolean(lab.b));
    pictures[1].root.hidden = !lab.b;
    lab.trainers.forEach((trainer, i) => {
      pictures[i].paint(trainer, config, {
        theme, slow: session.slow, phase: session.phases[i], compare: Boolean(lab.b),
      });
    });
    curves.paint(lab, theme);
    counter.textContent = lab.count.toLocaleString("en");
    const rate = session.playing && !session.slow && session.rate ? `${Math.round(session.rate)} a second` : "updates";
    counter.dataset.unit = rate;
    const snapshots = lab.snapshots();
    scrub.max = String(Math.max(0, snapshots.length - 1));
    let at = snapshots.length - 1;
    while (at > 0 && snapshots[at] > lab.count) at -= 1;
    scrub.value = String(at);
    timeline.hidden = snapshots.length < 2;
    place.textContent = `update ${lab.count.toLocaleString("en")}`;
    scrub.setAttribute("aria-valuetext", place.textContent);
    reset.disabled = lab.count === 0 && !session.phases[0];
    say(false);
    send(false);
  }
  function changed() {
    const { config, playing } = session;
    const stopped = session.lab.trainers.some((trainer) => trainer.stopped);
    play.replaceChildren(icon(playing && !session.slow ? "pause" : "play"));
    play.setAttribute("aria-label", playing && !session.slow ? "Pause" : "Play");
    play.disabled = stopped;
    once.disabled = stopped;
    /** @type {HTMLButtonElement} */ (slow).disabled = stopped;
    slow.setAttribute("aria-pressed", String(playing && session.slow));
    speed.show(config.view.speed);
    show.show(config.view.show);
    layers.show(config.view.layers);
    compare.checked = Boolean(config.b);
    settings.show(config, editing);
    const same = PRESETS.find((one) => encode({ ...one.config, view: config.view }) === encode(config));
    preset.value = same?.id ?? "";
    sentence = same?.sentence ?? "";
    layers.labels[2].hidden = [config.a, config.b].every((side) => !side || side.method === "exact");
    guide("");
    door.href = `${spec.href}${hash()}`;
    if (!small && address !== null) history.replaceState(null, "", hash());
    say(true);
    send(true);
  }
  function say(/** @type {boolean} */ now) {
    if (!session.playing && !now) return;
    if (performance.now() - said < SAY) return;
    said = performance.now();
    const { lab, config } = session;
    const scores = lab.trainers.map((trainer, i) => {
      const kl = trainer.field().kl;
      pictures[i].describe(trainer, config.view.show);
      return `${lab.b ? `${SIDES[i].letter}: ` : ""}${Number.isFinite(kl) ? `KL ${format(kl, 3)}` : ""}`;
    });
    const stop = lab.trainers.find((trainer) => trainer.stopped)?.stopped;
    live.textContent = stop ? stop.message : `Update ${lab.count}. ${scores.join(", ")}`;
  }
  /** Tell the kernel, where there is one: at once when something changed, else now and then. */
  function send(/** @type {boolean} */ now) {
    if (sending || (!now && performance.now() - sent < SAY / 2)) return;
    sent = performance.now();
    sending = true;
    for (const [name, value] of Object.entries(traitsOf(session))) assign(model, name, value);
    sending = false;
  }

  // -- What comes from outside ----------------------------------------------------------
  const heard = (/** @type {() => void} */ callback) => () => {
    if (!sending) callback();
  };
  const unfollow = [
    follow(model, ["config"], heard(() => session.configure(model.get("config")))),
    // while it trains, another view's count is not this one's
    follow(model, ["count"], heard(() => {
      if (!session.playing || session.seeking) session.seek(model.get("count"));
    })),
    follow(model, ["playing"], heard(() => (model.get("playing") ? session.play() : session.pause()))),
    follow(model, ["given"], heard(() => session.give(readGiven(model)))),
    watchTheme(() => {
      theme = themeOf();
      settings.paint(theme);
      paint();
    }),
    watchVisibility(root, (visible) => session.setAwake(visible)),
  ];
  const visitor = () => {
    const text = fromAddress();
    if (text !== null && !small) session.configure(decode(text));
  };
  addEventListener("hashchange", visitor);
  const resized = new ResizeObserver(() => {
    paint();
  });
  const point = (/** @type {Event} */ event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    guide(/** @type {HTMLElement | null} */ (target.closest("[data-help]"))?.dataset.help ?? "");
  };
  root.addEventListener("pointerover", point);
  root.addEventListener("focusin", point);
  root.addEventListener("pointerleave", () => guide(""));

  changed();
  requestAnimationFrame(() => {
    if (root.clientWidth < 520) settings.fold();
    settings.paint(theme);
    paint();
    resized.observe(pictures[0].root);
    root.dataset.ready = "";
  });
  const goal = countIn(address);
  if (goal) session.seek(goal);
  else if (eager) session.play();

  return () => {
    session.stop();
    resized.disconnect();
    removeEventListener("hashchange", visitor);
    unfollow.forEach((stop) => stop());
  };
}

export default { render };
