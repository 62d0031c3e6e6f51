"""The model card: what an adapter is, how it was made, how it is used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from densedpo.export.settings import Format
from densedpo.export.source import Source

METHODS = {
    "dense": "DenseDPO ([arXiv 2506.03517](https://arxiv.org/abs/2506.03517)): pairs that share their motion, and a "
    "preference for each segment of {seconds:g} s",
    "structural": "Flow-DPO ([arXiv 2501.13918](https://arxiv.org/abs/2501.13918)) on pairs that share their motion, "
    "with one preference a pair",
    "vanilla": "Flow-DPO ([arXiv 2501.13918](https://arxiv.org/abs/2501.13918)) on independent pairs, with one "
    "preference a pair",
}
WITHOUT_LOADER = ("HunyuanVideo15Pipeline",)  # pipelines without `load_lora_weights`; their network has one


def model_card(source: Source, formats: Mapping[Format, str]) -> str:
    """The card as Markdown with the hub's front matter; `formats` says under which names the weights lie beside it."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown
    )
    licences = Counter(clip.licence for clip in source.project.clips("train"))
    return environment.get_template("card.md").render(
        title=source.title,
        base=source.base,
        expert=source.expert,
        facts=source.facts,
        settings=source.settings,
        shape=source.project.settings,
        rank=source.rank,
        alpha=source.alpha,
        method=METHODS[source.facts["method"]].format(seconds=source.project.settings.segment_seconds),
        licences=sorted(licences.items()),
        formats=formats,
        has_loader=source.base.pipeline not in WITHOUT_LOADER,
    )
