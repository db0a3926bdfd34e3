"use strict";

const find = (selector) => document.querySelector(selector);
const clock = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;

// A playhead that follows the player; mouse and keyboard seek.
function timeline(section) {
  const player = section.querySelector("audio");
  const slider = section.querySelector(".seek input");
  const seconds = Number(section.dataset.seconds);
  const within = (spans, now) => spans.split(" ").some((span) => {
    const [start, end] = span.split("-").map(Number);
    return span && start <= now && now < end;
  });
  let frame;
  const follow = () => {
    const now = Math.min(player.currentTime, seconds);
    section.querySelector(".playhead").style.left = `${100 * now / seconds}%`;
    slider.value = now;
    slider.setAttribute("aria-valuetext", `${clock(now)} of ${clock(seconds)}`);
    for (const name of section.querySelectorAll(".names li")) {
      name.classList.toggle("now", !player.paused && within(name.dataset.plays, now));
    }
    cancelAnimationFrame(frame);
    if (!player.paused && player.isConnected) frame = requestAnimationFrame(follow);
  };
  const play = () => player.play().catch(() => {}); // a player that is replaced before it starts is no error
  const seek = (time) => {
    player.currentTime = time;
  };

  for (const type of ["play", "seeked", "pause"]) player.addEventListener(type, follow);
  slider.addEventListener("input", () => seek(Number(slider.value)));
  slider.addEventListener("click", play);
  slider.addEventListener("keydown", (event) => {
    if (event.key !== " ") return;
    player.paused ? play() : player.pause();
    event.preventDefault();
  });
  for (const button of section.querySelectorAll(".from")) {
    button.addEventListener("click", () => {
      seek(Number(button.dataset.at));
      play();
    });
  }
}

async function* jsonLines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) yield JSON.parse(line);
  }
}

// The server keeps no recording: the page plays its own file, and has formats converted that browsers do not play.
if (find("#recording")) {
  let upload = new AbortController();
  let addresses = [];

  const address = (content, type) => {
    addresses.push(URL.createObjectURL(new Blob([content], { type })));
    return addresses.at(-1);
  };
  const clear = () => {
    upload.abort();
    addresses.splice(0).forEach(URL.revokeObjectURL);
    find("#result").replaceChildren();
    for (const part of [".message", ".working", ".downloads"]) find(part).hidden = true;
  };
  const showProgress = ({ done, total }) => {
    find(".working [role=status]").textContent = done ? `${clock(done)}${total ? ` of ${clock(total)}` : ""} analysed` : "reading";
    if (total) find("progress").value = Math.min(done / total, 1);
    else find("progress").removeAttribute("value");
  };
  const send = async (route, file, signal) => {
    const response = await fetch(`${route}?${new URLSearchParams({ name: file.name })}`, { method: "POST", body: file, signal });
    if (!response.ok) throw new Error((await response.json()).error);
    return response;
  };
  const showResult = async (file, event, signal) => {
    const sound = event.media_type ? file : await (await send("/sound", file, signal)).blob();
    find("#result").innerHTML = event.html;
    find("audio").src = address(sound, event.media_type ?? "audio/flac");
    timeline(find(".recognition"));
    const stem = file.name.replace(/\.[^.]*$/, "");
    for (const [kind, type] of [["csv", "text/csv"], ["json", "application/json"], ["jams", "application/json"]]) {
      Object.assign(find(`#${kind}`), { href: address(event[kind], type), download: `${stem}.${kind}` });
    }
    Object.assign(find("#png"), { href: `data:image/png;base64,${event.png}`, download: `${stem}.png` });
    find(".downloads").hidden = false;
  };
  const recognise = async (file) => {
    clear();
    const { signal } = upload = new AbortController();
    showProgress({});
    find(".working").hidden = false;
    try {
      for await (const event of jsonLines(await send("/recognition", file, signal))) {
        if (event.error) throw new Error(event.error);
        if (event.html) await showResult(file, event, signal);
        else showProgress(event);
      }
    } catch (error) {
      if (signal.aborted) return;
      const gone = error instanceof TypeError;
      find(".message").textContent = gone ? "No answer: tarkib app is no longer running. Start it again." : error.message;
      find(".message").hidden = false;
    }
    find(".working").hidden = true;
  };

  find("#recording").addEventListener("change", (event) => event.target.files[0] && recognise(event.target.files[0]));
  find("#stop").addEventListener("click", clear);
}
