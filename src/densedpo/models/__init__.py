"""Real models behind one protocol; the family comes from the checkpoint's own `model_index.json`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from densedpo.models.load import load_model

__all__ = ["load_model"]


def __getattr__(name: str) -> Any:
    """`load_model` on first use, for it brings torch and diffusers; the settings of loading do not."""
    if name != "load_model":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from densedpo.models.load import load_model

    return load_model
