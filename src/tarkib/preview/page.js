"use strict";

// One player at a time: whoever begins stops the others.
const players = [...document.querySelectorAll("audio")];
document.addEventListener("play", (event) => {
  for (const one of players) if (one !== event.target) one.pause();
}, true);

// A player learns how long its clip is when it comes near the screen, so that a page with many opens fast.
const near = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    target.preload = "metadata";
    near.unobserve(target);
  }
}, { rootMargin: "50%" });
for (const one of players) near.observe(one);

for (const article of document.querySelectorAll("article")) {
  const plot = article.querySelector(".seek");
  const head = article.querySelector(".playhead");
  const own = [...article.querySelectorAll("audio")];
  const seconds = Number(plot.dataset.seconds);
  let current = own[0]; // the playhead follows the player of this article that was used last

  const show = () => {
    const now = Math.min(current.currentTime, seconds);
    head.style.left = `${100 * now / seconds}%`;
    plot.setAttribute("aria-valuenow", now.toFixed(2));
    plot.setAttribute("aria-valuetext", `${now.toFixed(1)} of ${seconds.toFixed(0)} seconds`);
  };
  const follow = () => {
    show();
    if (!current.paused) requestAnimationFrame(follow);
  };
  const seek = (time) => {
    current.currentTime = Math.max(0, Math.min(time, seconds));
    show();
  };
  // Another player may stop this one before it has begun, which is no error.
  const play = () => current.play().catch(() => {});
  const toggle = () => (current.paused ? play() : current.pause());

  for (const one of own) {
    one.addEventListener("play", () => { current = one; follow(); });
    one.addEventListener("seeked", () => { if (one === current) show(); });
    one.addEventListener("pause", () => { if (one === current) show(); });
  }

  plot.tabIndex = 0;
  plot.setAttribute("role", "slider");
  plot.setAttribute("aria-label", plot.dataset.label);
  plot.setAttribute("aria-describedby", "keys");
  plot.setAttribute("aria-valuemin", "0");
  plot.setAttribute("aria-valuemax", seconds.toFixed(2));
  show();

  plot.addEventListener("click", (event) => {
    const box = plot.getBoundingClientRect();
    seek(seconds * (event.clientX - box.left) / box.width);
    if (current.paused) play();
  });
  const steps = { ArrowLeft: -0.25, ArrowDown: -0.25, ArrowRight: 0.25, ArrowUp: 0.25, PageDown: -1, PageUp: 1 };
  plot.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key in steps) seek(current.currentTime + steps[event.key]);
    else if (event.key === "Home") seek(0);
    else if (event.key === "End") seek(seconds);
    else if (event.key === " " || event.key === "Enter") toggle();
    else return;
    event.preventDefault();
  });
}
