// The answers of one pair: what stands, what is on its way to the server, and how to take a step back. An answer is in
// the browser's storage from the key press until the server has it, so a reload or a lost connection loses nothing. Sent
// twice, it is one label: it says which label it replaces, and the server refuses to replace one label by two.

import { Refusal, request } from "./api.js";

const WAITS = [500, 1000, 2000, 5000]; // milliseconds before trying again

export const keyOf = ([segment, aspect]) => `${segment ?? "whole"}/${aspect}`;

export class Answers extends EventTarget {
  constructor(task) {
    super();
    this.task = task;
    this.store = `densedpo/${task.id}`;
    this.ids = new Map(task.answers.map((each) => [keyOf([each.segment, each.aspect]), each.id]));
    this.standing = new Map();
    this.past = [];
    for (const { segment, aspect, choice, comment } of task.answers) {
      if (choice) this.#apply([segment, aspect], choice, comment);
    }
    this.waiting = JSON.parse(localStorage.getItem(this.store) ?? "[]");
    for (const { segment, aspect, choice, comment } of this.waiting) this.#apply([segment, aspect], choice, comment);
    this.#send();
  }

  get(question) {
    return this.standing.get(keyOf(question)) ?? { choice: null, comment: "" };
  }

  get unanswered() {
    return this.task.questions.filter((question) => !this.get(question).choice);
  }

  give(question, choice, comment, milliseconds) {
    this.#apply(question, choice, comment);
    this.#queue(question, choice, comment, milliseconds);
  }

  // Take the latest step back; returns its question, or null if there is none.
  undo() {
    const step = this.past.pop();
    if (!step) return null;
    this.standing.set(keyOf(step.question), step.before);
    this.#queue(step.question, step.before.choice, step.before.comment, 0);
    return step.question;
  }

  // Resolves when the server has everything.
  async settled() {
    while (this.waiting.length) await new Promise((done) => this.addEventListener("saved", done, { once: true }));
  }

  #apply(question, choice, comment) {
    this.past.push({ question, before: this.get(question) });
    this.standing.set(keyOf(question), { choice, comment });
  }

  #queue([segment, aspect], choice, comment, milliseconds) {
    this.waiting.push({ segment, aspect, choice, comment, milliseconds: Math.round(milliseconds) });
    this.#keep();
    this.#send();
  }

  #keep() {
    if (this.waiting.length) localStorage.setItem(this.store, JSON.stringify(this.waiting));
    else localStorage.removeItem(this.store);
  }

  async #send() {
    if (this.sending) return;
    this.sending = true;
    for (let failures = 0; this.waiting.length; ) {
      const answer = this.waiting[0], key = keyOf([answer.segment, answer.aspect]);
      if (!("replaces" in answer)) answer.replaces = this.ids.get(key) ?? null;
      this.#keep(); // with what it replaces, so that a second sending says exactly the same
      this.dispatchEvent(new CustomEvent("saving", { detail: failures }));
      try {
        const { id } = await request("POST", "/api/answers", { assignment: this.task.id, ...answer });
        this.ids.set(key, id);
        this.waiting.shift();
        this.#keep();
        failures = 0;
      } catch (error) {
        if (error instanceof Refusal) {
          this.waiting = [];
          this.#keep();
          this.dispatchEvent(new CustomEvent("refused", { detail: error }));
        } else {
          await new Promise((done) => setTimeout(done, WAITS[Math.min(failures, WAITS.length - 1)]));
          failures++;
        }
      }
    }
    this.sending = false;
    this.dispatchEvent(new Event("saved"));
  }
}
