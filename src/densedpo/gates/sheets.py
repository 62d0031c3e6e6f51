"""Sample sheets: rows of frames with words beside them, so that the numbers can be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from densedpo.files import disk_full_is_clear, put_in_place, temporary_beside
from densedpo.gates.arrays import Verdicts
from densedpo.gates.rows import Measured
from densedpo.gates.samples import Guides, Take

SCALE, COLUMNS, GAP = 3, 7, 6
LABEL_WIDTH, HEADING_HEIGHT, FONT_SIZE = 150, 26, 15
PAPER, INK, FAINT = (236, 236, 232), (20, 20, 20), (95, 95, 95)
GROUPS = 5  # captions on a sheet


@dataclass(frozen=True)
class Strip:
    """One clip of a sheet, and what stands left of it."""

    label: str
    frames: NDArray[np.uint8]


def write_sheets(measured: Measured, guides: Guides, out: Path) -> None:
    """Write `samples.png`, `reconstructions.png`, `slow-fast.png` and `guided-pairs.png` into the folder `out`.

    Raises UserError when the disk is full.
    """
    out.mkdir(parents=True, exist_ok=True)
    pages = {
        "samples": [
            (row[0].caption, [_strip(f"seed {i}", each) for i, each in enumerate(row[:3])])
            for row in measured.base[:GROUPS]
        ],
        "reconstructions": [
            (real[0].caption, [_strip("real", real[0]), _strip("through the\nautoencoder", again[0])])
            for real, again in zip(measured.real[:GROUPS], measured.reconstructed, strict=False)
        ],
        "slow-fast": [(row[0].caption, _slow_and_fast(row)) for row in measured.base[:GROUPS]],
        "guided-pairs": [_guided(measured, guides, row) for row in range(min(GROUPS, len(measured.guided)))],
    }
    for name, groups in pages.items():
        target = out / f"{name}.png"
        temporary = temporary_beside(target)
        with disk_full_is_clear(target):
            draw_sheet(groups).save(temporary, format="PNG")
            put_in_place(temporary, target)


def draw_sheet(groups: Sequence[tuple[str, Sequence[Strip]]]) -> Image.Image:
    """Groups of clips under a heading each; time runs to the right, pixels are enlarged three times."""
    height, width = (SCALE * side + GAP for side in groups[0][1][0].frames.shape[1:3])
    strips = sum(len(group) for _, group in groups)
    size = (LABEL_WIDTH + COLUMNS * width + GAP, len(groups) * (HEADING_HEIGHT + GAP) + strips * height + GAP)
    sheet, font = Image.new("RGB", size, PAPER), ImageFont.load_default(FONT_SIZE)
    draw, top = ImageDraw.Draw(sheet), GAP
    for heading, group in groups:
        draw.text((GAP + 2, top + 4), heading, fill=INK, font=font)
        top += HEADING_HEIGHT
        for strip in group:
            draw.multiline_text((GAP + 2, top + 4), strip.label, fill=FAINT, font=font, spacing=5)
            for column, frame in enumerate(np.linspace(0, len(strip.frames) - 1, COLUMNS).round().astype(int)):
                picture = Image.fromarray(strip.frames[frame]).resize(
                    (width - GAP, height - GAP), Image.Resampling.NEAREST
                )
                sheet.paste(picture, (LABEL_WIDTH + column * width, top))
            top += height
        top += GAP
    return sheet


def _strip(name: str, take: Take) -> Strip:
    scores = take.scores.whole
    return Strip(f"{name}\nquality {scores.visual_quality:.2f}\n{scores.dynamic_degree:.1f} px/frame", take.frames)


def _slow_and_fast(row: Sequence[Take]) -> list[Strip]:
    by_speed = sorted(row, key=lambda each: each.scores.whole.dynamic_degree)
    return [_strip("slowest", by_speed[0]), _strip("fastest", by_speed[-1])]


def _guided(measured: Measured, guides: Guides, row: int) -> tuple[str, list[Strip]]:
    a, b = measured.guided[row][:2]
    preferred = _in_words(measured.guided_verdicts, row)
    heading = f"{guides.captions[row]}   (eta {guides.etas[row]:.2f}; better, second by second: {preferred})"
    return heading, [Strip("real clip", guides.frames[row]), _strip("a", a), _strip("b", b)]


def _in_words(judged: Verdicts, row: int) -> str:
    return " ".join({1: "a", -1: "b", 0: "tie"}[int(sign)] for sign in judged.segments_PKKS[row, 0, 1])
