// The lead's dashboard; looks again every few seconds.

import { request } from "./api.js";
import { element, movesOf } from "./moves.js";

const find = (selector) => document.querySelector(selector);
const AGAIN = 4000; // milliseconds
const percent = (share) => `${Math.round(100 * share)} %`;
const length = (share) => `${100 * Math.min(1, Math.max(0, share))}%`; // for styles
const number = (value, digits = 2) => value.toFixed(digits);
const hours = (value) => (value < 1 ? `${Math.max(1, Math.round(60 * value))} min` : value < 72 ? `${number(value, 1)} h` : `${Math.round(value / 24)} days`);
const plural = (count, one, many) => `${count} ${count === 1 ? one : many}`;

async function attempt(action) {
  find("#trouble").hidden = true;
  try {
    await action();
  } catch (error) {
    find("#trouble").textContent = error.message;
    find("#trouble").hidden = false;
  }
  await show();
}

function showProgress({ pairs, complete, begun, places, done, hours_left, hours_at_this_pace }) {
  find("#complete").replaceChildren(`${complete} `, element("small", `of ${pairs} pairs complete`));
  const share = places ? done / places : 0;
  find("#meter").setAttribute("aria-valuenow", Math.round(100 * share));
  find("#meter i").style.width = length(share);
  const words = [`${done} of ${places} turns done`, plural(begun - complete, "pair", "pairs") + " under way"];
  if (done < places && hours_left !== null) words.push(`${hours(hours_left)} of work left`);
  if (done < places && hours_at_this_pace !== null) words.push(`about ${hours(hours_at_this_pace)} at this pace`);
  find("#left").textContent = words.join(" · ");
}

function showPace({ labels, pairs, active, seconds }) {
  find("#pace").replaceChildren(`${labels.at(-1)} `, element("small", "labels in the last hour"));
  const most = Math.max(1, ...labels);
  find("#hours").replaceChildren(...labels.map((count) => {
    const bar = document.createElement("i");
    bar.style.height = `${(100 * count) / most}%`;
    return bar;
  }));
  find("#hours").setAttribute("aria-label", `Labels an hour over the last 24 hours: at most ${most}, now ${labels.at(-1)}`);
  const words = [plural(active, "person", "people") + " at work", plural(pairs, "pair", "pairs") + " in the last hour"];
  if (seconds !== null) words.push(`${Math.round(seconds)} s a pair`);
  find("#active").textContent = words.join(" · ");
}

function showAgreement(found) {
  const main = found.find((each) => each.aspect === "overall") ?? found[0];
  const known = main && main.alpha !== null;
  find("#alpha").replaceChildren(known ? `${number(main.alpha)} ` : "– ", element("small", "Krippendorff’s α, ordinal"));
  const range = find("#alpha-range");
  range.replaceChildren(...(known ? intervalMarks({ share: main.alpha, low: main.low, high: main.high }) : []));
  range.setAttribute("aria-label", known ? `${number(main.alpha)}, 95% interval ${main.low === null ? "unknown" : `${number(main.low)} to ${number(main.high)}`}` : "not known yet");
  const between = known && main.low !== null ? `${number(main.low)} to ${number(main.high)}, ` : "";
  const others = found.filter((each) => each !== main && each.alpha !== null).map((each) => `${each.aspect.replaceAll("_", " ")} ${number(each.alpha)}`);
  find("#alpha-note").textContent = main ? [`${between}${plural(main.questions, "question", "questions")} answered twice or more`, ...others].join(" · ") : "Nothing is labelled twice yet";
}

function showReview({ disputed, settled, gold, new_gold }) {
  find("#disputed").replaceChildren(`${disputed} `, element("small", disputed === 1 ? "pair to settle" : "pairs to settle"));
  find("#settled").textContent = `${settled} settled · ${plural(gold, "gold pair", "gold pairs")}`;
  find("#to-review").hidden = !disputed;
  find("#take").hidden = !new_gold;
  find("#take").textContent = `Make ${plural(new_gold, "settled pair", "settled pairs")} gold`;
}

// The line from low to high, and a dot; both within 0 to 1.
function intervalMarks({ share, low, high }) {
  const line = document.createElement("i"), dot = document.createElement("b");
  line.style.left = length(low ?? share);
  line.style.right = length(1 - (high ?? share));
  dot.style.left = length(share);
  return [line, dot];
}

// `fair`: what it should be; `team`: what all together reach. What is surely off is marked.
function shareCell(found, { fair = null, team = null } = {}) {
  const cell = element("td", "", { className: "share" });
  if (found.share === null) {
    cell.append(element("span", "–"));
    return cell;
  }
  const range = element("div", "", { className: "range" });
  if (fair !== null) range.append(Object.assign(document.createElement("u"), { className: "fair" }));
  range.append(...intervalMarks(found));
  const odd = (fair !== null && (found.low > fair || found.high < fair)) || (team !== null && found.high < team);
  cell.append(element("span", percent(found.share), { className: odd ? "odd" : "" }), " ", element("small", `(${found.n})`), range);
  cell.title = `${found.count} of ${found.n}; 95% interval ${percent(found.low)} to ${percent(found.high)}`;
  return cell;
}

function row(person, team) {
  const line = document.createElement("tr"), name = element("th", person.name, { scope: "row" });
  if (person.role !== "annotator") name.append(" ", element("small", person.role));
  const state = element("td", person.state, { className: `state ${person.state}` });
  if (person.aside) state.append(element("small", "set aside"));
  const practised = person.practice.n && person.gold.share === null;
  line.append(name, state, element("td", person.pairs, { className: "number" }));
  line.append(element("td", person.seconds === null ? "–" : `${number(person.seconds, 1)} s`, { className: "number" }));
  line.append(shareCell(person.consensus, { team: team.consensus }));
  line.append(practised ? practice(person.practice) : shareCell(person.gold, { team: team.gold }));
  line.append(shareCell(person.repeats, { team: team.repeats }), shareCell(person.left, { fair: 0.5 }));
  for (const found of [person.ties, person.skips]) {
    line.append(element("td", found.share === null ? "–" : percent(found.share), { className: "number" }));
  }
  const moves = element("td", "", { className: "moves" });
  moves.append(movesOf(person, attempt));
  line.append(moves);
  return line;
}

function practice(found) {
  const cell = shareCell(found);
  cell.append(element("small", "in practice"));
  return cell;
}

function together(people, key) {
  const asked = people.reduce((sum, each) => sum + each[key].n, 0);
  return asked ? people.reduce((sum, each) => sum + each[key].count, 0) / asked : null;
}

async function show() {
  const found = await request("GET", "/api/dashboard");
  showProgress(found.progress);
  showPace(found.pace);
  showAgreement(found.agreement);
  showReview(found.progress);
  if (document.querySelector("details.menu[open], dialog[open]")) return; // not under somebody's hand
  const team = Object.fromEntries(["consensus", "gold", "repeats"].map((key) => [key, together(found.people, key)]));
  const focus = document.activeElement?.closest?.("details.menu")?.dataset.person;
  find("#everybody").replaceChildren(...found.people.map((each) => row(each, team)));
  if (focus) find(`details.menu[data-person="${focus}"] summary`)?.focus();
}

async function keepLooking() {
  try {
    await show();
    find("#fresh").textContent = `as of ${new Date().toLocaleTimeString()}`;
  } catch {
    find("#fresh").textContent = "The server cannot be reached. Trying again…";
  }
  setTimeout(keepLooking, AGAIN);
}

find("#take").addEventListener("click", () => attempt(() => request("POST", "/api/gold/settled")));
keepLooking();
