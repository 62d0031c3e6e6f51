// The questions of a pair as a grid: a column for each segment (and one for the whole video), a row for each aspect. A
// cell shows its answer (to a reviewer, until there is one, what the others say), the cursor which frame is on the
// screens.

import { keyOf } from "./answers.js";

export const SIGNS = { left: "←", right: "→", tie: "=", skip: "?" };
export const WORDS = { left: "left is better", right: "right is better", tie: "tie", skip: "can’t tell" };

export const aspectName = (aspect) => aspect.replaceAll("_", " ");
export const placeName = (segment) => (segment === null ? "Whole video" : `Segment ${segment + 1}`);

export class Timeline {
  constructor(root, choose) {
    this.root = root;
    this.choose = choose;
  }

  build(task) {
    this.task = task;
    const aspects = [...new Set(task.questions.map(([, aspect]) => aspect))];
    const places = task.opinions.length ? task.segments.map((_, segment) => segment) : [];
    for (const [segment] of task.questions) if (!places.includes(segment)) places.push(segment);
    this.cells = new Map();
    this.cursor = Object.assign(document.createElement("i"), { className: "cursor" });
    const rows = aspects.map((aspect) => {
      const row = Object.assign(document.createElement("div"), { className: "row" });
      if (aspects.length > 1) {
        row.append(Object.assign(document.createElement("span"), { className: "aspect", textContent: aspectName(aspect) }));
      }
      const cells = Object.assign(document.createElement("div"), { className: "cells" });
      cells.append(...places.map((segment) => this.#cell([segment, aspect])));
      row.append(cells);
      return row;
    });
    this.root.replaceChildren(...rows);
    rows[0].querySelector(".cells").append(this.cursor);
    this.root.classList.toggle("aspects", aspects.length > 1);
    this.#showAgreed();
  }

  said([segment, aspect]) {
    return this.task.opinions.filter((each) => each.segment === segment && each.aspect === aspect);
  }

  // What a reviewer need not settle.
  #showAgreed() {
    const asked = new Set(this.task.questions.map(keyOf));
    for (const [key, cell] of this.cells) {
      if (asked.has(key)) continue;
      const said = this.said(cell.question);
      cell.disabled = true;
      cell.dataset.choice = said[0]?.choice ?? "";
      cell.firstChild.textContent = said.length ? SIGNS[said[0].choice] : "";
      cell.lastChild.textContent = "agreed";
      cell.setAttribute("aria-label", `${placeName(cell.question[0])}, agreed: ${WORDS[said[0]?.choice] ?? "no answer"}`);
    }
  }

  #cell(question) {
    const [segment] = question, cell = document.createElement("button");
    cell.type = "button";
    cell.question = question;
    const { first, end } = segment === null ? { first: 0, end: this.task.frames } : this.task.segments[segment];
    if (segment === null) cell.className = "whole";
    else cell.style.flexGrow = end - first;
    cell.append(document.createElement("b"), document.createElement("span"));
    cell.addEventListener("click", () => this.choose(question));
    this.cells.set(keyOf(question), cell);
    return cell;
  }

  mark(answers, current) {
    for (const question of this.task.questions) {
      const { choice, comment } = answers.get(question), cell = this.cells.get(keyOf(question));
      const [segment, aspect] = question, now = keyOf(question) === keyOf(current);
      cell.dataset.choice = choice ?? "";
      const said = this.said(question).map((each) => SIGNS[each.choice]);
      cell.firstChild.textContent = choice ? SIGNS[choice] : [...new Set(said)].join(" ");
      cell.lastChild.textContent = (segment === null ? "whole" : segment + 1) + (comment ? " ✎" : "");
      cell.setAttribute("aria-current", now);
      const label = [placeName(segment), aspect === "overall" ? "" : aspectName(aspect), choice ? WORDS[choice] : "not answered"];
      cell.setAttribute("aria-label", label.filter(Boolean).join(", "));
      cell.title = comment;
    }
  }

  // Put the cursor over the middle of a frame, within the cell of its segment.
  at(frame) {
    const index = this.task.segments.findIndex(({ first, end }) => frame >= first && frame < end);
    const [, cell] = [...this.cells].find(([key]) => key.startsWith(`${index}/`)) ?? [];
    const box = cell ?? this.cells.values().next().value;
    const { first, end } = cell ? this.task.segments[index] : { first: 0, end: this.task.frames };
    const share = (frame + 0.5 - first) / (end - first);
    this.cursor.style.left = `${box.offsetLeft + share * box.offsetWidth}px`;
  }
}
