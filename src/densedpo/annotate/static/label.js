// The labelling page: one pair at a time. What a key or a button does is in `actions`.

import { Answers, keyOf } from "./answers.js";
import { Refusal, request } from "./api.js";
import * as feedback from "./feedback.js";
import { describe, listen } from "./keys.js";
import { Look } from "./look.js";
import { Player } from "./player.js";
import { SIGNS, Timeline, WORDS, aspectName, placeName } from "./timeline.js";
import { Views } from "./views.js";

const find = (selector) => document.querySelector(selector);
const SPEEDS = [1, 0.5, 0.25];
const API = find("#work").dataset.review ? "/api/review" : "/api";

const player = new Player(find("#source"), [find("#left"), find("#right")], { difference: find("#difference"), wipe: find("#wipe") });
const real = new Player(find("#real-source"), [find("#real-canvas")]);
const timeline = new Timeline(find("#timeline"), go);
const views = new Views(player), look = new Look(find("#look"));
let task = null, answers = null, current = null, whole = false, previous = null, busy = false, fetched = null;

const actions = {
  left: () => choose("left"),
  right: () => choose("right"),
  tie: () => choose("tie"),
  skip: () => find("#reasons").showModal(),
  undo: () => {
    const question = answers.undo();
    if (question) go(question);
  },
  comment: () => {
    if (!answers.get(current).choice) return notify("Choose first, then comment on your choice.");
    find("#comment-text").value = answers.get(current).comment;
    find("#comment").showModal();
  },
  finish,
  previous: () => previous && settle(() => request("POST", `/api/assignments/${previous}/reopen`)),
  play: () => (player.playing ? player.pause() : player.play()),
  back: () => player.step(-1),
  on: () => player.step(1),
  next: () => move(1),
  prior: () => move(-1),
  go: (key) => {
    const question = task.questions.find(([segment]) => segment === Number(key) - 1);
    if (question) go(question);
  },
  whole: () => setWhole(!whole),
  speed: () => player.speed(SPEEDS[(SPEEDS.indexOf(player.rate) + 1) % SPEEDS.length]),
  view: () => views.toggle("difference"),
  wipe: () => views.toggle("wipe"),
  zoom: () => views.zoom(),
  pan: (key) => views.pan(key),
  real: () => {
    if (!task.real) return;
    player.pause();
    real.load(`/media/${task.id}/real`, task);
    real.speed(player.rate);
    real.loop(player.first, player.end);
    real.play();
    find("#real").showModal();
  },
  help: () => find("#help").showModal(),
  guideline: () => find("#guideline").showModal(),
};

function act(action, key) {
  if (action === "help" || action === "guideline" || (task && !busy)) actions[action](key);
}

// --- one pair ---

async function settle(fetchTask) {
  if (busy) return;
  busy = true;
  try {
    await open(await fetchTask());
  } catch (error) {
    notify(error instanceof Refusal ? error.message : "The server cannot be reached. Trying again…");
    if (!(error instanceof Refusal)) setTimeout(() => settle(fetchTask), 2000);
  }
  busy = false;
}

async function open(next) {
  task = next;
  find("#work").hidden = !task;
  find("#done").hidden = Boolean(task);
  player.pause();
  showProgress();
  if (!task) return;
  quiet();
  answers = new Answers(task);
  answers.addEventListener("saving", (event) => status(event.detail ? "Not saved yet, trying again…" : "Saving…", event.detail));
  answers.addEventListener("saved", () => status("Saved"));
  answers.addEventListener("refused", (event) => reload(event.detail));
  find("#prompt").textContent = task.prompt;
  find("#real-open").hidden = !task.real;
  find("#loading").hidden = false;
  find("#screens").style.setProperty("--ratio", task.width / task.height);
  find("#practice").hidden = !task.practice;
  if (task.practice) find("#practice").textContent = `Practice ${task.practice.number} of ${task.practice.of}`;
  timeline.build(task);
  views.zoomTo(1);
  player.load(`/media/${task.id}/pair`, task, task.swap);
  go(answers.unanswered[0] ?? task.questions[0]);
  player.play();
}

async function reload(refusal) {
  const id = task.id;
  await settle(() => (refusal.status === 409 ? request("GET", `/api/assignments/${id}`) : request("POST", `${API}/next`)));
  notify(refusal.message);
}

async function finish() {
  const open = answers.unanswered;
  if (open.length) {
    go(open[0]);
    return notify(open.length === 1 ? "One question has no answer yet: this one." : `${open.length} questions have no answer yet.`);
  }
  const { id } = task;
  await answers.settled();
  if (task?.id !== id) return;
  await settle(async () => {
    const right = await request("POST", `/api/assignments/${id}/finish`);
    if (right) {
      player.pause();
      await feedback.show(right);
    }
    return request("POST", `${API}/next`);
  });
}

// --- one question ---

function go(question) {
  current = question;
  look.begin(answers.get(question).choice ? 0 : task.minimum_seconds);
  setWhole(question[0] === null);
  mark();
}

function move(by) {
  const place = task.questions.findIndex((question) => keyOf(question) === keyOf(current));
  go(task.questions[(place + by + task.questions.length) % task.questions.length]);
}

function setWhole(value) {
  whole = value;
  find("[data-do=whole]").setAttribute("aria-pressed", whole);
  const { first, end } = whole || current[0] === null ? { first: 0, end: task.frames } : task.segments[current[0]];
  if (first !== player.first || end !== player.end || player.frame === null) player.loop(first, end);
}

function choose(choice, comment = null) {
  const before = answers.get(current);
  comment ??= before.choice === "skip" ? "" : before.comment; // a skip's comment is its reason
  if (!look.enough) return notify(`Look for at least ${task.minimum_seconds} s before you choose.`);
  quiet();
  answers.give(current, choice, comment, look.elapsed);
  const place = task.questions.findIndex((question) => keyOf(question) === keyOf(current));
  const after = [...task.questions.slice(place + 1), ...task.questions.slice(0, place)];
  const next = after.find((question) => !answers.get(question).choice);
  if (next) go(next);
  else mark();
}

// --- what the page shows ---

function mark() {
  timeline.mark(answers, current);
  const [segment, aspect] = current, { choice } = answers.get(current), left = answers.unanswered.length;
  const place = segment === null ? placeName(segment) : `${placeName(segment)} of ${task.segments.length}`;
  const about = aspect === "overall" ? "which one is better?" : `${aspectName(aspect)}: which one is better?`;
  find("#question").textContent = left ? `${place} – ${about}` : "All answered. Look again, or press Enter for the next pair.";
  for (const button of document.querySelectorAll("[data-choice]")) {
    button.setAttribute("aria-pressed", button.dataset.choice === choice);
  }
  find("#skip").setAttribute("aria-pressed", choice === "skip");
  find("#opinions").replaceChildren(...timeline.said(current).map(opinion));
  find("#finish").dataset.ready = left ? "" : "yes";
}

function opinion({ who, choice, comment }) {
  const item = document.createElement("li");
  item.dataset.choice = choice;
  item.textContent = `${who}: ${SIGNS[choice]} ${WORDS[choice]}${comment ? ` – “${comment}”` : ""}`;
  return item;
}

function notify(text) {
  find("#notice").textContent = text;
  find("#notice").hidden = false;
}

function quiet() {
  find("#notice").hidden = true;
}

function status(text, bad = 0) {
  find("#saved").textContent = text;
  find("#saved").dataset.bad = bad ? "yes" : "";
}

async function showProgress() {
  const found = await request("GET", `${API}/progress`).catch(() => null);
  if (!found) return;
  previous = found.previous;
  find("[data-do=previous]").disabled = !previous;
  const bar = find("#progress"), total = found.done + found.left;
  bar.setAttribute("aria-valuemax", total);
  bar.setAttribute("aria-valuenow", found.done);
  bar.firstChild.style.width = `${(100 * found.done) / Math.max(1, total)}%`;
  const pace = found.seconds ? `, about ${found.seconds < 90 ? `${Math.round(found.seconds)} s` : `${Math.round(found.seconds / 60)} min`} each` : "";
  find("#pace").textContent = `${found.done} of ${total} pairs${pace}`;
}

// Fetch the next pair's file while this one is looked at; the player then finds it in the browser's cache.
async function fetchAhead() {
  if (fetched === task.id) return;
  fetched = task.id;
  try {
    const { id } = await request("GET", `${API}/ahead`);
    if (id) await (await fetch(`/media/${id}/pair`, { priority: "low" })).arrayBuffer();
  } catch {
    // the player will fetch it when its turn comes
  }
}

// --- wiring ---

player.addEventListener("painted", ({ detail }) => {
  if (!task) return;
  find("#loading").hidden = true;
  fetchAhead();
  timeline.at(detail);
  find("#frame").textContent = `frame ${detail} of ${task.frames - 1} · ${(detail / task.fps).toFixed(2)} s`;
});
player.addEventListener("state", () => {
  find("#play").textContent = player.playing ? "Pause" : "Play";
  for (const button of document.querySelectorAll("[data-speed]")) {
    button.setAttribute("aria-pressed", Number(button.dataset.speed) === player.rate);
  }
});
player.addEventListener("broken", () => notify("This pair does not load. Reload the page; if it stays so, tell your lead."));
document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (event.detail) button.blur(); // by mouse: the keys stay the page's
  const { do: action, choice, speed, reason } = button.dataset;
  if (action) act(action);
  else if (choice) act(choice);
  else if (speed) player.speed(Number(speed));
  else if (reason) {
    find("#reasons").close();
    choose("skip", reason);
  }
});
find("#reasons").addEventListener("keydown", (event) => find(`#reasons li:nth-child(${Number(event.key) || 99}) button`)?.click());
// Saved at the submit itself: a dialog's close event comes a moment later, when another question may be the current one.
find("#comment form").addEventListener("submit", (event) => {
  if (event.submitter.value !== "save") return;
  answers.give(current, answers.get(current).choice, find("#comment-text").value, look.elapsed);
  mark();
});
find("#comment").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.ctrlKey) find("#comment form").requestSubmit(find("#comment .primary"));
});
// As with comments: at once, not at the dialog's close event.
function leaveReal(event) {
  event.preventDefault();
  find("#real").close();
  real.pause();
  player.play();
}
find("#real form").addEventListener("submit", leaveReal);
find("#real").addEventListener("cancel", leaveReal);
describe(find("#help dl"));
listen(act);
if (!Player.exact) notify("This browser cannot tell which frame it shows, so the picture may jerk. Take a current Chrome, Edge, Safari or Firefox.");
settle(() => request("POST", `${API}/next`));
