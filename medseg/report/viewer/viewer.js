// The page: the list of cases, the legend of organs, keys and buttons.

import { Scene } from "./scene.js";

const OPACITY = 0.5;
const VIEWS = { a: "axial", c: "coronal", s: "sagittal", d: "solid", m: "all" };
const KEYS = [
  ["n / →", "next case"],
  ["b / ←", "case before"],
  ["↑ / ↓", "slice towards head, front or right / the other way"],
  ["t", "truth on or off"],
  ["p", "prediction on or off"],
  ["1 … 9", "an organ on or off"],
  ["a c s d", "axial, coronal, sagittal, 3D alone"],
  ["m", "all of them"],
  ["r", "reset the view"],
  ["?", "these keys"],
  ["wheel", "slices; nearer and farther in 3D"],
  ["drag", "the crosshair; turns 3D"],
  ["drag, right button", "a box whose grey values set the contrast"],
];
const WORDS = { missed: "missed", false_positive: "false positive", both_empty: "not there" };

const by = (id) => document.getElementById(id);
const spoken = (name) => name.replaceAll("_", " ");
const state = { order: "mean", cases: [], current: null, truth: true, pred: true, organs: {} };
let scene;

async function begin() {
  const told = await (await fetch("cases.json")).json();
  document.title = `${told.title} · medseg`;
  by("title").textContent = told.title;
  state.organs = told.organs;
  state.cases = told.cases.map((found, number) => ({ ...found, number }));
  state.layers = Object.fromEntries(
    told.organs.map(({ name }) => [name, { visible: true, opacity: OPACITY }]),
  );
  scene = new Scene(told.organs, tellPlace);
  await scene.attach(by("planes"), by("outlines"), by("solid"));
  scene.last = shown();
  listOrders();
  listOrgans();
  listKeys();
  listCases();
  listen();
  await open(state.cases[0].number);
}

const shown = () => ({ truth: state.truth, pred: state.pred, organs: state.layers });
const case_ = () => state.cases.find(({ number }) => number === state.current);

// ---- cases

function scoreOf(found) {
  const rows = state.order === "mean" ? Object.values(found.scores) : [found.scores[state.order]];
  const dice = rows.map((row) => row?.dice).filter((value) => typeof value === "number");
  return dice.length ? dice.reduce((a, b) => a + b) / dice.length : null;
}

function listOrders() {
  const organs = state.organs.map(({ name }) => [name, `Dice of the ${spoken(name)}, worst first`]);
  const orders = [["mean", "mean Dice, worst first"], ...organs, ["name", "name"]];
  by("order").replaceChildren(...orders.map(([value, text]) => new Option(text, value)));
  if (!state.cases.some(({ scores }) => Object.keys(scores).length)) state.order = "name";
  by("order").value = state.order;
}

function listCases() {
  // A case without a score comes last; the server's own order is that of the names.
  const worth = (found) => (state.order === "name" ? found.number : scoreOf(found) ?? Infinity);
  state.cases.sort((a, b) => worth(a) - worth(b) || a.number - b.number);
  by("cases").replaceChildren(...state.cases.map(row));
  markCase();
}

function row(found) {
  const button = make("button", { type: "button", className: "case" });
  const score = state.order === "name" ? null : scoreOf(found);
  const faults = Object.entries(found.scores)
    .filter(([, { status }]) => status === "missed" || status === "false_positive")
    .map(([name, { status }]) => `${spoken(name)} ${WORDS[status]}`);
  button.dataset.number = found.number;
  button.append(
    make("span", { className: "name", textContent: found.scan_id }),
    make("span", { className: "score", textContent: score === null ? "" : score.toFixed(3) }),
    make("span", { className: "faults", textContent: faults.join(", ") }),
  );
  button.addEventListener("click", () => open(found.number));
  const item = make("li");
  item.append(button);
  return item;
}

function markCase() {
  for (const button of by("cases").querySelectorAll("button")) {
    const current = Number(button.dataset.number) === state.current;
    button.toggleAttribute("aria-current", current);
    if (current) button.scrollIntoView({ block: "nearest" });
  }
}

async function open(number) {
  state.current = number;
  by("case").textContent = case_().scan_id;
  document.body.dataset.state = "loading";
  markCase();
  tellScores();
  notice("loading …");
  try {
    const problems = await scene.show(number, case_());
    if (problems === null) return;
    tellReasons(problems);
    notice("");
    document.body.dataset.state = "shown";
  } catch (error) {
    if (state.current !== number) return;
    // Never the picture of one case under the name of another.
    document.body.dataset.state = "failed";
    notice(error.message);
    for (const output of document.querySelectorAll("footer output")) output.textContent = "";
  }
}

function step(by_) {
  const at = state.cases.findIndex(({ number }) => number === state.current);
  const next = state.cases[at + by_];
  if (next) open(next.number);
}

// ---- organs

function listOrgans() {
  by("organs").replaceChildren(...state.organs.map(organRow));
}

function organRow({ name, colour }, i) {
  const item = make("li", { id: `organ-${name}` });
  const toggle = make("button", { type: "button", className: "organ" });
  const swatch = make("i", { className: "swatch" });
  swatch.style.backgroundColor = `rgb(${colour.join(" ")})`;
  toggle.setAttribute("aria-pressed", "true");
  toggle.append(
    swatch,
    make("span", { className: "name", textContent: spoken(name) }),
    make("kbd", { textContent: i + 1 }),
  );
  toggle.addEventListener("click", () => toggleOrgan(name));
  const slider = make("input", { type: "range", min: 0, max: 100, value: OPACITY * 100 });
  slider.setAttribute("aria-label", `Opacity of the ${spoken(name)}`);
  slider.addEventListener("input", () => {
    state.layers[name].opacity = slider.value / 100;
    soon(() => scene.layers(shown()));
  });
  item.append(toggle, make("p", { className: "scores" }), slider);
  return item;
}

function toggleOrgan(name) {
  state.layers[name].visible = !state.layers[name].visible;
  press(document.querySelector(`#organ-${CSS.escape(name)} .organ`), state.layers[name].visible);
  scene.layers(shown());
}

function tellScores() {
  for (const { name } of state.organs) {
    const score = case_().scores[name];
    const line = document.querySelector(`#organ-${CSS.escape(name)} .scores`);
    line.replaceChildren();
    if (!score) continue;
    const status = WORDS[score.status];
    if (status) line.append(make("b", { className: score.status, textContent: status }));
    const number = (value, digits) => (typeof value === "number" ? value.toFixed(digits) : value ?? "–");
    line.append(
      make("span", { textContent: `Dice ${number(score.dice, 3)}` }),
      make("span", { textContent: `HD95 ${number(score.hd95_mm, 1).replace("inf", "∞")} mm` }),
    );
  }
}

function tellReasons(problems) {
  const absent = {
    image: "No scan: the masks are shown on an empty background.",
    truth: "No truth is known for this case.",
    pred: "Nothing is predicted for this case.",
  };
  const reasons = [];
  for (const kind of ["image", "truth", "pred"]) {
    const reason = problems[kind] ?? (case_()[kind] ? "" : absent[kind]);
    if (reason) reasons.push(reason);
    const button = by(kind);
    if (!button) continue;
    button.disabled = Boolean(reason);
    button.title = reason;
  }
  by("reasons").textContent = reasons.join(" ");
}

// ---- what is shown

function toggle(kind) {
  if (by(kind).disabled) return;
  state[kind] = !state[kind];
  press(by(kind), state[kind]);
  scene.layers(shown());
}

function setView(view) {
  by("stage").dataset.view = view;
  for (const button of by("views").children) press(button, button.dataset.view === view);
  scene.setView(view);
}

function tellPlace({ mm, voxel, value, pred, truth }) {
  by("mm").textContent = `x ${mm.map((n) => n.toFixed(2)).join("  ")} mm`.replace(
    /^x (\S+) {2}(\S+) {2}(\S+) mm$/, "x $1  y $2  z $3 mm RAS+",
  );
  by("voxel").textContent = `voxel ${voxel.join(", ")}`;
  by("value").textContent = `value ${Number(value.toFixed(3))}`;
  const names = (organs) => organs.map(spoken).join(", ") || "none";
  const parts = [];
  if (case_().truth) parts.push(`truth: ${names(truth)}`);
  if (case_().pred) parts.push(`prediction: ${names(pred)}`);
  by("under").textContent = parts.join(" · ");
}

function notice(text) {
  by("notice").textContent = text;
  by("notice").hidden = !text;
}

// ---- keys

function listKeys() {
  const rows = KEYS.flatMap(([key, what]) => [
    make("dt", { textContent: key }), make("dd", { textContent: what }),
  ]);
  by("key-list").replaceChildren(...rows);
}

function press(button, pressed) {
  button.setAttribute("aria-pressed", String(pressed));
}

const ACTIONS = {
  n: () => step(1),
  b: () => step(-1),
  ArrowRight: () => step(1),
  ArrowLeft: () => step(-1),
  ArrowUp: () => scene.step(1),
  ArrowDown: () => scene.step(-1),
  t: () => toggle("truth"),
  p: () => toggle("pred"),
  r: () => scene.reset(),
  "?": () => by("keys").showModal(),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || by("keys").open) return;
  // A slider, a list of choices and a button keep the keys that they have themselves.
  const field = event.target.closest?.("input, select");
  if (field && (event.key.startsWith("Arrow") || field.matches("select"))) return;
  const organ = state.organs[Number(event.key) - 1];
  const action = ACTIONS[event.key]
    ?? (event.key in VIEWS ? () => setView(VIEWS[event.key]) : undefined)
    ?? (organ ? () => toggleOrgan(organ.name) : undefined);
  if (!action) return;
  event.preventDefault();
  action();
}

function listen() {
  document.addEventListener("keydown", onKey);
  // NiiVue has keys of its own, among them some of these.
  for (const canvas of [by("planes"), by("solid")]) {
    for (const kind of ["keydown", "keyup"]) {
      canvas.parentElement.addEventListener(kind, (event) => {
        if (event.target !== canvas) return;
        event.stopPropagation();
        if (kind === "keydown") onKey(event);
      }, { capture: true });
    }
  }
  by("order").addEventListener("change", () => {
    state.order = by("order").value;
    listCases();
  });
  by("truth").addEventListener("click", () => toggle("truth"));
  by("pred").addEventListener("click", () => toggle("pred"));
  by("reset").addEventListener("click", () => scene.reset());
  by("help").addEventListener("click", () => by("keys").showModal());
  for (const button of by("views").children) {
    button.addEventListener("click", () => setView(button.dataset.view));
  }
}

// ---- small things

function make(tag, properties = {}) {
  return Object.assign(document.createElement(tag), properties);
}

let waiting = null;
function soon(work) {
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(work);
}

// For tests and for the console: medseg.goTo([x, y, z]) puts the crosshair at RAS+ mm.
window.medseg = { goTo: (mm) => scene.goTo(mm), scene: () => scene };

begin().catch((error) => notice(`The page could not start: ${error.message}`));
