"""Small charts as SVG: lines, and dots with intervals. Numbers in, a whole picture out, safe on light and dark pages.

The picture brings its own background and follows the viewer's light or dark scheme, also as an <img> in Markdown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

LEFT, RIGHT, TOP, BOTTOM = 58, 16, 44, 34
LEGEND = 18  # height of a panel's line of names
TONES = 6
MOST_POINTS = 400  # of a line; beyond, each bin keeps its lowest and its highest point

STYLE = """
svg{font:12px system-ui,sans-serif;--ink:#1b1f24;--soft:#5b6470;--rule:#d5dae0;--paper:#fff;
--t0:#1f5fbf;--t1:#b8480a;--t2:#0a7d55;--t3:#8a3fb0;--t4:#8a6d00;--t5:#b02a5b}
@media(prefers-color-scheme:dark){svg{--ink:#e6e9ed;--soft:#a3acb8;--rule:#3a424d;--paper:#14181d;
--t0:#7fb0ff;--t1:#ff9d66;--t2:#5fd3a6;--t3:#d09cf0;--t4:#e0c04a;--t5:#ff8fb5}}
.paper{fill:var(--paper)}text{fill:var(--ink)}.soft{fill:var(--soft);font-size:11px}.title{font-weight:600}
.rule{stroke:var(--rule);fill:none}.reference{stroke:var(--soft);stroke-dasharray:4 3}
path{fill:none;stroke-width:2;stroke-linejoin:round}.sgrey{stroke:var(--soft)}.fgrey{fill:var(--soft);stroke:var(--soft)}.faint{stroke-width:1;opacity:.4}
circle{stroke-width:2}.whisker{stroke-width:1.5}.ring{fill:none;stroke:var(--ink);stroke-width:1.5}
"""
STYLE += "".join(
    f".s{n}{{stroke:var(--t{n})}}.f{n}{{fill:var(--t{n});stroke:var(--t{n})}}.o{n}{{fill:var(--paper);stroke:var(--t{n})}}"
    f"tspan.n{n}{{fill:var(--t{n})}}"
    for n in range(TONES)
)


@dataclass(frozen=True)
class Line:
    """One curve. Points that are no numbers are left out; a `faint` line has no name in the legend, no tone is grey."""

    name: str
    points: Sequence[tuple[float, float]]
    tone: int | None = 0
    faint: bool = False


@dataclass(frozen=True)
class Dot:
    """One dot: `name` stands beside it, `hint` shows under the pointer; its whisker goes from `low` to `high`.

    Without a tone it is grey.
    """

    x: float
    y: float
    name: str
    hint: str
    tone: int | None = 0
    low: float | None = None
    high: float | None = None
    filled: bool = True
    ringed: bool = False


@dataclass(frozen=True)
class Panel:
    """One chart. `reference` is a horizontal line; `legend` names tones, besides those that lines name."""

    title: str
    hint: str = ""
    lines: Sequence[Line] = ()
    dots: Sequence[Dot] = ()
    x_name: str = ""
    reference: float | None = None
    legend: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True)
class Scale:
    """A linear axis: values `low..high` onto coordinates `start..end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self, count: int) -> list[tuple[float, str]]:
        """Round numbers on the axis with their coordinates."""
        return [(self(value), label) for value, label in nice_ticks(self.low, self.high, count)]


def picture(title: str, panels: Sequence[Panel], columns: int = 2, width: int = 400, height: int = 230) -> str:
    """An SVG of all panels, row by row, each `width` by `height` units. `title` is read aloud by screen readers."""
    rows = -(-len(panels) // columns)
    across, down = min(columns, max(len(panels), 1)) * width, max(rows, 1) * height
    drawn = [
        f'<g transform="translate({p % columns * width} {p // columns * height})">{_panel(panel, width, height)}</g>'
        for p, panel in enumerate(panels)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {across} {down}" width="{across}" height="{down}" '
        f'role="img"><title>{escape(title)}</title><style>{STYLE}</style>'
        f'<rect class="paper" width="{across}" height="{down}"/>\n' + "\n".join(drawn) + "\n</svg>\n"
    )


def _panel(panel: Panel, width: int, height: int) -> str:
    points = [p for line in panel.lines for p in _known(line.points)] + [(dot.x, dot.y) for dot in panel.dots]
    ends = [end for dot in panel.dots for end in (dot.low, dot.high) if end is not None]
    lines = [(line.name, line.tone or 0) for line in panel.lines if not line.faint]
    names = [*(lines if len(lines) > 1 else []), *panel.legend]  # a lone line is named by the title
    x = Scale(*_room([p[0] for p in points], 0.06 if panel.dots else 0.0), LEFT, width - RIGHT)
    heights = [p[1] for p in points] + ends + ([] if panel.reference is None else [panel.reference])
    y = Scale(*_room(heights, 0.06), height - BOTTOM, TOP + LEGEND * bool(names))
    parts = [f'<text class="title" x="{LEFT}" y="18">{escape(panel.title)}</text>']
    parts.append(f'<text class="soft" x="{LEFT}" y="34">{escape(panel.hint)}</text>')
    parts += _legend(names) if names else []
    parts += _axes(panel, x, y)
    for line in panel.lines:
        drawn = "L".join(f"{x(a):g} {y(b):g}" for a, b in thinned(_known(line.points)))
        faint = " faint" if line.faint else ""
        parts += [f'<path class="s{_tone(line.tone)}{faint}" d="M{drawn}"/>'] if drawn else []
    for dot in panel.dots:
        parts += _dot(dot, x, y)
    return "".join(parts)


def _legend(names: Sequence[tuple[str, int]]) -> list[str]:
    spans = [
        f'<tspan class="n{tone % TONES}" dx="{10 * bool(place)}">{escape(name)}</tspan>'
        for place, (name, tone) in enumerate(names)
    ]
    return [f'<text x="{LEFT}" y="51">{"".join(spans)}</text>']


def _axes(panel: Panel, x: Scale, y: Scale) -> list[str]:
    parts = [f'<path class="rule" d="M{x.start} {y.end}V{y.start}H{x.end}"/>']
    for value, label in nice_ticks(x.low, x.high, 5):
        parts.append(f'<text class="soft" x="{x(value)}" y="{y.start + 14}" text-anchor="middle">{label}</text>')
    for value, label in nice_ticks(y.low, y.high, 4):
        parts.append(f'<text class="soft" x="{x.start - 6}" y="{y(value) + 4}" text-anchor="end">{label}</text>')
    if panel.reference is not None:
        at = y(panel.reference)
        parts.append(f'<line class="reference" x1="{x.start}" x2="{x.end}" y1="{at}" y2="{at}"/>')
    if panel.x_name:
        name = escape(panel.x_name)
        parts.append(f'<text class="soft" x="{x.end}" y="{y.start + 28}" text-anchor="end">{name}</text>')
    return parts


def _dot(dot: Dot, x: Scale, y: Scale) -> list[str]:
    tone, at, to = _tone(dot.tone), x(dot.x), y(dot.y)
    parts = [f"<g><title>{escape(dot.hint)}</title>"]
    if dot.low is not None and dot.high is not None:
        parts.append(f'<line class="whisker s{tone}" x1="{at}" x2="{at}" y1="{y(dot.low)}" y2="{y(dot.high)}"/>')
    if dot.ringed:
        parts.append(f'<circle class="ring" cx="{at}" cy="{to}" r="9"/>')
    parts.append(f'<circle class="{"f" if dot.filled else "o"}{tone}" cx="{at}" cy="{to}" r="4.5"/>')
    parts.append(f'<text class="soft" x="{at + 9}" y="{to - 5}">{escape(dot.name)}</text></g>')
    return parts


def _tone(tone: int | None) -> str:
    return "grey" if tone is None else str(tone % TONES)


def _known(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(a, b) for a, b in points if math.isfinite(a) and math.isfinite(b)]


def _room(values: Sequence[float], share: float) -> tuple[float, float]:
    """The values' range, with some room at both ends; never empty."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = share * (high - low)
    if high == low:
        room = 0.06 * abs(high) or 1.0
    return low - room, high + room


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `MOST_POINTS` points that keep every bin's extremes, so that no spike disappears."""
    if len(points) <= MOST_POINTS:
        return list(points)
    bins = MOST_POINTS // 2
    kept: list[tuple[float, float]] = []
    for number in range(bins):
        part = points[number * len(points) // bins : (number + 1) * len(points) // bins]
        kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return kept


def nice_ticks(low: float, high: float, count: int) -> list[tuple[float, str]]:
    """About `count` round values from `low` to `high`, each with its label."""
    step = nice_step(low, high, count)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(index * step, tick_label(index * step, step)) for index in range(first, last + 1)]


def nice_step(low: float, high: float, count: int) -> float:
    """A round number that goes about `count` times into `low..high`."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    return min((m * power for m in (1, 2, 2.5, 5, 10)), key=lambda step: abs(math.log(step / rough)))


def tick_label(value: float, step: float) -> str:
    """The value with as many places as the step between ticks needs; powers of ten if tiny or huge."""
    if not value:
        return "0"
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    places += round(step * 10**places, 6) % 1 != 0
    if places <= 4 and abs(value) < 1e5:
        return f"{value:.{places}f}".replace("-", "−")
    digits, power = f"{value:.1e}".split("e")
    return f"{float(digits):g}e{int(power)}".replace("-", "−")
