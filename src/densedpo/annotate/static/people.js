// The lead's page: who works here, and links to let them in.

import { request } from "./api.js";
import { element, movesOf } from "./moves.js";

const find = (selector) => document.querySelector(selector);

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
  const moves = element("td", "", { className: "moves" }), more = [];
  if (person.state !== "retired" && find("#everybody").dataset.tokens) {
    more.push(["New link", async () => offer(await request("POST", `/api/people/${person.id}/invite`), person.name)]);
  }
  moves.append(movesOf(person, attempt, more));
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
for (const button of document.querySelectorAll("#new button")) button.disabled = false; // sooner, the form would send itself
show();
