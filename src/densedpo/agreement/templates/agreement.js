"use strict";
// A click on a video plays or pauses it; a click on a segment plays that segment over and over.
for (const card of document.querySelectorAll(".cards figure")) {
  const video = card.querySelector("video");
  if (!video) continue;
  let loop = null;
  const play = () => video.play().catch(() => {}); // interrupted by a pause
  video.addEventListener("click", () => (video.paused ? play() : video.pause()));
  // Looked at before every repaint: `timeupdate` comes four times a second, a quarter of a segment late.
  const follow = () => {
    if (video.paused) return;
    const outside = loop && (video.currentTime >= loop.end || video.currentTime < loop.start);
    if (outside && !video.seeking) video.currentTime = loop.start;
    requestAnimationFrame(follow);
  };
  video.addEventListener("play", () => requestAnimationFrame(follow));
  for (const button of card.querySelectorAll("button[data-start]")) {
    button.addEventListener("click", () => {
      loop = { start: Number(button.dataset.start), end: Number(button.dataset.end) };
      const begin = () => { video.currentTime = loop.start; play(); };
      if (video.readyState >= HTMLMediaElement.HAVE_METADATA) begin();
      else { video.addEventListener("loadedmetadata", begin, { once: true }); video.preload = "auto"; video.load(); }
    });
  }
}
