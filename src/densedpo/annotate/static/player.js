// One hidden <video> holds all sides of a comparison, next to each other. What it shows is copied once, and all canvases
// are painted from that copy: the sides cannot drift. Left of each side the file bears the frame's number as black and
// white cells, so the player knows which frame it holds and never paints one outside the loop, whatever the browser
// says about time.

const BITS = 16, CELL = 8; // as densedpo.video.player writes them

export class Player extends EventTarget {
  static exact = "requestVideoFrameCallback" in HTMLVideoElement.prototype;

  // `canvases`: one for each side, from left to right; `difference` and `wipe`: one canvas each that shows both sides.
  constructor(video, canvases, { difference = null, wipe = null } = {}) {
    super();
    this.video = video;
    this.canvases = canvases;
    this.difference = difference;
    this.wipe = wipe;
    this.divider = 0.5;
    this.zoom = { factor: 1, x: 0.5, y: 0.5 };
    this.rate = 1;
    this.playing = false;
    this.frame = null;
    video.addEventListener("seeked", () => this.#look(false));
    video.addEventListener("loadeddata", () => this.#look(false));
    video.addEventListener("ended", () => this.playing && this.#turn());
    video.addEventListener("error", () => this.dispatchEvent(new Event("broken")));
    this.#listen();
  }

  // `shape`: fps, frames, and the width, height and strip of the file's sides; `swap` shows them in the other order.
  load(url, shape, swap = false) {
    this.shape = shape;
    this.order = this.canvases.map((_, side) => (swap ? this.canvases.length - 1 - side : side));
    this.frame = this.target = null;
    this.first = 0;
    this.end = shape.frames;
    const width = this.canvases.length * (shape.strip + shape.width);
    this.fresh = scratch(width, shape.height);
    this.shown = scratch(width, shape.height);
    for (const canvas of [...this.canvases, this.difference, this.wipe]) {
      if (canvas) Object.assign(canvas, { width: shape.width, height: shape.height });
    }
    this.video.src = url;
    this.speed(this.rate);
  }

  // Keep to the frames from `first` up to, not including, `end`, beginning with `start`.
  loop(first, end, start = first) {
    this.first = first;
    this.end = end;
    this.seek(start);
  }

  play() {
    this.playing = true;
    this.video.play().catch(() => {}); // a pause or another pair came in between
    this.dispatchEvent(new Event("state"));
  }

  pause() {
    this.playing = false;
    clearTimeout(this.timer);
    this.video.pause();
    this.dispatchEvent(new Event("state"));
  }

  step(by) {
    this.pause();
    const length = this.end - this.first;
    const from = (this.target ?? this.frame ?? this.first) - this.first;
    this.seek(this.first + ((from + by + length) % length));
  }

  seek(frame) {
    clearTimeout(this.timer);
    this.target = frame;
    this.video.currentTime = (frame + 0.5) / this.shape.fps; // the middle of a frame, never an edge
  }

  speed(rate) {
    this.rate = rate;
    this.video.defaultPlaybackRate = this.video.playbackRate = rate;
    this.dispatchEvent(new Event("state"));
  }

  // Show the part of the picture around (x, y), both from 0 to 1, `factor` times as large.
  look(factor, x = this.zoom.x, y = this.zoom.y) {
    const half = 0.5 / factor;
    const within = (value) => Math.min(1 - half, Math.max(half, value));
    this.zoom = { factor, x: within(x), y: within(y) };
    if (this.frame !== null) this.#paint();
  }

  // In the wipe: the left video up to `share` of the width, the right one from there.
  divide(share) {
    this.divider = Math.min(1, Math.max(0, share));
    if (this.frame !== null) this.#paint();
  }

  #listen() {
    const again = () => {
      this.#look(true);
      this.#listen();
    };
    if (Player.exact) this.video.requestVideoFrameCallback(again);
    else requestAnimationFrame(again);
  }

  // Copy what the video shows; paint it if it is a frame of the loop. `presented`: the browser says it is a new frame.
  #look(presented) {
    if (!this.shape || this.video.readyState < 2) return;
    this.fresh.drawImage(this.video, 0, 0);
    const frame = this.#number();
    if (frame === null) return;
    if (frame < this.first || frame >= this.end) {
      if (presented && this.playing && !this.video.seeking) this.#turn();
      return;
    }
    if (!Player.exact && frame === this.frame) return;
    [this.fresh, this.shown] = [this.shown, this.fresh];
    this.frame = frame;
    if (frame === this.target) this.target = null;
    this.#paint();
    this.dispatchEvent(new CustomEvent("painted", { detail: frame }));
    if (this.playing && frame === this.end - 1 && !this.video.seeking) {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.playing && this.#turn(), 1000 / this.shape.fps / this.rate);
    }
  }

  #turn() {
    this.dispatchEvent(new Event("turn"));
    this.seek(this.first);
    if (this.video.paused) this.play();
  }

  // The number in the strip of the fresh copy; null if there is none (its cells must hold an odd number of white ones).
  #number() {
    const { data } = this.fresh.getImageData(this.shape.strip / 2, 0, 1, (BITS + 1) * CELL);
    let frame = 0, white = 0;
    for (let cell = 0; cell <= BITS; cell++) {
      if (data[4 * (cell * CELL + CELL / 2)] < 128) continue;
      white++;
      if (cell < BITS) frame |= 1 << cell;
    }
    return white % 2 ? frame : null;
  }

  #paint() {
    this.canvases.forEach((canvas, index) => this.#side(canvas, index, "source-over"));
    if (this.difference && !this.difference.closest("[hidden]")) {
      this.#side(this.difference, 0, "source-over");
      this.#side(this.difference, 1, "difference");
    }
    if (this.wipe && !this.wipe.closest("[hidden]")) this.#paintWipe();
  }

  #paintWipe() {
    const context = this.wipe.getContext("2d", { alpha: false }), { width, height } = this.wipe;
    const x = Math.round(this.divider * width);
    this.#side(this.wipe, 0, "source-over");
    context.save();
    context.beginPath();
    context.rect(x, 0, width - x, height);
    context.clip();
    this.#side(this.wipe, 1, "source-over");
    context.restore();
    context.fillStyle = "#000";
    context.fillRect(x - 2, 0, 4, height);
    context.fillStyle = "#fff";
    context.fillRect(x - 1, 0, 2, height);
  }

  #side(canvas, index, operation) {
    const { width, height, strip } = this.shape, { factor, x, y } = this.zoom;
    const [w, h] = [width / factor, height / factor];
    const left = strip + this.order[index] * (width + strip) + x * width - w / 2;
    const context = canvas.getContext("2d", { alpha: false });
    context.imageSmoothingEnabled = factor === 1;
    context.globalCompositeOperation = operation;
    context.drawImage(this.shown.canvas, left, y * height - h / 2, w, h, 0, 0, width, height);
  }
}

function scratch(width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  return canvas.getContext("2d", { alpha: false, willReadFrequently: true });
}
