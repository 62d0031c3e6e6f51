"use strict";

// Text of numbers, small builders of elements, and the dialog that shows the clips of one prompt side by side.

const SPEEDS = [0.25, 0.5, 1, 2];

// An element with properties and children; text is only ever text.
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

// To three digits, with a true minus sign; a dash for what is unknown.
function text(value, signed = false) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!value) return "0";
  const places = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  const shown = places > 6 ? value.toExponential(0) : value.toFixed(Math.min(places, 5));
  return (signed && value > 0 ? "+" : "") + shown.replaceAll("-", "−");
}

// `good` or `bad` for a difference in a metric with a direction, else nothing.
function tone(metric, difference) {
  if (!difference || metric.better === "neither") return "";
  return (difference > 0) === (metric.better === "higher") ? "good" : "bad";
}

class Viewer {
  // `data`: as results_data.py writes it; `colour`: contestant → CSS colour.
  constructor(data, colour) {
    this.data = data;
    this.colour = colour;
    this.at = (name) => document.getElementById(name);
    this.dialog = this.at("viewer");
    this.shown = new Set(data.contestants);
    this.speed = 1;
    this.loop = true;
    this.reel = null;
    this.#contestants();
    this.#transport();
    this.at("viewer-close").addEventListener("click", () => this.close());
    this.at("viewer-previous").addEventListener("click", () => this.#turn(-1));
    this.at("viewer-next").addEventListener("click", () => this.#turn(1));
    this.at("remake-of").addEventListener("change", () => this.#command());
    this.at("remake-copy").addEventListener("click", () => this.#copy());
    this.dialog.addEventListener("cancel", (event) => { event.preventDefault(); this.close(); });
    this.dialog.addEventListener("keydown", (event) => this.#key(event));
  }

  // Show this prompt; `order`: the prompts that Previous and Next go through; `seed`: a seed, or null for all.
  open(prompt, order, seed) {
    Object.assign(this, { prompt, order, from: this.dialog.open ? this.from : document.activeElement });
    this.shots = this.data.shots.map((shot, index) => ({ index, prompt: shot[0], number: shot[1], seed: shot[2] }))
      .filter((shot) => shot.prompt === prompt);
    const seeds = this.shots.map((shot) => shot.seed);
    this.seeds = new Set(seed === null || !seeds.includes(seed) ? seeds.slice(0, 1) : [seed]);
    if (!this.dialog.open) this.dialog.showModal();
    this.at("viewer-prompt").textContent = this.data.prompts[prompt];
    const place = order.indexOf(prompt);
    this.at("viewer-place").textContent =
      `Prompt ${this.shots[0].number}` + (place < 0 ? "" : `, ${place + 1} of ${order.length} in this order`);
    this.at("viewer-previous").disabled = place <= 0;
    this.at("viewer-next").disabled = place < 0 || place >= order.length - 1;
    this.#seedButtons();
    this.#fill();
  }

  close() {
    this.reel?.close();
    this.reel = null;
    this.dialog.close();
    this.from?.focus();
  }

  #turn(by) {
    const next = this.order[this.order.indexOf(this.prompt) + by];
    if (next !== undefined) this.open(next, this.order, this.seeds.size === 1 ? [...this.seeds][0] : null);
  }

  #contestants() {
    for (const name of this.data.contestants) {
      const button = make("button", { type: "button", className: "chip", "aria-pressed": "true" }, make("i"), name);
      button.style.setProperty("--who", this.colour[name]);
      button.addEventListener("click", () => {
        if (!this.#toggle(this.shown, name)) return;
        button.setAttribute("aria-pressed", String(this.shown.has(name)));
        this.#fill();
      });
      this.at("viewer-contestants").append(button);
    }
  }

  #seedButtons() {
    const buttons = this.shots.map(({ seed }) => {
      const button = make("button", { type: "button", className: "chip" }, `seed ${seed}`);
      button.setAttribute("aria-pressed", String(this.seeds.has(seed)));
      button.addEventListener("click", () => {
        if (!this.#toggle(this.seeds, seed)) return;
        button.setAttribute("aria-pressed", String(this.seeds.has(seed)));
        this.#fill();
      });
      return button;
    });
    this.at("viewer-seeds").replaceChildren(...(buttons.length > 1 ? buttons : []));
  }

  // In or out; the last one stays. Says whether anything has changed.
  #toggle(set, item) {
    if (!set.delete(item)) set.add(item);
    if (set.size) return true;
    set.add(item);
    return false;
  }

  // The table: a column for each contestant, a row of videos for each seed, a row of scores for each metric.
  #fill() {
    const names = this.data.contestants.filter((name) => this.shown.has(name));
    const shots = this.shots.filter((shot) => this.seeds.has(shot.seed));
    this.reel?.close();
    const head = names.map((name) => {
      const cell = make("th", { scope: "col" }, make("span", { className: "who" }, make("i"), name));
      cell.style.setProperty("--who", this.colour[name]);
      return cell;
    });
    this.at("viewer-names").replaceChildren(make("tr", {}, make("td"), ...head));
    const screens = shots.map((shot) => {
      const cells = names.map((name) => make("td", {}, this.#screen(name, shot)));
      return make("tr", {}, make("th", { scope: "row" }, this.shots.length > 1 ? `seed ${shot.seed}` : ""), ...cells);
    });
    this.at("viewer-screens").replaceChildren(...screens);
    this.at("viewer-scores").replaceChildren(...this.data.metrics.map((metric, index) => this.#scores(metric, index, names, shots)));
    const of = this.at("remake-of"), before = of.value;
    of.replaceChildren(...names.map((name) => make("option", { value: name }, name)));
    of.value = names.includes(before) ? before : names.at(-1);
    this.#command();
    this.#begin(names, shots);
  }

  #screen(name, shot) {
    const clip = this.data.clips[name][shot.index];
    if (!clip) return make("p", { className: "missing" }, "This clip is not on disk any more, or cannot be read.");
    const video = make("video", { preload: "none", muted: true, playsInline: true, src: clip[0] });
    video.setAttribute("aria-label", `${name}, seed ${shot.seed}`);
    video.addEventListener("click", () => this.#playOrPause());
    video.addEventListener("loadedmetadata", () => video.classList.toggle("tiny", video.videoWidth < 200));
    video.addEventListener("error", () => {
      if (video.isConnected) video.replaceWith(make("p", { className: "missing" }, "This browser cannot play the clip."));
    });
    return video;
  }

  #scores(metric, index, names, shots) {
    const mean = (name) => {
      const values = shots.map((shot) => this.data.scores[name][shot.index]?.[index]).filter((value) => value != null);
      return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
    };
    const base = mean(this.data.baseline);
    const cells = names.map((name) => {
      const value = mean(name), cell = make("td", {}, text(value));
      if (name === this.data.baseline || value === null || base === null) return cell;
      cell.append(" ", make("small", { className: tone(metric, value - base) }, text(value - base, true)));
      return cell;
    });
    return make("tr", {}, make("th", { scope: "row" }, metric.title), ...cells);
  }

  #begin(names, shots) {
    const clips = shots.flatMap((shot) => names.map((name) => this.data.clips[name][shot.index])).filter(Boolean);
    const fps = Math.max(1, ...clips.map((clip) => clip[1]));
    const frames = Math.max(1, ...clips.map((clip) => Math.round((clip[2] / clip[1]) * fps)));
    this.reel = new Reel([...this.at("viewer-screens").querySelectorAll("video")], fps, frames);
    this.reel.addEventListener("change", () => this.#state());
    this.reel.setSpeed(this.speed);
    this.reel.setLoop(this.loop);
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) this.reel.play();
  }

  #transport() {
    this.at("reel-play").addEventListener("click", () => this.#playOrPause());
    this.at("reel-back").addEventListener("click", () => this.reel.step(-1));
    this.at("reel-forward").addEventListener("click", () => this.reel.step(1));
    this.at("reel-position").addEventListener("input", (event) => this.reel.seek(Number(event.target.value)));
    this.at("reel-loop").addEventListener("click", () => this.reel.setLoop((this.loop = !this.loop)));
    for (const speed of SPEEDS) {
      const button = make("button", { type: "button", value: speed }, `${{ 0.25: "¼", 0.5: "½" }[speed] ?? speed}×`);
      button.addEventListener("click", () => this.reel.setSpeed((this.speed = speed)));
      this.at("reel-speeds").append(button);
    }
  }

  #playOrPause() {
    if (this.reel.playing) this.reel.pause();
    else this.reel.play();
  }

  #state() {
    const { reel } = this;
    this.at("reel-play").textContent = reel.playing ? "Pause" : "Play";
    this.at("reel-position").max = reel.frames - 1;
    this.at("reel-position").value = reel.frame;
    this.at("reel-frame").textContent = `frame ${reel.frame + 1} of ${reel.frames}`;
    this.at("reel-loop").setAttribute("aria-pressed", String(reel.loop));
    for (const button of this.at("reel-speeds").children) {
      button.setAttribute("aria-pressed", String(Number(button.value) === reel.speed));
    }
  }

  #command() {
    const name = this.at("remake-of").value, shot = this.shots.find((each) => this.seeds.has(each.seed));
    const clip = `${String(shot.number).padStart(4, "0")}-${shot.seed}`;
    const command = this.data.remake[name];
    this.at("remake-command").textContent = command ? command.replace("/CLIP", `/${clip}`)
      : `“${name}” was brought as finished clips, which no model here can make again.`;
    Object.assign(this.at("remake-copy"), { hidden: !command, textContent: "Copy" });
  }

  async #copy() {
    const code = this.at("remake-command"), button = this.at("remake-copy");
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch { // no permission: mark it, and copy the old way
      getSelection().selectAllChildren(code);
      if (!document.execCommand("copy")) return;
    }
    button.textContent = "Copied";
  }

  #key(event) {
    const typing = event.target.matches("select, input") || event.ctrlKey || event.metaKey || event.altKey;
    const acts = {
      " ": () => this.#playOrPause(),
      ",": () => this.reel.step(-1),
      ".": () => this.reel.step(1),
      l: () => this.at("reel-loop").click(),
      n: () => this.#turn(1),
      p: () => this.#turn(-1),
    };
    const act = acts[event.key.toLowerCase()];
    if (!act || typing || (event.key === " " && event.target.matches("button"))) return;
    event.preventDefault();
    act();
  }
}
