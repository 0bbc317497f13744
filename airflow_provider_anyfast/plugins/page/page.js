"use strict";

const APPROVE = "Approve the selected videos";
const REJECT = "Reject all";
const SHOWN_AT_ONCE = 60;
const REFRESH = 10000;

const [, base, dagId, runId] = location.pathname.match(/^(.*)\/anyfast\/dags\/([^/]+)\/runs\/([^/]+)\/$/);
const query = new URLSearchParams(location.search);
const only = { task: query.get("task_id") || "", index: Number.parseInt(query.get("map_index") ?? "", 10) };
const element = (id) => document.getElementById(id);

let run = { state: "", videos: [], batches: [], reviews: [], problems: [] };
let review = null; // the review that waits for an answer
let selected = new Set();
let notes = {};
let shown = [];
let count = SHOWN_AT_ONCE;
const cards = new Map(); // by video id: the element, and the data that it shows

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((child) => child !== null));
  return made;
}

// Airflow keeps its theme in the storage of this origin.
function applyTheme() {
  const chosen = localStorage.getItem("theme");
  const dark = chosen === "dark" || (chosen !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}

async function refresh() {
  const response = await fetch("videos").catch(() => null);
  if (response?.ok) {
    run = await response.json();
    loadReview();
    showTasks();
    show();
  } else {
    notice([response ? `Airflow returned ${response.status}. Reload the page, or sign in again.` : "Airflow does not respond."]);
  }
  if (!["success", "failed"].includes(run.state)) setTimeout(refresh, REFRESH);
}

function loadReview() {
  const waiting = run.reviews.find((one) => one.waits) ?? null;
  if (waiting && waiting.question !== review?.question) {
    const kept = JSON.parse(localStorage.getItem(`anyfast-review ${waiting.question}`) ?? "null") ?? waiting.earlier;
    const known = new Set(waiting.videos);
    selected = new Set((kept?.videos ?? []).filter((key) => known.has(key)));
    notes = Object.fromEntries(Object.entries(kept?.notes ?? {}).filter(([key]) => known.has(key)));
  }
  review = waiting && { ...waiting, keys: new Set(waiting.videos) };
}

function keep() {
  localStorage.setItem(`anyfast-review ${review.question}`, JSON.stringify({ videos: [...selected], notes }));
}

const isInReview = (video) => review !== null && review.keys.has(video.key);

function showTasks() {
  const select = element("task");
  const tasks = [...new Set(run.videos.map((video) => video.task_id))];
  if (select.options.length !== tasks.length + 1) {
    const value = select.value || only.task;
    select.replaceChildren(new Option("All tasks", ""), ...tasks.map((task) => new Option(task, task)));
    select.value = tasks.includes(value) ? value : "";
  }
  select.hidden = tasks.length < 2;
  element("kind").querySelector("[value=selected]").hidden = review === null;
}

function matches(video) {
  const words = element("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const kind = element("kind").value;
  const task = element("task").value;
  if (task && video.task_id !== task) return false;
  if (task === only.task && only.index >= 0 && video.map_index !== only.index) return false;
  if (kind === "selected" ? !selected.has(video.key) : kind && video.kind !== kind && !(kind === "ready" && video.kind === "unsaved")) {
    return false;
  }
  const text = [video.row || "", video.prompt, ...Object.values(video.input), video.generation_id, notes[video.key] ?? ""];
  return words.every((word) => text.join("\n").toLowerCase().includes(word));
}

function show() {
  shown = run.videos.filter(matches);
  element("run").textContent = decodeURIComponent(runId);
  element("summary").textContent = summary();
  const list = element("videos");
  list.classList.toggle("one", shown.length === 1);
  const wanted = shown.slice(0, count).map(card);
  const present = new Set(wanted);
  for (const child of [...list.children]) if (!present.has(child)) child.remove();
  wanted.forEach((item, place) => {
    if (list.children[place] !== item) list.insertBefore(item, list.children[place] ?? null);
  });
  if (shown.length === 1 && shown[0].path) play(wanted[0], shown[0], false);
  const batches = run.batches.filter((batch) => !["success", "failed"].includes(batch.state)).map(progress);
  notice([...run.problems, ...batches, ...(run.videos.length ? [] : ["This run has no AnyFast videos yet."])]);
  showReview();
}

function summary() {
  const ready = shown.filter((video) => ["ready", "unsaved"].includes(video.kind)).length;
  const parts = [`${ready} of ${shown.length} ready`];
  const tokens = shown.reduce((sum, video) => sum + (video.tokens ?? 0), 0);
  if (tokens) parts.push(`${tokens.toLocaleString("en")} tokens`);
  const costs = shown.filter((video) => video.cost !== null);
  if (costs.length) parts.push(`cost ${costs.reduce((sum, video) => sum + Number(video.cost), 0).toFixed(2)}`);
  return parts.join(" · ");
}

function progress(batch) {
  const done = batch.progress;
  const counts = [`${(done.succeeded ?? 0) + (done.skipped ?? 0)} of ${done.rows} row${done.rows === 1 ? "" : "s"} ready`];
  const failed = (done.failed ?? 0) + (done.lost ?? 0);
  if (failed) counts.push(`${failed} failed`);
  counts.push(`${done.active ?? 0} rendering or being downloaded`, `${done.waiting ?? 0} not submitted yet`);
  const left = done.seconds_left === undefined ? "" : ` At the last count, about ${duration(done.seconds_left)} were left.`;
  return `${batch.task_id}: ${counts.join(", ")}.${left}`;
}

function duration(seconds) {
  return seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
}

function notice(texts) {
  element("notices").replaceChildren(...texts.map((text) => make("li", { textContent: text })));
}

function card(video) {
  const state = JSON.stringify([video, isInReview(video)]);
  const known = cards.get(video.id);
  if (known?.state === state) return known.item;
  const item = make("li", { className: video.kind });
  item.append(stage(item, video), about(video));
  if (isInReview(video)) item.lastChild.append(choice(item, video));
  cards.set(video.id, { item, state });
  return item;
}

function stage(item, video) {
  const button = make("button", { className: "stage", type: "button", disabled: !video.path });
  if (!video.path) {
    button.append(video.kind === "unsaved" ? "Not saved to a file" : video.status);
    return button;
  }
  button.setAttribute("aria-label", `Play ${title(video)}`);
  button.append(preview(video), make("span", { className: "play" }));
  button.addEventListener("click", () => play(item, video, true));
  return button;
}

function preview(video) {
  if (video.poster) {
    const picture = make("img", { loading: "lazy", alt: "", src: `videos/${video.id}/poster` });
    picture.addEventListener("error", () => picture.remove());
    return picture;
  }
  const frame = make("video", { preload: "none", muted: true, tabIndex: -1 });
  frame.dataset.src = `videos/${video.id}/file#t=0.1`;
  inView.observe(frame);
  return frame;
}

// A browser can only load few videos at a time, so only those in view show their first frame.
const inView = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) {
      target.preload = "metadata";
      target.src = target.dataset.src;
    } else if (target.hasAttribute("src")) {
      target.removeAttribute("src");
      target.load();
    }
  }
}, { rootMargin: "200px" });

function play(item, video, now) {
  if (item.querySelector(".player")) return;
  const player = make("video", { className: "player", controls: true, autoplay: now, preload: "metadata", playsInline: true });
  player.addEventListener("error", () => {
    player.replaceWith(make("div", { className: "stage", textContent: "Airflow's API server cannot find this file, or your browser cannot play it." }));
  });
  player.src = `videos/${video.id}/file`;
  if (video.poster) player.poster = `videos/${video.id}/poster`;
  if (now) document.querySelectorAll(".player").forEach((other) => other.pause());
  item.firstChild.replaceWith(player);
}

const title = (video) => (video.row ? [video.row, video.name].filter(Boolean).join(" · ") : video.map_index >= 0 ? `${video.task_id} ${video.map_index}` : video.task_id);

function facts(values) {
  const { model, resolution, ratio, duration, seed, references, width, height, seconds, has_sound: sound } = values;
  return [
    model,
    resolution,
    ratio,
    width === undefined ? null : `${width} x ${height} pixels`,
    (seconds ?? duration) === undefined ? null : `${seconds ?? duration} s`,
    sound === undefined ? null : sound ? "sound" : "no sound",
    seed === undefined ? null : `seed ${seed}`,
    references ? `${references} reference${references > 1 ? "s" : ""}` : null,
  ].filter(Boolean).join(" · ");
}

function about(video) {
  const prompt = make("p", { className: "prompt", textContent: video.prompt, title: video.prompt });
  prompt.addEventListener("click", () => prompt.classList.toggle("open"));
  const cells = Object.entries(video.input).map(([name, value]) => `${name}: ${value}`).join(" · ");
  const bill = [
    video.tokens ? `${video.tokens.toLocaleString("en")} tokens` : null,
    video.cost === null ? null : `cost ${video.cost}`,
  ].filter(Boolean).join(" · ");
  const line = (className, text) => (text ? make("p", { className, textContent: text }) : null);
  const log = make("a", { textContent: "Log", href: logAddress(video) });
  log.addEventListener("click", openInAirflow);
  return make(
    "div",
    { className: "about" },
    make("div", { className: "head" },
      make("h2", { textContent: title(video), title: cells }),
      make("span", { className: "status", textContent: video.status })),
    prompt,
    line("error", video.error),
    line("facts", facts(video.requested) && `Requested: ${facts(video.requested)}`),
    line("came", facts(video.actual) && `Actual: ${facts(video.actual)}`),
    line("warning", video.warnings.join(" ")),
    make("div", { className: "foot" }, make("span", { textContent: bill }), log),
  );
}

function logAddress(video) {
  const mapped = video.map_index >= 0 ? `/mapped/${video.map_index}` : "";
  return `${base}/dags/${dagId}/runs/${runId}/tasks/${encodeURIComponent(video.task_id)}${mapped}`;
}

// Airflow shows this page in a sandboxed frame, so the link opens in Airflow's own window.
function openInAirflow(event) {
  if (window.parent === window) return;
  event.preventDefault();
  const link = window.parent.document.createElement("a");
  link.href = event.currentTarget.href;
  window.parent.document.body.append(link);
  link.click();
  link.remove();
}

function choice(item, video) {
  const tick = make("input", { type: "checkbox", checked: selected.has(video.key) });
  const note = make("input", { type: "text", placeholder: "Note", value: notes[video.key] ?? "", maxLength: 2000 });
  note.setAttribute("aria-label", `Note for ${title(video)}`);
  item.classList.toggle("selected", tick.checked);
  tick.addEventListener("change", () => {
    if (tick.checked) selected.add(video.key);
    else selected.delete(video.key);
    item.classList.toggle("selected", tick.checked);
    keep();
    showReview();
  });
  note.addEventListener("input", () => {
    notes[video.key] = note.value;
    keep();
  });
  return make("div", { className: "choice" }, make("label", {}, tick, "Approve"), note);
}

function showReview() {
  element("review").hidden = review === null;
  if (!review) return;
  element("question").textContent = `${selected.size} of ${review.videos.length} selected. No final is made of the others.`;
  element("approve").textContent = `Approve ${selected.size} video${selected.size === 1 ? "" : "s"}`;
  element("approve").disabled = selected.size === 0;
}

function selectShown(all) {
  for (const video of all ? shown.filter(isInReview) : []) selected.add(video.key);
  if (!all) selected.clear();
  keep();
  cards.clear();
  show();
}

// Sent as the user: Airflow decides whether this user may answer.
async function answer(option) {
  const videos = option === APPROVE ? [...selected] : [];
  const written = Object.fromEntries(Object.entries(notes).filter(([, note]) => note.trim()));
  const task = `taskInstances/${encodeURIComponent(review.task_id)}/${review.map_index}`;
  for (const button of document.querySelectorAll("#review button")) button.disabled = true;
  const reply = await fetch(`${base}/api/v2/dags/${dagId}/dagRuns/${runId}/${task}/hitlDetails`, {
    method: "PATCH",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ chosen_options: [option], params_input: { videos, notes: written } }),
  }).catch(() => null);
  for (const button of document.querySelectorAll("#review button")) button.disabled = false;
  if (reply?.ok) {
    localStorage.removeItem(`anyfast-review ${review.question}`);
    element("question").textContent = "Your answer is stored.";
    element("review").querySelector(".buttons").hidden = true;
    return;
  }
  element("question").textContent = reply
    ? { 403: "You are not allowed to answer this question.", 409: "Somebody has already answered." }[reply.status] ??
      `Airflow returned ${reply.status}. Your selection is kept.`
    : "Airflow does not respond. Your selection is kept.";
}

applyTheme();
addEventListener("storage", (event) => event.key === "theme" && applyTheme());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", applyTheme);
element("filters").addEventListener("submit", (event) => event.preventDefault());
for (const id of ["search", "kind", "task"]) {
  element(id).addEventListener("input", () => {
    count = SHOWN_AT_ONCE;
    show();
  });
}
element("all").addEventListener("click", () => selectShown(true));
element("none").addEventListener("click", () => selectShown(false));
element("approve").addEventListener("click", () => answer(APPROVE));
element("reject").addEventListener("click", ({ currentTarget }) => {
  if (currentTarget.dataset.sure) answer(REJECT);
  currentTarget.dataset.sure = "yes";
  currentTarget.textContent = "Reject all: are you sure?";
});
new IntersectionObserver((entries) => {
  if (entries.some((entry) => entry.isIntersecting) && count < shown.length) {
    count += SHOWN_AT_ONCE;
    show();
  }
}, { rootMargin: "1200px" }).observe(element("more"));
refresh();
