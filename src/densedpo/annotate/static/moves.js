// What a lead can do about somebody; what cannot be taken back lightly is asked again in a dialog.

import { request } from "./api.js";

const find = (selector) => document.querySelector(selector);
const STATES = { active: [["Pause", "paused"], ["Retire", "retired"]], paused: [["Go on", "active"], ["Retire", "retired"]], retired: [["Take back", "active"]] };
export const ERASED = "(erased)";
let wish = null; // what happens at "yes"

export function element(tag, text, properties = {}) {
  return Object.assign(document.createElement(tag), { textContent: text, ...properties });
}

// The buttons of a person, in a menu. `attempt(action)` runs one and shows everything anew.
export function movesOf(person, attempt, more = []) {
  const menu = element("details", "", { className: "menu" }), list = element("div", "");
  menu.dataset.person = person.id;
  menu.append(element("summary", "Change"), list);
  menu.firstChild.setAttribute("aria-label", `Change ${person.name}`);
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    menu.open = false;
    menu.firstChild.focus();
  });
  const add = (text, action) => {
    const button = element("button", text, { type: "button" });
    button.addEventListener("click", () => {
      menu.open = false;
      action();
    });
    list.append(button);
  };
  if (person.name !== ERASED) {
    for (const [text, state] of STATES[person.state]) {
      add(text, () => attempt(() => request("POST", `/api/people/${person.id}/state`, { state })));
    }
  }
  for (const [text, action] of more) add(text, () => attempt(action));
  const aside = (value) => () => attempt(() => request("POST", `/api/people/${person.id}/labels`, { aside: value }));
  if (person.aside) add("Let labels count again", aside(false));
  else if (person.aside === false && person.state !== "active") {
    add("Set labels aside…", () => ask(`Set the labels of ${person.name} aside?`, "They stay in the project, but count no more, and others get these pairs. You can take this back.", "Set aside", aside(true)));
  }
  if (person.name !== ERASED) {
    add("Erase name…", () => ask(`Erase the name of ${person.name} for good?`, "They cannot come back under it. Their labels stay, under a random number that no longer leads to anybody.", "Erase", () => attempt(() => request("POST", `/api/people/${person.id}/erase`))));
  }
  return menu;
}

function ask(title, words, yes, action) {
  const dialog = find("#sure");
  find("#sure-title").textContent = title;
  dialog.querySelector("p").textContent = words;
  dialog.querySelector("[value=yes]").textContent = yes;
  wish = action;
  dialog.showModal();
}

find("#sure form").addEventListener("submit", (event) => {
  if (event.submitter.value === "yes") wish();
});
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
