"use strict";

// Timelines come and go as recordings are heard, so that one set of listeners on the document serves them all.
(() => {
  const parts = (inside) => {
    const section = inside?.closest?.(".tarkib-heard");
    return section && {
      player: section.querySelector("audio"),
      slider: section.querySelector(".seek"),
      head: section.querySelector(".playhead"),
      names: section.querySelectorAll(".names li"),
      seconds: Number(section.dataset.seconds),
    };
  };
  const clock = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;
  const within = (spans, now) => spans.split(" ").some((span) => {
    const [start, end] = span.split("-").map(Number);
    return span && start <= now && now < end;
  });

  const show = ({ player, slider, head, names, seconds }) => {
    const now = Math.min(player.currentTime, seconds);
    head.style.left = `${100 * now / seconds}%`;
    slider.setAttribute("aria-valuenow", now.toFixed(2));
    slider.setAttribute("aria-valuetext", `${clock(now)} of ${clock(seconds)}`);
    for (const one of names) one.classList.toggle("now", !player.paused && within(one.dataset.plays, now));
  };
  const follow = (found) => {
    show(found);
    if (!found.player.paused && found.player.isConnected) requestAnimationFrame(() => follow(found));
  };
  const seek = (found, time) => {
    found.player.currentTime = Math.max(0, Math.min(time, found.seconds));
    show(found);
  };
  // A player may be taken away before it has begun, which is no error.
  const play = ({ player }) => player.play().catch(() => {});

  // Media events do not bubble, but they are captured on the way.
  for (const type of ["timeupdate", "seeked", "pause"]) {
    document.addEventListener(type, (event) => {
      const found = parts(event.target);
      if (found) show(found);
    }, true);
  }
  document.addEventListener("play", (event) => {
    const found = parts(event.target);
    if (found) follow(found);
  }, true);

  document.addEventListener("click", (event) => {
    const found = parts(event.target);
    const slider = event.target.closest?.(".seek");
    const from = event.target.closest?.(".from");
    if (!found || !(slider || from)) return;
    if (slider) {
      const box = slider.getBoundingClientRect();
      seek(found, found.seconds * (event.clientX - box.left) / box.width);
    } else {
      seek(found, Number(from.dataset.at));
    }
    if (found.player.paused) play(found);
  });

  document.addEventListener("keydown", (event) => {
    if (!event.target.matches?.(".tarkib-heard .seek") || event.altKey || event.ctrlKey || event.metaKey) return;
    const found = parts(event.target);
    const small = Math.max(1, found.seconds / 100);
    const steps = { ArrowLeft: -small, ArrowDown: -small, ArrowRight: small, ArrowUp: small, PageDown: -10 * small, PageUp: 10 * small };
    if (event.key in steps) seek(found, found.player.currentTime + steps[event.key]);
    else if (event.key === "Home") seek(found, 0);
    else if (event.key === "End") seek(found, found.seconds);
    else if (event.key === " " || event.key === "Enter") found.player.paused ? play(found) : found.player.pause();
    else return;
    event.preventDefault();
  });
})();
