// The lead's page: who works here, and links to let them in.

import { request } from "./api.js";

const find = (selector) => document.querySelector(selector);
const MOVES = { active: [["Pause", "paused"], ["Retire", "retired"]], paused: [["Go on", "active"], ["Retire", "retired"]], retired: [["Take back", "active"]] };

function element(tag, text, properties = {}) {
  return Object.assign(document.createElement(tag), { textContent: text, ...properties });
}

async function attempt(action) {
  const trouble = find("#trouble");
  trouble.hidden = true;
  try {
    await action();
  } catch (error) {
    trouble.textContent = error.message;
    trouble.hidden = false;
  }
  await show();
}

function row(person) {
  const line = document.createElement("tr");
  line.append(element("th", person.name, { scope: "row" }), element("td", person.role), element("td", person.state));
  line.append(element("td", person.done, { className: "number" }), element("td", person.invited ? "valid" : "none"));
  const moves = element("td", "", { className: "moves" });
  const move = (text, act) => moves.append(element("button", text, { type: "button", onclick: () => attempt(act) }));
  for (const [text, state] of MOVES[person.state]) move(text, () => request("POST", `/api/people/${person.id}/state`, { state }));
  if (person.state !== "retired" && find("#everybody").dataset.tokens) {
    move("New link", async () => offer(await request("POST", `/api/people/${person.id}/invite`), person.name));
  }
  line.append(moves);
  return line;
}

function offer(invitation, name) {
  const box = find("#link");
  box.hidden = false;
  box.querySelector("b").textContent = name;
  box.querySelector("input").value = new URL(invitation.path, location.href);
  box.querySelector("input").select();
}

async function show() {
  find("#everybody").replaceChildren(...(await request("GET", "/api/people")).map(row));
}

find("#link button").addEventListener("click", () => {
  const input = find("#link input");
  input.select();
  if (navigator.clipboard) navigator.clipboard.writeText(input.value);
  else document.execCommand("copy"); // without https browsers offer nothing newer
});
find("#new")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const { name, role } = Object.fromEntries(new FormData(event.target));
  attempt(async () => {
    offer(await request("POST", "/api/people", { name, role }), name);
    event.target.reset();
  });
});
show();
