"""The model card of an adapter: what it is, how it was made, how it ended, how it is used."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from densedpo.errors import UserError
from densedpo.models.load import TINYWORLD
from densedpo.models.pipelines import read_json
from densedpo.store.project import Project

INDEX = "model_index.json"
METHODS = {
    "dense": "DenseDPO ([arXiv 2506.03517](https://arxiv.org/abs/2506.03517)): pairs that share their motion, and a "
    "preference for each segment of {seconds:g} s",
    "structural": "Flow-DPO ([arXiv 2501.13918](https://arxiv.org/abs/2501.13918)) on pairs that share their motion, "
    "with one preference a pair",
    "vanilla": "Flow-DPO ([arXiv 2501.13918](https://arxiv.org/abs/2501.13918)) on independent pairs, with one "
    "preference a pair",
    "sft": "Flow matching on chosen videos, without preferences",
}
WITHOUT_LOADER = ("HunyuanVideo15Pipeline",)  # pipelines without `load_lora_weights`; their network has one
WINDOW = 20  # steps that final figures are means of
FIGURES = {
    "loss": "loss",
    "pair_accuracy": "pairs ranked as labelled",
    "winner_delta": "winners' error, minus the reference's",
    "loser_delta": "losers' error, minus the reference's",
    "loser_dominated": "loser-dominated share",
    "inside_median": "median size of the sigmoid's argument",
    "grad_norm": "gradient norm",
}


@dataclass(frozen=True)
class Base:
    """The model under the adapter. Only a hub name means something to others; a local folder is known by its name.

    `licence` is what the model's own card or files say, None if they are not at hand.
    """

    name: str
    hub_id: str | None
    pipeline: str
    licence: str | None = None

    @classmethod
    def of(cls, model: str, folder: Path, name: str) -> Base:
        """The model that a project calls `model`, whose files (at least its index) are in `folder`.

        `name` is what it is called where its place means nothing. Raises UserError if the index is missing.
        """
        index = folder / INDEX
        if not index.exists():
            raise UserError(f"{index} is missing, and it says what the base model is: download or copy the model again")
        pipeline, licence = str(read_json(index)["_class_name"]), licence_of(folder)
        if model == TINYWORLD:
            return cls(TINYWORLD, None, pipeline, "densedpo's own, for it comes with it")
        return cls(name, None, pipeline, licence) if Path(model).is_dir() else cls(model, model, pipeline, licence)


@dataclass(frozen=True)
class Figures:
    """How training ended: means over the last `window` of `steps` steps by their words, and the guard's alarms."""

    steps: int
    window: int
    means: dict[str, float]
    validation_loss: float | None
    alarms: list[tuple[int, str]]

    @classmethod
    def of(cls, log: Path) -> Figures | None:
        """From a log.jsonl; None without one."""
        rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        if not rows:
            return None
        last = rows[-WINDOW:]
        means = {
            words: sum(row[name] for row in last) / len(last)
            for name, words in FIGURES.items()
            if all(name in row for row in last)
        }
        validated = [row["validation_loss"] for row in rows if "validation_loss" in row]
        alarms = [(row["step"], alarm["name"]) for row in rows for alarm in row.get("alarms", ())]
        return cls(rows[-1]["step"], len(last), means, validated[-1] if validated else None, alarms)


@dataclass(frozen=True)
class About:
    """What a card is written from: a run's `run.json` (facts) and `settings.yaml`, and what belongs to it.

    `formats` says under which names the weights lie in `place`, seen from the card; `curves` names a picture beside it.
    """

    project: Project
    title: str
    base: Base
    facts: Mapping[str, Any]
    settings: Mapping[str, Any]
    rank: int
    alpha: float
    expert: str | None = None
    figures: Figures | None = None
    formats: Mapping[str, str] = field(default_factory=dict)
    place: str = "."
    curves: str | None = None


def card(about: About) -> str:
    """The card as Markdown with the hub's front matter."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown
    )
    shape, method = about.project.settings, about.facts["method"]
    return environment.get_template("card.md").render(
        about=about,
        base=about.base,
        facts=about.facts,
        settings=about.settings,
        figures=about.figures,
        shape=shape,
        method=METHODS[method].format(seconds=shape.segment_seconds),
        examples="clips" if method == "sft" and about.settings.get("sft_on") != "winners" else "labelled pairs",
        licences=sorted(Counter(clip.licence for clip in about.project.clips("train")).items()),
        has_loader=about.base.pipeline not in WITHOUT_LOADER,
    )


def licence_of(folder: Path) -> str | None:
    """The licence that the front matter of a model folder's README.md names, or the name of its licence file."""
    readme = folder / "README.md"
    if readme.exists():
        lines = readme.read_text(encoding="utf-8", errors="replace").split("---\n", 2)
        try:
            values = yaml.safe_load(lines[1]) if len(lines) == 3 and not lines[0].strip() else None
        except yaml.YAMLError:
            values = None
        if isinstance(values, dict) and values.get("license"):
            return str(values["license"])
    return next((file.name for file in sorted(folder.glob("LICENSE*"))), None)
