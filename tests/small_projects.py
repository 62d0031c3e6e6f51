"""Projects and models for the tests of the stages: 9 frames of 48x48 at 8 fps, a model with random weights."""

import functools
from pathlib import Path

from diffusers import WanPipeline

from densedpo.models import load_model
from densedpo.models.wan import WanModel


@functools.cache
def model_at(folder: Path) -> WanModel:
    """The model in `folder`, loaded once for all tests: whoever changes it puts it back."""
    model = load_model(str(folder), device="cpu")
    assert isinstance(model, WanModel)
    return model


@functools.cache
def pipeline_at(folder: Path) -> WanPipeline:
    """The same model as diffusers itself loads it."""
    pipeline = WanPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
