// Every key in one table: what the help shows is what works. Keys mean nothing while a dialog or a text field has them.

export const KEYS = [
  ["ArrowLeft", "left", "←", "the left one is better"],
  ["ArrowRight", "right", "→", "the right one is better"],
  ["ArrowDown", "tie", "↓", "neither is better"],
  ["x", "skip", "X", "can’t tell, with a reason"],
  ["Enter", "finish", "Enter", "hand in, next pair"],
  ["u", "undo", "U", "undo"],
  ["c", "comment", "C", "comment on this answer"],
  ["p", "previous", "P", "back to the pair before"],
  [" ", "play", "Space", "play, pause"],
  ["s", "speed", "S", "slower: 1, ½, ¼"],
  [",", "back", ",", "one frame back"],
  [".", "on", ".", "one frame on"],
  ["j", "prior", "J", "question before"],
  ["k", "next", "K", "next question"],
  ["1", "go", "1 … 9", "go to a segment"],
  ["w", "whole", "W", "whole video, or the segment"],
  ["v", "view", "V", "difference of the two"],
  ["b", "wipe", "B", "wipe from one to the other"],
  ["z", "zoom", "Z", "zoom: 1, 2, 4"],
  ["Shift", "", "Shift + arrows", "move zoomed part or wipe"],
  ["r", "real", "R", "the real clip, if your lead shows it"],
  ["g", "guideline", "G", "what to look for"],
  ["?", "help", "?", "this list"],
];

const ACTIONS = new Map(KEYS.map(([key, action]) => [key, action]));

// `act(action, key)` is called for each key that means something.
export function listen(act) {
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    const target = event.target.closest("dialog") ? document.body : event.target; // a closed one keeps focus a moment
    if (target.closest("input, textarea, select") || event.altKey || event.isComposing) return;
    if ((event.ctrlKey || event.metaKey) && event.key !== "z") return;
    if (target.closest("button, a, summary") && (event.key === "Enter" || event.key === " ")) return; // it presses that
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    let action = ACTIONS.get(key);
    if (event.ctrlKey || event.metaKey) action = "undo";
    else if (event.shiftKey && key.startsWith("Arrow")) action = "pan";
    else if (key >= "1" && key <= "9") action = "go";
    if (!action || (event.repeat && !["back", "on", "pan"].includes(action))) return;
    event.preventDefault();
    act(action, key);
  });
}

export function describe(list) {
  for (const [, , shown, what] of KEYS) {
    const name = document.createElement("dt"), meaning = document.createElement("dd");
    name.append(Object.assign(document.createElement("kbd"), { textContent: shown }));
    meaning.textContent = what;
    list.append(name, meaning);
  }
}
