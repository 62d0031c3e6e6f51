"""Write an adapter and its model card into a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from safetensors import safe_open
from safetensors.torch import load_file

from densedpo.errors import UserError
from densedpo.export.card import model_card
from densedpo.export.settings import ExportSettings, Format
from densedpo.export.source import Source
from densedpo.files import write_text_atomic
from densedpo.models.comfyui import to_comfyui
from densedpo.models.encoded import save_tensors
from densedpo.models.lora import PREFIX, WEIGHTS
from densedpo.store.project import Project

CARD = "README.md"


@dataclass(frozen=True)
class Exported:
    """The files in the folder; `card_kept` if a card that someone has changed was left as it is."""

    weights: Path
    card: Path
    card_kept: bool


def export(project: Project, settings: ExportSettings) -> Exported:
    """Write the adapter of a finished run and a model card. Run again, it changes nothing.

    Raises:
        UserError: as `Source.open` and `to_comfyui`; the folder holds another adapter; the disk is full.
    """
    source = Source.open(project, settings.run)
    before = _formats_in(settings.to, source)
    weights = settings.to / file_name(source, settings.format)
    metadata = source.metadata()
    adapter = load_file(source.adapter)
    if settings.format == "comfyui":
        del metadata[LORA_ADAPTER_METADATA_KEY]  # it names diffusers' layers, and an alpha that B has in it already
        inner = {name.removeprefix(PREFIX): tensor for name, tensor in adapter.items()}
        adapter = to_comfyui(source.base.pipeline, inner, source.alpha / source.rank)
    if not weights.exists():
        save_tensors(weights, adapter, metadata)
    elif _header(weights) != metadata:
        raise UserError(f"{weights} is another adapter: give another --to, or delete that file")
    card_kept = _write_card(settings.to / CARD, source, before)
    return Exported(weights, settings.to / CARD, card_kept)


def file_name(source: Source, format: Format) -> str:
    """diffusers looks for one name in a folder; ComfyUI lists the adapters of all models by theirs."""
    if format == "diffusers":
        return WEIGHTS
    expert = f"-{source.expert}-noise" if source.expert else ""
    return f"{source.project.root.resolve().name}-{source.name}{expert}.safetensors"


def _formats_in(folder: Path, source: Source) -> dict[Format, str]:
    formats: tuple[Format, ...] = ("diffusers", "comfyui")
    names = {format: file_name(source, format) for format in formats}
    return {format: name for format, name in names.items() if (folder / name).exists()}


def _write_card(path: Path, source: Source, before: dict[Format, str]) -> bool:
    """Describe all formats that are in the folder now; a card that is not as an earlier export left it is kept."""
    card = model_card(source, _formats_in(path.parent, source))
    there = path.read_text(encoding="utf-8") if path.exists() else None
    if there not in (None, card, model_card(source, before)):
        return True
    write_text_atomic(path, card)
    return False


def _header(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})
