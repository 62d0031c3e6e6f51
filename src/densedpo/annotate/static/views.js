// How the two videos are shown: beside each other, as their difference, or as a wipe from one to the other; and zoomed.

const find = (selector) => document.querySelector(selector);
const ZOOMS = [1, 2, 4];

export class Views {
  constructor(player) {
    this.player = player;
    this.view = "sides";
    find("#screens").addEventListener("pointermove", (event) => {
      const canvas = event.target.closest("canvas");
      if (!canvas) return;
      const [x, y] = [event.offsetX / canvas.clientWidth, event.offsetY / canvas.clientHeight];
      if (player.zoom.factor > 1) player.look(player.zoom.factor, x, y);
      else if (this.view === "wipe") player.divide(x);
    });
  }

  // Show that view, or both sides again if it is shown already.
  toggle(view) {
    this.view = this.view === view ? "sides" : view;
    find("#work").dataset.view = this.view;
    for (const figure of document.querySelectorAll("#screens figure")) figure.hidden = figure.dataset.view !== this.view;
    find("[data-do=view]").setAttribute("aria-pressed", this.view === "difference");
    find("[data-do=wipe]").setAttribute("aria-pressed", this.view === "wipe");
    this.player.look(this.player.zoom.factor);
  }

  zoom() {
    this.zoomTo(ZOOMS[(ZOOMS.indexOf(this.player.zoom.factor) + 1) % ZOOMS.length]);
  }

  zoomTo(factor) {
    this.player.look(factor, 0.5, 0.5);
    find("#zoom").firstChild.textContent = `Zoom ${factor}× `;
    find("#zoom").setAttribute("aria-pressed", factor > 1);
  }

  pan(key) {
    const { factor, x, y } = this.player.zoom;
    const right = (key === "ArrowRight") - (key === "ArrowLeft"), down = (key === "ArrowDown") - (key === "ArrowUp");
    if (factor > 1) this.player.look(factor, x + (0.1 / factor) * right, y + (0.1 / factor) * down);
    else if (this.view === "wipe") this.player.divide(this.player.divider + 0.05 * right);
  }
}
