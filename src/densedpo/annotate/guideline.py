"""The lead's guideline: Markdown, shown without HTML of its own, with the pictures and videos that lie beside it."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

from densedpo.errors import UserError

DEFAULT = Path(__file__).with_name("default_guideline.md")
PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp")
VIDEOS = (".mp4", ".webm")


@dataclass(frozen=True)
class Guideline:
    """Safe HTML, and the files that it shows: the n-th is served as `/guideline/n`."""

    html: str
    files: tuple[Path, ...]


def read_guideline(file: Path | None) -> Guideline:
    """The guideline in a Markdown file; ours if none is given.

    Raises UserError if it cannot be read, or shows a file that does not lie beside it or is neither picture nor video.
    """
    file = file or DEFAULT
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the guideline {file} cannot be read: {error}") from None
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(text)
    files: list[Path] = []
    for token in tokens:
        for child in token.children or []:
            if child.type == "image":
                files.append(_beside(file, str(child.attrs["src"])))
                _show(child, f"/guideline/{len(files) - 1}", files[-1].suffix.lower() in VIDEOS)
    return Guideline(markdown.renderer.render(tokens, markdown.options, {}), tuple(files))


def _show(image: Token, address: str, video: bool) -> None:
    """Point an image at where its file is served; a video becomes a player."""
    image.attrs["src"] = address
    if video:
        name = html.escape(image.content or "Example", quote=True)
        image.type, image.children = "html_inline", None
        image.content = f'<video src="{address}" aria-label="{name}" controls loop muted playsinline></video>'


def _beside(file: Path, source: str) -> Path:
    folder = file.parent.resolve()
    path = (folder / unquote(source)).resolve()
    if ":" in source or not path.is_relative_to(folder) or not path.is_file():
        raise UserError(f"the guideline {file} shows {source}, which is no file beside it; put it there")
    if path.suffix.lower() not in (*PICTURES, *VIDEOS):
        raise UserError(f"the guideline {file} shows {source}; only {', '.join((*PICTURES, *VIDEOS))} can be shown")
    return path
