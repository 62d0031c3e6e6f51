"""The model card of an exported adapter."""

from __future__ import annotations

from collections.abc import Mapping

from densedpo.export.settings import Format
from densedpo.export.source import Source
from densedpo.models.card import About, Figures, card


def model_card(source: Source, formats: Mapping[Format, str]) -> str:
    """The card as Markdown with the hub's front matter; `formats` says under which names the weights lie beside it."""
    return card(
        About(
            project=source.project,
            title=source.title,
            base=source.base,
            facts=source.facts,
            settings=source.settings,
            rank=source.rank,
            alpha=source.alpha,
            expert=source.expert,
            figures=Figures.of(source.project.run_folder(source.name) / "log.jsonl"),
            formats={format: name for format, name in formats.items()},
        )
    )
