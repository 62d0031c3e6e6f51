// How long the question in view has been looked at; and, where the lead asks for that, how much longer one must look.

export class Look {
  constructor(bar) {
    this.bar = bar;
    this.minimum = 0;
    this.begin(0);
    document.addEventListener("visibilitychange", () => {
      this.spent = this.elapsed;
      this.since = document.hidden ? null : performance.now();
    });
    setInterval(() => this.show(), 100);
  }

  // Another question: `minimum` seconds must pass before a choice counts.
  begin(minimum) {
    this.minimum = 1000 * minimum;
    this.spent = 0;
    this.since = document.hidden ? null : performance.now();
    this.show();
  }

  get elapsed() {
    return this.spent + (this.since === null ? 0 : performance.now() - this.since);
  }

  get enough() {
    return this.elapsed >= this.minimum;
  }

  show() {
    this.bar.hidden = this.enough;
    if (this.enough) return;
    this.bar.firstElementChild.style.width = `${(100 * this.elapsed) / this.minimum}%`;
    this.bar.lastElementChild.textContent = `look for ${Math.ceil((this.minimum - this.elapsed) / 1000)} s more`;
  }
}
