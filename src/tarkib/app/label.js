"use strict";

// The server keeps the labels; `state` is what it said last about the excerpt that is shown.
const find = (selector) => document.querySelector(selector);
const buttons = [...document.querySelectorAll(".instrument")];
const moves = Object.fromEntries([...document.querySelectorAll("[data-move]")].map((button) => [button.dataset.move, button]));
const player = find("audio");
const recording = find(".recording");
let state = null;

const say = (selector, text) => Object.assign(find(selector), { textContent: text, hidden: !text });

const request = async (key = "", change = undefined) => {
  const options = change && { method: "POST", body: JSON.stringify(change) };
  const response = await fetch(`/labels${key && `/${key}`}`, options).catch(() => {
    throw new Error("No answer: tarkib app is no longer running. The last change was not saved; start it again.");
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new Error(answer.error ?? `tarkib app could not do that (${response.status}); its terminal says why. Reload the page.`);
  }
  return answer;
};

// Actions run one at a time and in order: a key that is pressed while the next excerpt loads is meant for that one.
// What was pressed after an action that failed is dropped.
let queue = Promise.resolve();
let round = 0;
const enqueue = (action) => {
  const mine = round;
  queue = queue.then(() => mine === round && action()).catch((error) => {
    round += 1;
    say(".message", error.message);
  });
};

const replay = () => {
  player.currentTime = 0;
  player.play().catch(() => {}); // a browser may want a click first
};

const show = (answer) => {
  const another = state?.key !== answer.key;
  const isDraft = !another && answer.recording === state.recording && recording.value !== state.recording;
  state = answer;
  const chosen = state.values.some((value) => value > 0);
  find(".desk").hidden = false;
  find(".place").textContent = `${state.place} of ${state.count}`;
  find(".count").textContent = `${state.labelled_count} labelled`;
  Object.assign(find("progress"), { max: state.count, value: state.labelled_count });
  find("h2").textContent = state.name;
  find(".state").textContent = !state.labelled ? "not labelled yet" : chosen ? "labelled" : "labelled: nothing plays";
  find(".state").classList.toggle("done", state.labelled);
  buttons.forEach((button, k) => {
    const value = state.values[k];
    const soft = value > 0 && value < 1;
    button.setAttribute("aria-pressed", soft ? "mixed" : String(value === 1));
    button.querySelector(".degree").textContent = soft ? value : "";
    button.disabled = !state.columns[k];
  });
  const without = buttons.filter((button) => button.disabled).map((button) => button.dataset.instrument);
  say(".without", without.length ? `${state.file} has no column for ${without.join(", ")}: not labelled.` : "");
  recording.disabled = !state.recordings;
  if (another || (document.activeElement !== recording && !isDraft)) recording.value = state.recording;
  find("datalist").replaceChildren(...(state.recordings ?? []).map((name) => new Option(name, name)));
  for (const name of ["back", "next", "first_unlabelled"]) moves[name].disabled = !state[name];
  moves.confirm.querySelector("span").textContent = state.labelled || chosen ? "Confirm and next" : "Nothing plays, next";
  say(".remark", state.remark);
  say(".notice", state.first_unlabelled ? "" : `All ${state.count} excerpts are labelled in ${state.file}.`);
  find(".file").textContent = state.file;
  if (another) {
    player.src = `/labels/${state.key}/sound`;
    if (find(".autoplay").checked) replay();
  }
};

const move = async (where) => {
  if (!state[where]) return;
  show(await request(state[where]));
  say(".message", "");
};
// What was typed as the recording goes along with every change.
const change = async (changes) => {
  const typed = recording.value === state.recording ? {} : { recording: recording.value };
  show(await request(state.key, { ...typed, ...changes }));
  say(".message", "");
};
const toggle = (k) => enqueue(() => change({ instrument: buttons[k].dataset.instrument, plays: state.values[k] !== 1 }));
const go = (where) => () => enqueue(() => move(where));
const actions = { back: go("back"), next: go("next"), first_unlabelled: go("first_unlabelled"), replay };
actions.confirm = () => enqueue(() => change({}).then(() => move("next")));

for (const [name, button] of Object.entries(moves)) button.addEventListener("click", actions[name]);
buttons.forEach((button, k) => button.addEventListener("click", () => toggle(k)));
// After a click the keys act on the excerpt again, not on the button.
document.addEventListener("click", (event) => event.detail && event.target.closest("button")?.blur());

recording.addEventListener("change", () => enqueue(async () => state.labelled && change({})));
recording.addEventListener("keydown", (event) => ["Enter", "Escape"].includes(event.key) && recording.blur());

const keys = {
  ArrowLeft: actions.back, p: actions.back, ArrowRight: actions.next, n: actions.next,
  u: actions.first_unlabelled, Enter: actions.confirm, " ": replay,
};
// Where a key does not write an ASCII letter or digit its position counts: 1 writes ۱ on a Persian keyboard, & on a French.
const keyOf = ({ key, code, shiftKey }) => {
  if (key.length !== 1) return key;
  const digit = /^(?:Digit|Numpad)([0-9])$/.exec(code);
  const letter = /^Key([A-Z])$/.exec(code);
  if (digit && !shiftKey && !/^[0-9]$/.test(key)) return digit[1];
  return (letter && key > "\x7f" ? letter[1] : key).toLowerCase();
};
document.addEventListener("keydown", (event) => {
  if (!state || event.altKey || event.ctrlKey || event.metaKey || event.target === recording) return;
  if ((event.key === " " || event.key === "Enter") && event.target.matches("button, a, input, audio")) return;
  const key = keyOf(event);
  const k = /^[0-9]$/.test(key) ? (Number(key) + 9) % 10 : -1;
  if (k < 0 && !keys[key]) return;
  event.preventDefault();
  if (event.repeat && !event.key.startsWith("Arrow")) return;
  if (keys[key]) keys[key]();
  else if (!buttons[k].disabled) toggle(k);
});

// Another page or program may have labelled meanwhile.
window.addEventListener("focus", () => state && enqueue(async () => show(await request(state.key))));
enqueue(async () => show(await request()));
