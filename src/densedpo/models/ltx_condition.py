"""LTX-Video since 0.9.5 as `LTXConditionPipeline` samples it from text: the parts of 0.9.0, another schedule.

That pipeline can also continue images and clips; here it is given none. Its sigmas are linear, then quadratic, the same
for any size. Its positions say that the first latent frame covers one frame and the others eight.

Shapes: B batch, C channels, F latent frames, H height, W width, S = F H W tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, LTXConditionPipeline
from diffusers.pipelines.ltx.pipeline_ltx_condition import linear_quadratic_schedule
from torch import Tensor

from densedpo.errors import UserError
from densedpo.models.ltx import OFFICIAL_DEFAULTS, LTXModel, check_deterministic
from densedpo.models.pipelines import LoadOptions, load_pipeline, side_defaults
from densedpo.store.schema import content_id

PIPELINES = ("LTXConditionPipeline",)
SIZES = ("LTX-Video 2B 0.9.5", "LTX-Video 13B 0.9.7 and 0.9.8, distilled or not")
FRAME_RULE = "1 + 8k"
SIZE_RULE = "multiples of 32"
PROVEN = (
    "sampling from text, decoding and adapters equal diffusers' `LTXConditionPipeline` on tiny random weights; "
    "published weights were not run here"
)

# From the example for 0.9.7 in diffusers' documentation (docs/source/en/api/pipelines/ltx_video.md), first pass without
# its guidance_rescale; 25 frames a second and 256 tokens from the pipeline.
CONDITION_DEFAULTS = OFFICIAL_DEFAULTS | {
    "steps": 30,
    "guidance": 5.0,
    "width": 768,
    "height": 512,
    "max_sequence_length": 256,
}


class LTXConditionModel(LTXModel):
    """An LTX-Video checkpoint since 0.9.5 as a `VideoModel`."""

    official_defaults = CONDITION_DEFAULTS

    def __init__(
        self, folder: Path, pipeline: DiffusionPipeline, options: LoadOptions, defaults: Mapping[str, object]
    ) -> None:
        super().__init__(folder, pipeline, options, defaults)
        self.model_hash = content_id(self.model_hash, *PIPELINES)  # as an `LTXPipeline` it draws other videos

    def _positions(self, batch: int, frames: int, height: int, width: int) -> dict[str, Any]:
        grid_B3S = self.pipeline._prepare_video_ids(batch, frames, height, width, device=self.device)
        scales = {"scale_factor": self.spatial_factor, "scale_factor_t": self.temporal_factor}
        corners_B3S = self.pipeline._scale_video_ids(grid_B3S, **scales, device=self.device).float()
        corners_B3S[:, 0] /= self.told_fps
        return {"video_coords": corners_B3S}

    def sigmas(self, steps: int, shape: Sequence[int] | None = None) -> Tensor:
        """The pipeline's own: linear to 0.975 in half of the steps, then quadratic to 0; any shape has the same."""
        return torch.cat([linear_quadratic_schedule(steps), torch.zeros(1)])


def load(folder: Path, options: LoadOptions) -> LTXConditionModel:
    """Load an `LTXConditionPipeline` folder (safetensors only).

    Raises:
        UserError: a scheduler that shifts the sigmas, for which this pipeline has no use, or draws noise at every step.
    """
    check_deterministic(folder)
    pipeline = load_pipeline(LTXConditionPipeline, folder, options)
    config = pipeline.scheduler.config
    if config.use_dynamic_shifting or config.shift != 1 or config.shift_terminal:
        raise UserError(
            f"the scheduler of {folder} shifts its sigmas, which LTXConditionPipeline does not do: copy the model's "
            "scheduler_config.json again, or write LTXPipeline as _class_name into model_index.json"
        )
    return LTXConditionModel(folder, pipeline, options, side_defaults(folder))
