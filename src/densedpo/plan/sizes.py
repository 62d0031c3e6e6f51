"""Whether a model can take clips of a shape, from its config files alone."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from densedpo.errors import UserError
from densedpo.plan.checkpoint import config_folder
from densedpo.plan.meta import load_meta
from densedpo.store.shapes import Shape


def check_sizes(model: str, shapes: Iterable[Shape]) -> None:
    """Raises UserError naming the nearest valid values if the model cannot take clips of one of these shapes."""
    with config_folder(model) as folder:
        meta = load_meta(folder, torch.float32)
    for shape in shapes:
        try:
            meta.model.latent_shape(shape.frames, shape.height, shape.width)
        except UserError as error:
            raise UserError(f"{model} cannot take clips of {shape}: {error}") from error
