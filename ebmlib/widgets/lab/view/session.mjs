import { clampConfig, createLab } from "../core/index.mjs";

/**
 * The run on show: what trains it, in slices that leave the page time to breathe.
 *
 * @typedef {import("../core/types.mjs").Config} Config
 * @typedef {import("../core/types.mjs").Lab} Lab
 * @typedef {import("../core/types.mjs").LabEvent} LabEvent
 * @typedef {import("../core/types.mjs").Trainer} Trainer
 *
 * @typedef {{kind: string, done: number, total: number}} Phase
 */

/** A frame's work: training and drawing together. */
const SLICE = 11;
/** Milliseconds between two pictures while it trains. */
const BETWEEN = 30;
/** The order of the events of a step, so that two sides can wait for each other. */
const ORDER = ["update", "chains", "push", "pull"];
/** What makes another network. @type {(keyof import("../core/types.mjs").Side)[]} */
const MODEL = ["width1", "width2", "activation", "init", "prior"];
/** How long slow motion rests on each event. */
const REST = { push: 1500, chains: 90, pull: 1500, update: 500 };

/**
 * @param {Config} first
 * @param {any} given  data or weights from Python, as `createLab` takes them
 * @param {{paint: () => void, changed: () => void}} tell
 *   paint: something on the picture has moved; changed: it has started or stopped
 */
export function createSession(first, given, tell) {
  let config = clampConfig(first);
  if (config.data === "given" && !given.points) config = clampConfig({ ...config, data: "" });
  let lab = createLab(config, given);
  let playing = false;
  let slow = false;
  let awake = true;
  let target = Infinity;
  let frame = 0;
  let painted = 0;
  let allowance = 0;
  let cost = 3;
  let nextEvent = 0;
  let updates = 0;
  let rateSince = 0;
  let rate = 0;
  /** @type {(Phase | null)[]} */
  let phases = [null, null];

  const stopped = () => lab.trainers.some((trainer) => trainer.stopped);
  const noPhases = () => {
    phases = [null, null];
  };

  function paint() {
    const start = performance.now();
    tell.paint();
    cost = 0.8 * cost + 0.2 * (performance.now() - start);
    painted = performance.now();
  }

  /** One event of slow motion; sides that are ahead wait. */
  function slowEvent() {
    const rank = (/** @type {number} */ i) => ORDER.indexOf(phases[i]?.kind ?? "update");
    const sides = lab.trainers.map((_, i) => i);
    const even = sides.every((i) => rank(i) === rank(0));
    const lowest = Math.min(...sides.map((i) => rank(i)));
    for (const i of sides) {
      if (!even && rank(i) !== lowest) continue;
      const event = lab.trainers[i].next();
      phases[i] = event && { kind: event.kind, done: event.done ?? 0, total: event.total ?? 0 };
    }
    const kinds = sides.map((i) => phases[i]?.kind ?? "update");
    const slowest = ORDER[Math.min(...kinds.map((kind) => ORDER.indexOf(kind)))];
    return REST[/** @type {keyof typeof REST} */ (slowest)];
  }

  function work() {
    frame = 0;
    if (!playing || !awake) return;
    const now = performance.now();
    if (slow) {
      if (now >= nextEvent) {
        nextEvent = now + slowEvent();
        paint();
      }
    } else {
      if (allowance > 0) {
        const due = now - painted >= BETWEEN;
        const most = Math.min(allowance, target - lab.count);
        const done = lab.advance(Math.max(4, due ? SLICE - cost : SLICE), most);
        allowance -= done;
        updates += done;
      }
      if (performance.now() - painted >= BETWEEN) {
        if (now - rateSince > 1000) {
          rate = (1000 * updates) / (now - rateSince);
          [updates, rateSince] = [0, now];
        }
        paint();
        allowance = config.view.speed;
      }
    }
    if (stopped() || lab.count >= target) pause();
    else schedule();
  }
  function schedule() {
    if (!frame && playing && awake) frame = requestAnimationFrame(work);
  }

  function play() {
    if (playing || stopped()) return;
    playing = true;
    allowance = config.view.speed;
    [updates, rateSince, rate] = [0, performance.now(), 0];
    noPhases();
    tell.changed();
    schedule();
  }
  /** Let the side that is behind catch up: what is shown is after as many updates. */
  function even() {
    const most = Math.max(...lab.trainers.map(({ count }) => count));
    for (const trainer of lab.trainers) {
      while (!slow && !trainer.stopped && trainer.count < most) trainer.step();
    }
  }
  function pause() {
    cancelAnimationFrame(frame);
    frame = 0;
    target = Infinity;
    if (!playing) return;
    playing = false;
    even();
    paint();
    tell.changed();
  }
  /** A run under the configuration, from its beginning. */
  const begin = () => createLab(config, given);

  return {
    get lab() { return lab; },
    get config() { return config; },
    get playing() { return playing; },
    /** Whether it only trains on to a number of updates that was asked for. */
    get seeking() { return target < Infinity; },
    get slow() { return slow; },
    get rate() { return rate; },
    get phases() { return phases; },
    play, pause,
    /** Take a configuration; anew from the seed where the old run cannot go on under it. */
    configure(/** @type {any} */ next) {
      const whole = clampConfig(next);
      const was = JSON.stringify(config);
      if (JSON.stringify(whole) === was) return;
      if (whole.data === "given" && !given.points) return;
      // another network than the one from Python is wanted
      if (given.network && MODEL.some((name) => whole.a[name] !== config.a[name])) {
        given = { ...given, network: null };
        lab = createLab(whole, given);
      }
      config = whole;
      noPhases();
      if (!lab.configure(config)) lab = begin();
      if (!playing) paint();
      tell.changed();
    },
    /** Other data or weights from Python. */
    give(/** @type {any} */ next) {
      given = next;
      lab = begin();
      noPhases();
      paint();
      tell.changed();
    },
    setSlow(/** @type {boolean} */ value) {
      slow = value;
      nextEvent = 0;
      if (!slow) noPhases();
      paint();
      tell.changed();
    },
    step() {
      pause();
      noPhases();
      lab.step();
      paint();
      tell.changed();
    },
    reset() {
      noPhases();
      lab.reset();
      if (!playing) paint();
      tell.changed();
    },
    /** Back to a snapshot, or on by training to a number of updates. */
    seek(/** @type {number} */ count) {
      const goal = Math.min(50000, Math.max(0, Math.round(Number(count) || 0)));
      pause();
      noPhases();
      if (goal !== lab.count) lab.seek(goal);
      paint();
      if (lab.count < goal) {
        target = goal;
        play();
      } else tell.changed();
    },
    /** Back to a count among the snapshots, without training. */
    scrub(/** @type {number} */ count) {
      pause();
      noPhases();
      lab.seek(count);
      paint();
      tell.changed();
    },
    /** Out of sight nothing runs; back in sight it goes on. */
    setAwake(/** @type {boolean} */ value) {
      awake = value;
      if (awake) {
        rateSince = performance.now();
        updates = 0;
        schedule();
      } else {
        cancelAnimationFrame(frame);
        frame = 0;
      }
    },
    stop() {
      playing = false;
      cancelAnimationFrame(frame);
    },
  };
}

/** @typedef {ReturnType<typeof createSession>} Session */
