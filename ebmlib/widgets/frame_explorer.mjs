import { announcer, assign, axisControl, follow, make, watchVisibility } from "./common.mjs";

/**
 * Number of the frame at a position, the last axis fastest.
 * @param {number[]} index
 * @param {number[]} shape
 */
export function frameNumber(index, shape) {
  return index.reduce((number, position, i) => number * shape[i] + position, 0);
}

const ICONS = {
  play: "M4 2.5v11l9.5-5.5z",
  pause: "M3.5 2.5h3.2v11H3.5zM9.3 2.5h3.2v11H9.3z",
};

function playButton(toggle) {
  const button = make("button", { type: "button", className: "ebm-play", onclick: toggle });
  return {
    root: button,
    show(playing, axis) {
      const path = playing ? ICONS.pause : ICONS.play;
      button.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${path}"/></svg>`;
      button.setAttribute("aria-label", `${playing ? "Pause" : "Play along"} ${axis}`);
      button.title = playing ? "Pause" : "Play";
    },
  };
}

/** Decode every frame ahead, so that moving a control never flickers. */
function preload(frames) {
  return frames.map((source) => {
    const picture = new Image();
    picture.src = source;
    picture.decode().catch(() => {});
    return picture;
  });
}

/** Steps the playing axis until it ends, someone pauses, or nobody looks. */
function player(model, length) {
  const axis = model.get("play_axis");
  let timer = 0;
  const at = () => model.get("index")[axis];
  const go = (position) => {
    const index = [...model.get("index")];
    index[axis] = position;
    assign(model, "index", index);
  };
  const tick = () => {
    if (at() < length - 1) go(at() + 1);
    if (at() >= length - 1) assign(model, "playing", false);
  };
  return {
    toggle() {
      if (!model.get("playing") && at() >= length - 1) go(0);
      assign(model, "playing", !model.get("playing"));
    },
    follow() {
      clearInterval(timer);
      if (model.get("playing")) timer = setInterval(tick, 1000 * model.get("interval"));
    },
    stop: () => clearInterval(timer),
  };
}

/** Arrow keys on the picture: left and right on the first axis, up and down on the second. */
function arrowKeys(stage, axes, move, toggle) {
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowDown: [1, -1], ArrowUp: [1, 1] };
  stage.addEventListener("keydown", (event) => {
    const [axis, step] = steps[event.key] ?? [-1, 0];
    if (event.key === " ") toggle();
    else if (axis < 0 || axis >= axes.length) return;
    else move(axis, step);
    event.preventDefault();
  });
}

/** @param {{model: import("./common.mjs").Model, el: HTMLElement}} view */
function render({ model, el }) {
  const axes = model.get("axes");
  const shape = axes.map((axis) => axis.labels.length);
  const film = preload(model.get("frames"));
  const run = player(model, shape[model.get("play_axis")]);
  const set = (axis, position) => {
    const index = [...model.get("index")];
    index[axis] = Math.min(shape[axis] - 1, Math.max(0, position));
    assign(model, "playing", false);
    assign(model, "index", index);
  };

  const picture = make("img", { decoding: "sync", draggable: false });
  picture.style.width = `${model.get("width")}px`;
  const stage = make("div", { className: "ebm-stage", tabIndex: 0, role: "group" }, [picture]);
  const keys = axes.length > 1 ? "arrow keys move along the first two axes" : "arrow keys move";
  stage.setAttribute("aria-label", `Film: ${keys}, space plays`);
  const play = playButton(run.toggle);
  const controls = axes.map((axis, i) => axisControl(axis, (position) => set(i, position)));
  const note = make("p", { className: "ebm-note" });
  const voice = announcer();

  const show = () => {
    const index = model.get("index");
    const number = frameNumber(index, shape);
    picture.src = film[number].src;
    picture.alt = model.get("alts")[number];
    controls.forEach((control, i) => control.show(index[i], axes[i].labels));
    note.textContent = model.get("notes")[number];
    note.hidden = !note.textContent;
    if (!model.get("playing")) voice.say(picture.alt);
  };
  const showPlaying = () => {
    play.show(model.get("playing"), axes[model.get("play_axis")].name);
    run.follow();
    if (!model.get("playing")) voice.say(picture.alt);
  };

  const lead = controls.splice(model.get("play_axis"), 1)[0];
  const panel = make("div", { className: "ebm-panel" }, [
    make("div", { className: "ebm-lead" }, [play.root, lead.root]),
    ...controls.map((control) => control.root),
  ]);
  controls.splice(model.get("play_axis"), 0, lead);
  const caption = make("p", { className: "ebm-caption" }, [model.get("caption")]);
  caption.hidden = !model.get("caption");
  el.classList.add("ebm", "ebm-film");
  el.append(stage, note, panel, caption, voice.root);

  arrowKeys(stage, axes, (axis, step) => set(axis, model.get("index")[axis] + step), run.toggle);
  const undo = [
    follow(model, ["index"], show),
    follow(model, ["playing"], showPlaying),
    watchVisibility(stage, (visible) => {
      if (!visible && model.get("playing")) assign(model, "playing", false);
    }),
  ];
  show();
  showPlaying();
  voice.stop();
  return () => {
    undo.forEach((stop) => stop());
    run.stop();
    voice.stop();
  };
}

export default { render };
