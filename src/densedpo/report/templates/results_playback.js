"use strict";

// Several videos played as one. While they play, those ahead of the first are slowed a little and those behind hurried;
// whenever they start, stop, step or loop, all stand on the same moment: the middle of a frame, never an edge.
class Reel extends EventTarget {
  static NEAR = 0.25; // of a frame: not worth a correction
  static FAR = 0.5; // seconds: too much to catch up with by speed

  // `videos`: elements with `src`, nothing loaded yet; `fps`: of the fastest; `frames`: of the longest, at that rate.
  constructor(videos, fps, frames) {
    super();
    Object.assign(this, { videos, fps, frames, speed: 1, loop: true, playing: false, closed: false, target: null });
    this.loaded = Promise.all(videos.map((video) => this.#load(video)));
    this.ready = this.seek(0);
  }

  get alive() {
    return this.videos.filter((video) => !video.error && video.readyState >= HTMLMediaElement.HAVE_METADATA);
  }

  // The one that the others follow: of those that last longest, the first.
  get leader() {
    return this.alive.reduce((best, video) => (best && best.duration >= video.duration - 0.01 ? best : video), null);
  }

  // What is on screen, or will be as soon as all have found it.
  get frame() {
    if (this.target !== null) return this.target;
    return Math.min(this.frames - 1, Math.floor((this.leader?.currentTime ?? 0) * this.fps + 1e-3));
  }

  play() {
    if (this.playing) return Promise.resolve();
    this.playing = true;
    return this.seek(this.frame < this.frames - 1 ? this.frame : 0);
  }

  pause() {
    this.playing = false;
    return this.seek(this.frame);
  }

  step(by) {
    this.playing = false;
    return this.seek((this.frame + by + this.frames) % this.frames);
  }

  // All to this frame; they go on from there if they were playing. Resolves when all show it.
  async seek(frame) {
    const turn = (this.turn = {});
    for (const video of this.videos) video.pause();
    this.target = Math.min(this.frames - 1, Math.max(0, frame));
    this.#tell();
    await this.loaded;
    if (turn === this.turn) await Promise.all(this.alive.map((video) => this.#move(video, this.target)));
    if (turn === this.turn && this.playing) this.#start(turn);
    this.#tell();
  }

  setSpeed(speed) {
    this.speed = speed;
    for (const video of this.videos) video.playbackRate = speed;
    this.#tell();
  }

  setLoop(loop) {
    this.loop = loop;
    this.#tell();
  }

  // Stop, and let go of the files.
  close() {
    this.closed = true;
    this.playing = false;
    this.turn = null;
    for (const video of this.videos) {
      video.pause();
      video.removeAttribute("src");
      video.load();
    }
  }

  #load(video) {
    const loaded = this.#first(video, ["loadeddata", "error"]);
    video.preload = "auto";
    video.load();
    return loaded;
  }

  async #move(video, frame) {
    // A shorter one keeps its last frame.
    const time = Math.min((frame + 0.5) / this.fps, Math.max(0, video.duration - 0.5 / this.fps));
    if (Math.abs(video.currentTime - time) > 1e-4) video.currentTime = time;
    if (video.seeking) await this.#first(video, ["seeked", "error", "emptied"]);
    if (video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) await this.#first(video, ["canplay", "error", "emptied"]);
  }

  #first(video, events) {
    return new Promise((resolve) => {
      const done = () => {
        for (const event of events) video.removeEventListener(event, done);
        resolve();
      };
      for (const event of events) video.addEventListener(event, done);
    });
  }

  #start(turn) {
    this.target = null;
    for (const video of this.alive) {
      video.playbackRate = this.speed;
      video.play().catch(() => {}); // a pause came in between
    }
    this.#follow(turn);
  }

  #follow(turn) {
    if (turn !== this.turn) return;
    const leader = this.leader;
    if (!leader || leader.ended) {
      this.playing = this.loop && leader !== null;
      this.seek(this.playing ? 0 : this.frames - 1);
      return;
    }
    for (const video of this.alive) {
      if (video === leader || video.ended) continue;
      const ahead = video.currentTime - leader.currentTime;
      if (Math.abs(ahead) > Reel.FAR) video.currentTime = leader.currentTime;
      const correction = Math.abs(ahead) * this.fps < Reel.NEAR ? 0 : Math.max(-0.25, Math.min(0.25, 4 * ahead));
      const rate = this.speed * (1 - correction);
      if (Math.abs(video.playbackRate - rate) > 0.01) video.playbackRate = rate;
    }
    this.#tell();
    requestAnimationFrame(() => this.#follow(turn));
  }

  #tell() {
    if (!this.closed) this.dispatchEvent(new Event("change"));
  }
}
