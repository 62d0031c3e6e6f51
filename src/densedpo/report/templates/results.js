"use strict";

// The prompts: by two metrics as dots, the largest gains and losses by one, and all of them as a list.
(() => {
  const block = document.getElementById("clip-data");
  if (!block) return;
  const data = JSON.parse(block.textContent);
  const at = (name) => document.getElementById(name);
  const others = data.contestants.filter((name) => name !== data.baseline);
  const colour = Object.fromEntries(data.contestants.map((name, k) => [name, `var(--k${k % 6})`]));
  const SHOWN = 5; // largest gains, and losses

  const shotsOf = data.prompts.map(() => []);
  data.shots.forEach(([prompt], index) => shotsOf[prompt].push(index));

  // Mean over seeds of what `of(shot)` gives for a prompt; null if it gives nothing.
  function mean(prompt, of, seed = null) {
    const values = shotsOf[prompt].filter((shot) => seed === null || data.shots[shot][2] === seed).map(of)
      .filter((value) => value !== null && value !== undefined);
    return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
  }
  const score = (name, shot, metric) => data.scores[name][shot]?.[metric] ?? null;
  const means = (name, prompt, metric) => mean(prompt, (shot) => score(name, shot, metric));

  function fill(select, options, value) {
    select.replaceChildren(...options.map(([key, words]) => make("option", { value: key }, words)));
    select.value = value;
  }
  const metricOptions = data.metrics.map((metric, index) => [index, metric.title]);
  const first = (...wanted) => {
    for (const each of wanted) {
      const found = data.metrics.findIndex(each);
      if (found >= 0) return found;
    }
    return 0;
  };
  const directed = (metric) => metric.better !== "neither";
  const quality = first((m) => directed(m) && m.aspect === "quality", (m) => directed(m) && m.aspect !== "motion", directed);
  const motion = first((m) => m.name === "motion_strength", (m) => m.amount);

  const viewer = new Viewer(data, colour);
  const state = { order: [] };
  const open = (prompt) => viewer.open(prompt, state.order.includes(prompt) ? state.order : data.prompts.map((_, p) => p), seedChosen());
  const seedChosen = () => (at("seed").value === "" ? null : Number(at("seed").value));

  for (const section of ["motion-against-quality", "browser"]) at(section).hidden = false;
  const scatter = new Scatter(data, colour, means, open);
  fill(at("across"), metricOptions, motion);
  fill(at("up"), metricOptions, quality);
  fill(at("metric"), metricOptions, quality);
  fill(at("against"), (others.length ? others : data.contestants).map((name) => [name, name]), others[0] ?? data.baseline);
  const seeds = [...new Set(data.shots.map((shot) => shot[2]))].sort((one, two) => one - two);
  fill(at("seed"), [["", "mean of all"], ...seeds.map((seed) => [seed, `seed ${seed}`])], "");

  // What the list shows of every prompt: base, other and their difference; `gain` is positive where other is better.
  function compare() {
    const metric = Number(at("metric").value), other = at("against").value, seed = seedChosen();
    const sign = data.metrics[metric].better === "lower" ? -1 : 1;
    return data.prompts.map((_, prompt) => {
      const paired = (shot) => score(data.baseline, shot, metric) !== null && score(other, shot, metric) !== null;
      const value = (name, shot) => (paired(shot) ? score(name, shot, metric) : null);
      const base = mean(prompt, (shot) => value(data.baseline, shot), seed);
      const tuned = mean(prompt, (shot) => value(other, shot), seed);
      const difference = base === null ? null : tuned - base;
      return { prompt, base, tuned, difference, gain: difference === null ? null : sign * difference };
    });
  }

  const ORDERS = {
    gain: (one, two) => (two.gain ?? -Infinity) - (one.gain ?? -Infinity) || one.prompt - two.prompt,
    loss: (one, two) => (one.gain ?? Infinity) - (two.gain ?? Infinity) || one.prompt - two.prompt,
    prompt: (one, two) => one.prompt - two.prompt,
  };

  // One row, with the difference as a bar from the middle; `largest` fills half of its track.
  function row(each, metric, largest) {
    const bar = make("span", { className: `bar-track ${tone(metric, each.difference)}` });
    if (each.difference) {
      const fillBar = make("i");
      const width = (50 * Math.abs(each.gain)) / largest;
      fillBar.style.cssText = `width: ${width}%; left: ${each.gain > 0 ? 50 : 50 - width}%`;
      bar.append(fillBar);
    }
    const value = (number, signed) => make("span", { className: "value" }, text(number, signed));
    const button = make("button", { type: "button" }, make("span", { className: "words" }, data.prompts[each.prompt]),
      value(each.base), value(each.tuned), make("span", { className: "value signed" }, text(each.difference, true)), bar);
    button.addEventListener("click", () => open(each.prompt));
    return make("li", {}, button);
  }

  function showList() {
    const metric = data.metrics[Number(at("metric").value)], found = compare();
    const largest = Math.max(...found.map((each) => Math.abs(each.gain ?? 0))) || 1;
    const words = directed(metric) ? ["Largest gain", "Largest loss"] : ["Largest rise", "Largest fall"];
    const before = at("order").value || "gain";
    fill(at("order"), [["gain", `${words[0]} first`], ["loss", `${words[1]} first`], ["prompt", "By number"]], before);
    [at("best-title").textContent, at("worst-title").textContent] = words;
    at("head-base").textContent = data.baseline;
    at("head-other").textContent = at("against").value;
    const known = [...found].sort(ORDERS.gain).filter((each) => each.gain !== null);
    const ends = { best: known.filter((each) => each.gain > 0).slice(0, SHOWN), worst: known.filter((each) => each.gain < 0).slice(-SHOWN).reverse() };
    for (const [name, rows] of Object.entries(ends)) {
      at(name).replaceChildren(...rows.map((each) => row(each, metric, largest)));
      if (!rows.length) at(name).append(make("li", { className: "nothing" }, "No prompt."));
    }
    state.rows = found.sort(ORDERS[before]).map((each) => ({ prompt: each.prompt, element: row(each, metric, largest) }));
    at("rows").replaceChildren(...state.rows.map((each) => each.element));
    showFiltered();
  }

  function showFiltered() {
    const words = at("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    state.order = [];
    for (const { prompt, element } of state.rows) {
      const wanted = words.every((word) => data.prompts[prompt].toLowerCase().includes(word));
      element.hidden = !wanted;
      if (wanted) state.order.push(prompt);
    }
    at("count").textContent = `${state.order.length.toLocaleString("en")} of ${data.prompts.length.toLocaleString("en")} prompts`;
  }

  const showScatter = () => scatter.show(Number(at("across").value), Number(at("up").value));
  for (const name of ["across", "up"]) at(name).addEventListener("change", showScatter);
  for (const name of ["metric", "against", "seed", "order"]) at(name).addEventListener("change", showList);
  at("filter").addEventListener("input", showFiltered);
  showScatter();
  showList();
  document.documentElement.dataset.ready = "results"; // for whoever waits: everything on the page answers now
  addEventListener("beforeprint", () => { for (const details of document.querySelectorAll("details")) details.open = true; });
})();
