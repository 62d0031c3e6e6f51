"use strict";

// Every prompt by two metrics: a dot for each contestant, a line from the baseline's to each other one's, and large
// marks for the means. One dot of each contestant can be reached with Tab, the others from there with the arrow keys.

const SVG = "http://www.w3.org/2000/svg";
const FRAME = { left: 64, right: 20, top: 14, bottom: 46, width: 960, height: 500 };
const SHAPES = [ // of about equal area around 0, 0
  "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0", "M-4-4h8v8h-8z", "M0-5.5L5 3.8H-5z", "M0-5.8L5.8 0L0 5.8L-5.8 0z",
  "M0 5.5L5-3.8H-5z", "M-5.5-1.8h3.7v-3.7h3.6v3.7h3.7v3.6h-3.7v3.7h-3.6v-3.7h-3.7z",
];

function draw(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// About `count` round numbers from low to high.
function roundNumbers(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((each) => each >= rough * 0.75);
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
  const places = Math.min(8, Math.max(0, Math.ceil(-Math.log10(step) + (String(step).includes("25") ? 1 : 0) - 1e-9)));
  return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step)
    .map((value) => [value, (Number(value.toFixed(places)) || 0).toFixed(places).replace("-", "−")]);
}

// An axis on which further on is better: values to coordinates, and its ticks. `inward` leaves room for half a dot.
function axis(values, lowerIsBetter, start, end) {
  let low = Math.min(...values), high = Math.max(...values);
  const room = 0.06 * (high - low) || Math.abs(high) * 0.1 || 1;
  [low, high] = [low - room, high + room];
  const [from, to] = lowerIsBetter ? [high, low] : [low, high];
  const place = (value) => start + ((value - from) / (to - from)) * (end - start);
  return { place, ticks: roundNumbers(low, high, 6).map(([value, label]) => [place(value), label]) };
}

class Scatter {
  // `means(contestant, prompt, metric)`: a number or null; `open(prompt)`: called when a dot is chosen.
  constructor(data, colour, means, open) {
    Object.assign(this, { data, colour, means, open });
    this.svg = document.getElementById("scatter");
    this.readout = document.getElementById("readout");
    this.shown = new Set(data.contestants);
    this.#legend();
    this.svg.addEventListener("click", (event) => this.#chosen(event));
    this.svg.addEventListener("keydown", (event) => this.#key(event));
    for (const type of ["pointerover", "focusin"]) this.svg.addEventListener(type, (event) => this.#light(event.target));
    for (const type of ["pointerleave", "focusout"]) this.svg.addEventListener(type, () => this.#light(null));
  }

  // Draw by these metrics (their positions).
  show(across, up) {
    Object.assign(this, { across, up });
    const { contestants, metrics, prompts } = this.data;
    this.points = contestants.map((name) => prompts.map((_, prompt) => {
      const [x, y] = [this.means(name, prompt, across), this.means(name, prompt, up)];
      return x === null || y === null ? null : { x, y };
    }));
    const known = this.points.filter((_, k) => this.shown.has(contestants[k])).flat().filter(Boolean);
    if (!known.length) {
      this.svg.replaceChildren(draw("text", { x: 480, y: 250, "text-anchor": "middle" }, "No prompt has both metrics."));
      return;
    }
    const [right, bottom] = [FRAME.width - FRAME.right, FRAME.height - FRAME.bottom];
    const x = axis(known.map((point) => point.x), metrics[across].better === "lower", FRAME.left, right);
    const y = axis(known.map((point) => point.y), metrics[up].better === "lower", bottom, FRAME.top);
    for (const point of this.points.flat().filter(Boolean)) [point.cx, point.cy] = [x.place(point.x), y.place(point.y)];
    this.groups = prompts.map((_, prompt) => this.#group(prompt));
    this.svg.replaceChildren(...this.#grid(x, y, right, bottom), ...this.groups, ...this.#middles(x, y));
    contestants.forEach((_, k) => this.svg.querySelector(`[data-k="${k}"]`)?.setAttribute("tabindex", "0"));
  }

  #legend() {
    const row = document.getElementById("legend");
    this.data.contestants.forEach((name, k) => {
      const shape = draw("svg", { viewBox: "-8 -8 16 16", width: 16, height: 16, "aria-hidden": "true" }, draw("path", { d: SHAPES[k % SHAPES.length] }));
      const button = make("button", { type: "button", className: "chip", "aria-pressed": "true" }, shape, name);
      button.style.setProperty("--who", this.colour[name]);
      button.addEventListener("click", () => {
        if (!this.shown.delete(name)) this.shown.add(name);
        button.setAttribute("aria-pressed", String(this.shown.has(name)));
        this.show(this.across, this.up);
      });
      row.append(button);
    });
  }

  #grid(x, y, right, bottom) {
    const { metrics } = this.data;
    const label = (metric) => metric.title + { higher: ": higher is better", lower: ": lower is better", neither: "" }[metric.better];
    return [
      ...x.ticks.flatMap(([at, words]) => [
        draw("line", { class: "grid", x1: at, x2: at, y1: FRAME.top, y2: bottom }),
        draw("text", { x: at, y: bottom + 18, "text-anchor": "middle" }, words),
      ]),
      ...y.ticks.flatMap(([at, words]) => [
        draw("line", { class: "grid", x1: FRAME.left, x2: right, y1: at, y2: at }),
        draw("text", { x: FRAME.left - 8, y: at + 4, "text-anchor": "end" }, words),
      ]),
      draw("text", { class: "title", x: right, y: FRAME.height - 6, "text-anchor": "end" }, `${label(metrics[this.across])} →`),
      draw("text", { class: "title", x: -FRAME.top, y: 14, "text-anchor": "end", transform: "rotate(-90)" }, `${label(metrics[this.up])} →`),
    ];
  }

  #group(prompt) {
    const { contestants, baseline } = this.data, base = this.points[contestants.indexOf(baseline)][prompt];
    const group = draw("g", { "data-prompt": prompt });
    const visible = contestants.map((name, k) => [name, k]).filter(([name, k]) => this.shown.has(name) && this.points[k][prompt]);
    for (const [name, k] of visible) {
      const point = this.points[k][prompt];
      if (name === baseline || !base || !this.shown.has(baseline)) continue;
      group.append(draw("line", { class: "move", x1: base.cx, y1: base.cy, x2: point.cx, y2: point.cy, style: `--who: ${this.colour[name]}` }));
    }
    for (const [name, k] of visible) {
      const { cx, cy } = this.points[k][prompt];
      group.append(draw("path", {
        class: "dot", d: SHAPES[k % SHAPES.length], transform: `translate(${cx.toFixed(1)} ${cy.toFixed(1)})`,
        style: `--who: ${this.colour[name]}`, "data-k": k, tabindex: -1, role: "button", "aria-label": this.#told(name, k, prompt),
      }));
    }
    return group;
  }

  #told(name, k, prompt) {
    const { metrics, prompts } = this.data, { x, y } = this.points[k][prompt];
    return `${name}: ${metrics[this.across].title} ${text(x)}, ${metrics[this.up].title} ${text(y)}. ${prompts[prompt]}`;
  }

  // Means over the prompts that have both, and bold lines from the baseline's.
  #middles(x, y) {
    const { contestants, baseline } = this.data;
    const middle = (k) => {
      const known = this.points[k].filter(Boolean);
      const mean = (key) => known.reduce((sum, point) => sum + point[key], 0) / known.length;
      return known.length && this.shown.has(contestants[k]) ? [x.place(mean("x")), y.place(mean("y"))] : null;
    };
    const all = contestants.map((_, k) => middle(k)), base = all[contestants.indexOf(baseline)];
    const style = (k) => `--who: ${this.colour[contestants[k]]}`;
    const lines = all.map((at, k) => at && base && at !== base &&
      draw("line", { class: "lead", x1: base[0], y1: base[1], x2: at[0], y2: at[1], style: style(k) }));
    const marks = all.map((at, k) => at &&
      draw("path", { class: "middle", d: SHAPES[k % SHAPES.length], transform: `translate(${at[0]} ${at[1]}) scale(2.1)`, style: style(k) }));
    return [...lines, ...marks].filter(Boolean);
  }

  #chosen(event) {
    const dot = event.target.closest(".dot");
    if (!dot) return;
    dot.focus();
    this.open(Number(dot.parentNode.dataset.prompt));
  }

  #key(event) {
    const dot = event.target.closest(".dot");
    if (!dot) return;
    const moves = { ArrowRight: ["cx", 1], ArrowLeft: ["cx", -1], ArrowUp: ["cy", -1], ArrowDown: ["cy", 1] };
    if (event.key === "Enter" || event.key === " ") this.#chosen(event);
    else if (moves[event.key]) this.#neighbour(dot, ...moves[event.key])?.focus();
    else return;
    event.preventDefault();
  }

  // The contestant's next dot along one axis; it can be reached with Tab from now on.
  #neighbour(dot, along, by) {
    const k = Number(dot.dataset.k), own = this.points[k];
    const order = own.map((_, prompt) => prompt).filter((prompt) => own[prompt]).sort((one, two) => own[one][along] - own[two][along] || one - two);
    const next = order[order.indexOf(Number(dot.parentNode.dataset.prompt)) + by];
    if (next === undefined) return null;
    dot.setAttribute("tabindex", "-1");
    const found = this.groups[next].querySelector(`[data-k="${k}"]`);
    found.setAttribute("tabindex", "0");
    return found;
  }

  // Bring out the dots of one prompt, and say what they are.
  #light(target) {
    const group = target?.closest?.("[data-prompt]");
    this.svg.querySelector(".lit")?.classList.remove("lit");
    this.svg.classList.toggle("dim", Boolean(group));
    group?.classList.add("lit");
    this.readout.textContent = group ? this.#line(Number(group.dataset.prompt)) : "\u00a0";
  }

  #line(prompt) {
    const values = this.data.contestants
      .map((name, k) => [name, this.shown.has(name) && this.points[k][prompt]])
      .filter(([, point]) => point)
      .map(([name, point]) => `${name} ${text(point.x)}, ${text(point.y)}`);
    return `${this.data.prompts[prompt]} — ${values.join("; ")}`;
  }
}
