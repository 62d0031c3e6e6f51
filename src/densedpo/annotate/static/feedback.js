// After a practice pair: one's own answers beside the right ones.

import { WORDS, aspectName, placeName } from "./timeline.js";

const find = (selector) => document.querySelector(selector);

// Shows it in place of the pair, until the person goes on. Somebody who is paused cannot.
export function show({ compared, right, asked, last, paused }) {
  const missed = compared.filter((each) => each.given !== each.right).length;
  find("#feedback-title").textContent = missed ? `${compared.length - missed} of ${compared.length} as they should be` : "All as they should be";
  find("#feedback tbody").replaceChildren(...compared.map(row));
  find("#feedback-next").textContent = paused
    ? `In the whole practice ${right} of ${asked} answers were right. Your lead has a look at them now, and will tell you how it goes on.`
    : last
      ? `In the whole practice ${right} of ${asked} answers were right. Now the real pairs begin.`
      : "These answers do not count. Look at the guideline again if you like, then go on.";
  const button = find("#feedback-on");
  button.hidden = paused;
  find("#work").hidden = true;
  find("#feedback").hidden = false;
  (paused ? find("#feedback-title") : button).focus();
  return new Promise((done) => {
    const on = () => {
      button.removeEventListener("click", on);
      find("#feedback").hidden = true;
      done();
    };
    button.addEventListener("click", on);
  });
}

function row({ segment, aspect, given, right }) {
  const line = document.createElement("tr"), good = given === right;
  const name = [placeName(segment), aspect === "overall" ? "" : aspectName(aspect)].filter(Boolean).join(", ");
  line.append(cell("th", name), cell("td", WORDS[given]), cell("td", WORDS[right]), cell("td", good ? "✓" : "✗"));
  line.firstChild.scope = "row";
  line.lastChild.setAttribute("aria-label", good ? "right" : "wrong");
  line.className = good ? "good" : "bad";
  return line;
}

const cell = (tag, textContent) => Object.assign(document.createElement(tag), { textContent });
