"use strict";

// The tab for labels. The server keeps the labels; here is only what it said last of the excerpt that is shown.
function tarkibLabelling(element) {
  const root = element.querySelector(".tarkib-labelling");
  const find = (selector) => root.querySelector(selector);
  const buttons = [...root.querySelectorAll(".instrument")];
  const moves = Object.fromEntries([...root.querySelectorAll("[data-move]")].map((one) => [one.dataset.move, one]));
  const player = find("audio");
  const recording = find(".recording");
  const autoplay = find(".autoplay");
  const address = root.dataset.labels;
  let state = null;
  const drafts = new Map(); // of an excerpt's key, what was written of where it was cut from and is not saved yet

  // The browser may keep nothing for this page.
  const stored = (value) => {
    try {
      if (value === undefined) return localStorage.getItem("tarkib-autoplay") === "1";
      localStorage.setItem("tarkib-autoplay", value ? "1" : "0");
    } catch { /* then it is off when the page is opened again */ }
    return false;
  };

  const say = (selector, text) => {
    const place = find(selector);
    if (place.textContent !== text) place.textContent = text;
    place.hidden = !text;
  };

  const ask = async (key = "", change = undefined) => {
    let response;
    try {
      response = await fetch(address + (key && `/${key}`), change && {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(change),
      });
    } catch {
      throw new Error("No answer: tarkib app is no longer running. The last change was not saved; start it again.");
    }
    // What went wrong without being foreseen is answered in no JSON.
    const answer = await response.json().catch(() => null);
    if (!response.ok || !answer) {
      throw new Error(answer?.error || `tarkib app could not do that (${response.status}); its terminal says why. Reload the page.`);
    }
    return answer;
  };
  // Asks for what a person did; looking again after coming back to the window takes no message away.
  const request = async (...what) => {
    const answer = await ask(...what);
    say(".tarkib-message", "");
    return answer;
  };

  // One at a time and in order: a key pressed while the next excerpt is being fetched is meant for that one. What was
  // pressed after something that failed is dropped.
  let queue = Promise.resolve();
  let round = 0;
  const then = (action) => {
    const mine = round;
    queue = queue.then(async () => {
      if (mine !== round) return;
      try {
        await action();
      } catch (error) {
        round += 1;
        say(".tarkib-message", error.message);
      }
    });
    return queue;
  };

  const replay = () => {
    player.currentTime = 0;
    // A browser may want a click before anything sounds.
    player.play().catch(() => {});
  };

  const degree = (value) => (value === null || value === 0 || value === 1 ? "" : String(value));

  const tellDraft = () => {
    const unsaved = recording.value !== state.recording;
    say(".draft", !unsaved ? "" : state.labelled ? "not saved yet" : "saved with the first label");
  };

  const show = (answer) => {
    const another = state?.key !== answer.key;
    state = answer;
    find(".desk").hidden = false;
    find(".place").textContent = `${state.place} of ${state.count}`;
    find(".count").textContent = `${state.labelled_count} labelled`;
    Object.assign(find("progress"), { max: state.count, value: state.labelled_count });
    find("h2").textContent = state.name;
    const chosen = state.values.filter((value) => value > 0).length;
    find(".state").textContent = !state.labelled ? "not labelled yet" : chosen ? "labelled" : "labelled: nothing plays";
    find(".state").classList.toggle("done", state.labelled);
    buttons.forEach((one, k) => {
      const value = state.values[k];
      one.setAttribute("aria-pressed", degree(value) ? "mixed" : String(value === 1));
      one.querySelector(".degree").textContent = degree(value);
      one.disabled = !state.columns[k];
    });
    const without = buttons.filter((one, k) => !state.columns[k]).map((one) => one.dataset.instrument);
    say(".without", without.length ? `${state.file} has no column for ${without.join(", ")}: not labelled.` : "");
    if (another || document.activeElement !== recording) recording.value = drafts.get(state.key) ?? state.recording;
    tellDraft();
    find("datalist").replaceChildren(...state.recordings.map((one) => new Option(one, one)));
    moves.back.disabled = !state.back;
    moves.next.disabled = !state.next;
    moves.first_unlabelled.disabled = !state.first_unlabelled;
    moves.remove.disabled = !state.labelled;
    moves.confirm.querySelector("span").textContent = state.labelled || chosen ? "Confirm and next" : "Nothing plays, next";
    say(".length", state.length);
    say(".notice", state.notice || (state.first_unlabelled ? "" : `All ${state.count} excerpts are labelled in ${state.file}.`));
    find(".file").textContent = state.file;
    if (another) {
      player.src = state.sound;
      if (autoplay.checked && visible()) replay();
    }
  };

  const visible = () => root.offsetParent !== null;
  const move = async (where) => {
    if (state[where]) show(await request(state[where]));
  };
  // What was written of where it was cut from goes along, so that it can be written before the first label.
  const change = async (said) => {
    const { key } = state;
    const written = recording.value;
    const told = written !== state.recording ? { recording: written } : {};
    const answer = await request(key, { ...said, ...told });
    if (drafts.get(key) === written) drafts.delete(key);
    show(answer);
  };
  const toggle = (k) => change({ instrument: buttons[k].dataset.instrument, plays: state.values[k] !== 1 });
  const confirm = async () => {
    await change({ confirm: true });
    await move("next");
  };
  const acts = {
    back: () => then(() => move("back")),
    next: () => then(() => move("next")),
    first_unlabelled: () => then(() => move("first_unlabelled")),
    confirm: () => then(confirm),
    remove: () => then(() => change({ remove: true, ...(recording.value = state.recording, {}) })),
    replay,
  };

  let tabbed = false; // whether the keyboard brought the focus to where it is
  document.addEventListener("pointerdown", () => { tabbed = false; }, true);

  for (const [name, one] of Object.entries(moves)) one.addEventListener("click", () => state && acts[name]());
  buttons.forEach((one, k) => one.addEventListener("click", () => state && then(() => toggle(k))));
  recording.addEventListener("input", () => {
    if (!state) return;
    drafts.set(state.key, recording.value);
    tellDraft();
  });
  recording.addEventListener("change", () => {
    if (!state) return;
    const { key } = state;
    // The first label may still be on its way.
    then(async () => {
      if (state.key === key && state.labelled) await change({});
    });
  });
  recording.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === "Escape") recording.blur();
    event.stopPropagation();
  });
  autoplay.checked = stored();
  autoplay.addEventListener("change", () => stored(autoplay.checked));

  const keys = {
    ArrowLeft: acts.back, p: acts.back, ArrowRight: acts.next, n: acts.next,
    u: acts.first_unlabelled, Enter: acts.confirm, " ": acts.replay,
  };
  // The place of a key counts where what it writes is no letter or digit of ours: on a Persian keyboard 1 writes ۱, on a
  // French one &. With shift, and among Latin letters, what it writes counts alone.
  const keyOf = ({ key, code, shiftKey }) => {
    if (key.length !== 1) return key;
    const digit = /^(?:Digit|Numpad)([0-9])$/.exec(code);
    const letter = /^Key([A-Z])$/.exec(code);
    if (digit && !shiftKey && !/^[0-9]$/.test(key)) return digit[1];
    if (letter && key > "\x7f") return letter[1].toLowerCase();
    return key.toLowerCase();
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Tab") tabbed = true;
    if (!root.isConnected || !visible() || !state || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.target.matches?.("input:not([type=checkbox]), textarea, select, [contenteditable]")) return;
    // A button that was reached with the keyboard is pressed with it.
    if (tabbed && (event.key === " " || event.key === "Enter") && event.target.matches?.("button, input, a, audio")) return;
    const key = keyOf(event);
    const k = /^[0-9]$/.test(key) ? (Number(key) + 9) % 10 : -1;
    const act = keys[key];
    if (k < 0 && !act) return;
    event.preventDefault();
    if (event.repeat && !event.key.startsWith("Arrow")) return;
    if (act) act();
    else if (!buttons[k].disabled) then(() => toggle(k));
  });

  // Another page or program may have labelled meanwhile.
  const again = () => {
    if (!document.hidden && visible() && state) then(async () => show(await ask(state.key)));
  };
  window.addEventListener("focus", again);
  document.addEventListener("visibilitychange", again);
  then(async () => show(await ask()));
}
