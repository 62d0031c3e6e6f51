"""SkyReels V2 text-to-video models (`SkyReelsV2Pipeline`): Wan 2.1's parts with weights and a schedule of their own.

The diffusion-forcing checkpoints (`SkyReelsV2DiffusionForcingPipeline`) noise every frame to a level of its own and are
another family, which is not here.
"""

from __future__ import annotations

from pathlib import Path

from diffusers import DiffusionPipeline, SkyReelsV2Pipeline

from densedpo.models.pipelines import LoadOptions, load_pipeline
from densedpo.models.wan import OFFICIAL_NEGATIVE_PROMPT, WanModel

PIPELINES = ("SkyReelsV2Pipeline",)
SIZES = ("SkyReels V2 T2V 14B 540P and 720P",)
FRAME_RULE = "1 + 4k"
SIZE_RULE = "multiples of 16"
PROVEN = (
    "sampling with UniPC and Euler and adapters equal diffusers' on tiny random weights; published weights were not "
    "run here"
)

# From the example of diffusers' pipeline. Its `flow_shift` 8 belongs into the checkpoint's scheduler_config.json.
OFFICIAL_DEFAULTS = {
    "steps": 50,
    "guidance": 6.0,
    "negative_prompt": OFFICIAL_NEGATIVE_PROMPT,
    "width": 960,
    "height": 544,
    "frames": 97,
    "fps": 24.0,
    "max_sequence_length": 512,
}


class SkyReelsV2Model(WanModel):
    """A SkyReels V2 checkpoint as a `VideoModel`. It has no published trainer; noise levels are drawn as for Wan."""

    @staticmethod
    def official_defaults(pipeline: DiffusionPipeline) -> dict[str, object]:
        """The makers' values."""
        return dict(OFFICIAL_DEFAULTS)


def load(folder: Path, options: LoadOptions) -> SkyReelsV2Model:
    """Load a `SkyReelsV2Pipeline` folder (safetensors only)."""
    return SkyReelsV2Model(folder, load_pipeline(SkyReelsV2Pipeline, folder, options), options)
