"""A sweep as one picture, quality against drift, and as one page with its table. Nothing is loaded from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from densedpo.evaluation.choosing import Candidate
from densedpo.files import write_text_atomic
from densedpo.stats import Interval
from densedpo.svg import Dot, Line, Panel, picture

PICTURE, PAGE = "sweep.svg", "sweep.html"
MOST_NAMED = 6  # checkpoints that the legend names
HTML = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>{title}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;margin:24px auto;max-width:960px;padding:0 16px}}
svg{{max-width:100%;height:auto}}.scroll{{overflow-x:auto}}
table{{border-collapse:collapse;font-variant-numeric:tabular-nums}}th:first-child{{text-align:left}}
td,th{{padding:4px 12px;text-align:right;border-bottom:1px solid #8885;white-space:nowrap}}
.chosen{{font-weight:600}}.words{{font-size:17px}}</style></head>
<body><main><h1>{title}</h1><p class="words">{words}</p>
{picture}
<p>Each dot is a checkpoint at a scale; its line is the 95% interval of the difference from the base. Filled dots,
joined by the grey line, are on the Pareto front: no other has as little drift and as much quality. The ring marks the
suggestion.</p>
<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>
{rows}
</tbody></table></div></main></body></html>
"""


def write_page(
    folder: Path,
    run: str,
    found: Sequence[Candidate],
    chosen: Candidate | None,
    words: str,
    quality: str,
    motion: str | None,
) -> tuple[Path, Path]:
    """Write `sweep.svg` and `sweep.html`; returns both. `quality` is the metric's title."""
    drawn = draw(run, found, chosen, quality)
    head = (
        "checkpoint, scale",
        quality,
        "p (Holm)",
        f"{motion or 'motion'} kept",
        "drift",
        "motion drift",
        "got worse",
    )
    page = HTML.format(
        title=f"Sweep of {escape(run)}",
        words=escape(words),
        picture=drawn,
        head="".join(f'<th scope="col">{escape(each)}</th>' for each in head),
        rows="\n".join(_row(each, each is chosen) for each in found),
    )
    write_text_atomic(folder / PICTURE, drawn)
    write_text_atomic(folder / PAGE, page)
    return folder / PICTURE, folder / PAGE


def draw(run: str, found: Sequence[Candidate], chosen: Candidate | None, quality: str) -> str:
    """The picture: drift to the right, quality upwards. A candidate without a value is left out."""
    steps = sorted({each.step for each in found})
    known = [each for each in found if math.isfinite(each.quality.mean) and math.isfinite(each.drift.mean)]
    dots = [Dot(0.0, 0.0, "base", "the base model", tone=None)]
    for each in known:
        limits = (each.quality.low, each.quality.high)
        low, high = limits if all(map(math.isfinite, limits)) else (None, None)
        kept = {True: "motion kept", False: "motion not shown to be kept", None: "motion not measured"}
        hint = f"{_name(each)}: {signed(each.quality)}, drift {each.drift.mean:.1%}, {kept[each.keeps_motion]}"
        tone, beside = steps.index(each.step), f"×{each.scale:g}"
        dots.append(
            Dot(100 * each.drift.mean, each.quality.mean, beside, hint, tone, low, high, each.front, each is chosen)
        )
    front = sorted((100 * each.drift.mean, each.quality.mean) for each in known if each.front)
    named = [(f"step {step}", tone) for tone, step in enumerate(steps)][:MOST_NAMED]
    panel = Panel(
        title=f"{quality}: difference from the base",
        hint="against drift on unrelated prompts; beside the dots: scale; filled: on the Pareto front",
        lines=[Line("front", [(0.0, 0.0), *front], None, faint=True)],
        dots=dots,
        x_name="drift, % of the base's prediction",
        reference=0.0,
        legend=named,
    )
    return picture(f"Sweep of {run}: quality against drift", [panel], columns=1, width=760, height=420)


def signed(interval: Interval) -> str:
    """`+0.021 (+0.008 to +0.034)`; a dash where it is unknown."""
    if not math.isfinite(interval.mean):
        return "–"
    limits = f" ({interval.low:+.3g} to {interval.high:+.3g})" if math.isfinite(interval.low) else ""
    return f"{interval.mean:+.3g}{limits}"


def _name(each: Candidate) -> str:
    return f"step {each.step} ×{each.scale:g}"


def _row(each: Candidate, chosen: bool) -> str:
    motion = "–" if each.motion is None else f"{each.motion:.0%}{'' if each.keeps_motion else ', not shown'}"
    moved = "–" if each.motion_drift is None else f"{each.motion_drift.mean:+.1%}"
    p = f"{each.p_holm:.2g}" if math.isfinite(each.p_holm) else "–"
    fell = ", ".join(each.fell) or "–"
    cells = (signed(each.quality), p, motion, f"{each.drift.mean:.1%}", moved, fell)
    mark = ' class="chosen"' if chosen else ""
    return (
        f'<tr{mark}><th scope="row">{_name(each)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
    )
