"use strict";

// Videos play while they are on screen (or under the pointer when all are paused); one switch and one speed for all.
(() => {
  const videos = [...document.querySelectorAll("video")];
  const play = document.getElementById("play");
  const visible = new Set();
  let playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  let speed = 1;
  let hovered = null;

  function update(video) {
    video.defaultPlaybackRate = video.playbackRate = speed;
    if (video === hovered || (playing && visible.has(video))) video.play().catch(() => {}); // interrupted by a pause
    else video.pause();
  }

  function updateAll() {
    if (play) {
      play.textContent = playing ? "Pause" : "Play all";
      play.setAttribute("aria-pressed", String(playing));
    }
    videos.forEach(update);
  }

  const watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) visible.add(target);
      else visible.delete(target);
      update(target);
    }
  }, { threshold: 0.25 });

  for (const video of videos) {
    video.muted = true;
    watcher.observe(video);
    video.addEventListener("pointerenter", () => { hovered = video; if (!playing) update(video); });
    video.addEventListener("pointerleave", () => { hovered = null; update(video); });
    const toggle = () => (video.paused ? video.play().catch(() => {}) : video.pause());
    video.addEventListener("click", toggle);
    video.addEventListener("keydown", (event) => {
      if (event.key !== " " && event.key !== "Enter") return;
      event.preventDefault();
      toggle();
    });
  }

  if (play) play.addEventListener("click", () => { playing = !playing; updateAll(); });
  choose("[data-speed]", (button) => { speed = Number(button.dataset.speed); updateAll(); });
  updateAll();

  // A row of buttons of which one is pressed.
  function choose(selector, chosen) {
    const buttons = [...document.querySelectorAll(selector)];
    for (const button of buttons) {
      button.addEventListener("click", () => {
        for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
        chosen(button);
      });
    }
  }

  // Timelines: the cursor follows the frame on screen; a segment's button goes to its first frame.
  function seek(video, time) {
    if (video.readyState >= HTMLMediaElement.HAVE_METADATA) { video.currentTime = time; return; }
    video.addEventListener("loadedmetadata", () => { video.currentTime = time; }, { once: true });
    video.preload = "auto";
    video.load();
  }
  for (const timeline of document.querySelectorAll(".timeline")) {
    const video = timeline.closest("figure").querySelector("video");
    const cursor = timeline.querySelector(".cursor");
    const frame = 1 / Number(timeline.dataset.fps);
    const place = (time) => {
      cursor.style.left = `${Math.min(100, (100 * (time + frame / 2)) / Number(timeline.dataset.seconds))}%`;
    };
    const still = () => Math.floor(video.currentTime / frame) * frame;
    if ("requestVideoFrameCallback" in video) {
      const follow = (_, shown) => {
        place(video.paused ? still() : shown.mediaTime);
        video.requestVideoFrameCallback(follow);
      };
      video.requestVideoFrameCallback(follow);
    } else {
      video.addEventListener("timeupdate", () => place(video.currentTime));
    }
    // A browser may leave out the callback of a frame or call it late, and after a seek no other frame follows.
    video.addEventListener("seeked", () => place(still()));
    for (const button of timeline.querySelectorAll("button")) {
      // Half a frame in: seeking to a frame's very start may show the one before.
      button.addEventListener("click", () => seek(video, (Number(button.dataset.frame) + 0.5) * frame));
    }
  }

  // Curves: the pointer reads the values of the nearest step in every panel of the same run.
  const text = (value) => (value === null ? "–" : String(value).replace("-", "−"));
  for (const data of document.querySelectorAll(".readout-data")) {
    const log = JSON.parse(data.textContent);
    const panels = [...data.closest("section").querySelectorAll(".curves")];
    const first = log.steps[0], last = Math.max(log.steps.at(-1), first + 1);
    const place = (step) => log.left + ((step - first) / (last - first)) * (log.right - log.left);
    function read(index) {
      for (const panel of panels) {
        const svg = panel.querySelector("svg"), pointer = panel.querySelector(".pointer");
        const x = index === null ? 0 : place(log.steps[index]) * svg.viewBox.baseVal.width;
        pointer.setAttribute("x1", x);
        pointer.setAttribute("x2", x);
        pointer.style.visibility = index === null ? "hidden" : "visible";
        panel.querySelector(".at").textContent = index === null ? "end" : `step ${log.steps[index]}`;
        panel.querySelectorAll("b[data-end]").forEach((value, line) => {
          value.textContent = index === null ? value.dataset.end : text(log.panels[panel.dataset.panel][line][index]);
        });
      }
    }
    for (const panel of panels) {
      const svg = panel.querySelector("svg");
      svg.addEventListener("pointerleave", () => read(null));
      svg.addEventListener("pointermove", (event) => {
        const box = svg.getBoundingClientRect();
        const share = ((event.clientX - box.left) / box.width - log.left) / (log.right - log.left);
        const wanted = first + share * (last - first);
        const nearest = (best, step, i) => (Math.abs(step - wanted) < Math.abs(log.steps[best] - wanted) ? i : best);
        read(log.steps.reduce(nearest, 0));
      });
    }
  }

  // A link to a run opens it.
  function unfold() {
    const details = document.getElementById(decodeURIComponent(location.hash.slice(1)))?.querySelector(":scope > details");
    if (details) details.open = true;
  }
  addEventListener("hashchange", unfold);
  unfold();

  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
})();
