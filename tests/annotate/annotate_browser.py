"""The application behind a real port, and a page in a real Chromium."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import uvicorn

from densedpo.annotate.app import create_app
from densedpo.annotate.settings import AnnotateSettings
from densedpo.store.project import Project

# The number that a canvas bears, as annotate_projects.py burns it in.
READ = """
(id) => {
  const canvas = document.querySelector(id), unit = canvas.width / 48, context = canvas.getContext("2d");
  let number = 0;
  for (let bit = 0; bit < 6; bit++) {
    const [red, green, blue] = context.getImageData((bit * 8 + 4) * unit, 4 * unit, 1, 1).data;
    if (red + green + blue > 384) number |= 1 << bit;
  }
  return number;
}
"""
# Notes of every painted frame: what both canvases bear, what the page says, and the loop that the page shows as chosen.
WATCH = f"""
() => {{
  const read = {READ};
  const label = document.querySelector("#frame"), whole = document.querySelector("[data-do=whole]");
  const segments = [0, 12, 24, 36, 49];
  window.painted = [];
  new MutationObserver(() => {{
    const cell = document.querySelector("#timeline [aria-current=true] span");
    const current = parseInt(cell.textContent) - 1;
    const loop = whole.getAttribute("aria-pressed") === "true" ? [0, 49] : [segments[current], segments[current + 1]];
    window.painted.push([read("#left"), read("#right"), parseInt(label.textContent.slice(6)), ...loop]);
  }}).observe(label, {{ childList: true }});
}}
"""


@contextlib.contextmanager
def served(project: Project, **settings: object) -> Iterator[str]:
    """The address of the application, as long as the block runs."""
    app = create_app(project, AnnotateSettings(**settings))  # type: ignore[arg-type]
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=120)
        listening.close()
