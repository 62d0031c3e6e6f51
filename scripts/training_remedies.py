"""What goes wrong in training, and what the remedies do: one short run for each, its curves in one picture.

    python scripts/training_remedies.py PROJECT --svg docs/images/training-remedies.svg

PROJECT has labelled guided pairs, such as the demo's. Runs are kept in the project; run again, only missing ones train.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from densedpo.models import load_model
from densedpo.store.project import Project
from densedpo.training import TrainSettings
from densedpo.training.loop import train

COMMON: dict[str, Any] = {"steps": 80, "rank": 16, "reference_draws": 4, "guard": "warn", "track": ()}
RUNS: dict[str, dict[str, Any]] = {
    "default (lr 3e-5)": {},
    "no change: lr 1e-6": {"lr": 1e-6},
    "lr 2e-4": {"lr": 2e-4},
    "too hot: lr 2e-3": {"lr": 2e-3},
    "+ safeguard 0.2": {"lr": 2e-3, "safeguard": 0.2},
    "+ anchor 10": {"lr": 2e-3, "anchor": 10.0},
    "+ ipo": {"lr": 2e-3, "loss": "ipo"},
    "+ beta 5000": {"lr": 2e-3, "beta": 5000.0},
    "+ label smoothing 0.2": {"lr": 2e-3, "label_smoothing": 0.2},
    "+ similar below 0.3": {"lr": 2e-3, "similar_below": 0.3},
}
WIDTH, HEIGHT, PAD = 230, 120, 34


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--svg", type=Path, help="where to draw the curves")
    args = parser.parse_args()
    project = Project.open(args.project)
    model = load_model(project.settings.model)
    logs = {}
    print("| run | winners' error | losers' error | loser-dominated | median abs(inside) | pairs told apart | alarms |")
    print("|---|---|---|---|---|---|---|")
    for number, (title, changes) in enumerate(RUNS.items()):
        report = train(project, model, TrainSettings(**COMMON | changes), f"remedy-{number}")
        rows = [json.loads(line) for line in (report.run / "log.jsonl").read_text().splitlines()]
        logs[title] = rows
        last = {key: np.mean([row[key] for row in rows[-20:]]) for key in rows[-1] if isinstance(rows[-1][key], float)}
        alarms = [f"{name} ({row['step']})" for row in rows for name in row.get("alarms", [])]
        print(
            f"| {title} | {last['winner_delta']:+.5f} | {last['loser_delta']:+.5f} | {last['loser_dominated']:.0%} | "
            f"{last['inside_median']:.2f} | {last['pair_accuracy']:.0%} | {', '.join(alarms) or 'none'} |",
            flush=True,
        )
    if args.svg:
        args.svg.write_text(picture(logs))


def picture(logs: dict[str, list[dict[str, Any]]]) -> str:
    """A small chart a run: what became of the winners' and the losers' errors, smoothed, all on one scale."""
    columns = 3
    rows = -(-len(logs) // columns)
    smoothed = {
        title: {key: smooth([row[key] for row in log]) for key in ("winner_delta", "loser_delta")}
        for title, log in logs.items()
    }
    reach = float(np.quantile([abs(v) for both in smoothed.values() for line in both.values() for v in line], 0.98))
    parts = []
    for number, (title, both) in enumerate(smoothed.items()):
        left, top = number % columns * (WIDTH + PAD) + PAD, number // columns * (HEIGHT + PAD) + PAD
        parts.append(f'<rect x="{left}" y="{top}" width="{WIDTH}" height="{HEIGHT}" class="box"/>')
        parts.append(
            f'<line x1="{left}" x2="{left + WIDTH}" y1="{top + HEIGHT / 2}" y2="{top + HEIGHT / 2}" class="zero"/>'
        )
        parts.append(f'<text x="{left}" y="{top - 6}">{title}</text>')
        for key, line in both.items():
            points = " ".join(
                f"{left + i / (len(line) - 1) * WIDTH:.1f},"
                f"{top + HEIGHT / 2 * (1 - float(np.clip(value / reach, -1, 1))):.1f}"
                for i, value in enumerate(line)
            )
            parts.append(f'<polyline points="{points}" class="{key.split("_")[0]}"/>')
    size = columns * (WIDTH + PAD) + PAD, rows * (HEIGHT + PAD) + PAD + 14
    legend = (
        f'<text x="{PAD}" y="{size[1] - 10}">error minus the reference’s, from {-reach:.2g} to {reach:.2g} over '
        f'{COMMON["steps"]} steps: <tspan class="winner">winners</tspan>, <tspan class="loser">losers</tspan></text>'
    )
    style = (
        "svg{background:#fff;font:12px system-ui,sans-serif}.box{fill:none;stroke:#ccc}.zero{stroke:#999;"
        "stroke-dasharray:3}polyline{fill:none;stroke-width:2}polyline.winner{stroke:#0a7d55}polyline.loser"
        "{stroke:#c2410c}tspan.winner{fill:#0a7d55}tspan.loser{fill:#c2410c}"
    )
    inside = "\n".join([*parts, legend])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" width="{size[0]}" '
        f'height="{size[1]}"><style>{style}</style>\n{inside}\n</svg>\n'
    )


def smooth(values: list[float], window: int = 9) -> list[float]:
    """A moving mean."""
    return [float(np.mean(values[max(0, i - window + 1) : i + 1])) for i in range(len(values))]


if __name__ == "__main__":
    main()
