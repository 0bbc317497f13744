"use strict";
const rows = [...document.querySelectorAll("#rows > li")];
const search = document.getElementById("search");
const kind = document.getElementById("kind");
const more = document.getElementById("more");
const texts = rows.map((row) => row.querySelector(".about").textContent.toLowerCase());
const STEP = 60;
let matching = rows;
let limit = STEP;

// Laying out thousands of rows takes a browser seconds, so it gets the first ones, and more when they are scrolled to.
function draw() {
  const drawn = new Set(matching.slice(0, limit));
  rows.forEach((row) => { row.hidden = !drawn.has(row); });
  more.hidden = limit >= matching.length;
}

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  matching = rows.filter((row, at) =>
    (kind.value === "" || row.classList.contains(kind.value)) && words.every((word) => texts[at].includes(word)));
  limit = STEP;
  draw();
  document.getElementById("shown").textContent = matching.length < rows.length ? `Found ${matching.length} of ${rows.length}` : "";
  document.getElementById("nothing").hidden = matching.length > 0;
}

new IntersectionObserver(([{ isIntersecting }]) => {
  if (isIntersecting && limit < matching.length) {
    limit += STEP;
    draw();
  }
}, { rootMargin: "1500px" }).observe(more);

// A browser cannot hold thousands of players, so a row has one only while it is in sight, or playing.
function show(stage) {
  const { src, poster, label } = stage.dataset;
  const video = document.createElement("video");
  Object.assign(video, { controls: true, playsInline: true, preload: poster ? "none" : "metadata" });
  if (poster) video.poster = poster;
  video.src = poster ? src : `${src}#t=0.1`;
  video.setAttribute("aria-label", label);
  stage.replaceChildren(video);
}

function hide(stage) {
  const video = stage.firstChild;
  if (!video || !video.paused) return;
  video.removeAttribute("src");
  video.load();
  video.remove();
}

const sight = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const stage = target.querySelector(".stage");
    if (stage && isIntersecting && !stage.firstChild) show(stage);
    else if (stage && !isIntersecting) hide(stage);
  }
}, { rootMargin: "300px" });
rows.forEach((row) => sight.observe(row));

function step(by) {
  const visible = rows.filter((row) => !row.hidden);
  const at = visible.indexOf(document.activeElement.closest("#rows > li"));
  const next = visible[at < 0 ? 0 : Math.min(Math.max(at + by, 0), visible.length - 1)];
  if (next) next.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const video = event.target.matches("#rows > li") ? event.target.querySelector("video") : null;
  if (event.key === "/") search.focus();
  else if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
  else if (event.key === " " && video) video.paused ? video.play() : video.pause();
  else return;
  event.preventDefault();
});
document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
search.addEventListener("input", filter);
kind.addEventListener("change", filter);
draw();
document.getElementById("filters").hidden = false;
