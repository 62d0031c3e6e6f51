"""CogVideoX models that animate a given first frame (`CogVideoXImageToVideoPipeline`): 5B-I2V and 1.5-5B-I2V.

The network sees, in more channels, the first frame's latents at the first latent frame (of 1.5 the padding frame) and
zeros at the others. The first latent frame behind the padding counts in no loss and in no distance (`given_frames`).

Shapes: B batch, C channels, F latent frames (padding included), H height, W width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import CogVideoXImageToVideoPipeline
from numpy.typing import NDArray
from torch import Tensor

from densedpo.diffusion.memory import memory_is_clear
from densedpo.diffusion.protocol import Conditioning, first_frame_of
from densedpo.errors import UserError
from densedpo.models.clips import clips_to_tensor
from densedpo.models.cogvideox import CogVideoXModel, check_prediction
from densedpo.models.pipelines import LoadOptions, load_pipeline

PIPELINES = ("CogVideoXImageToVideoPipeline",)
SIZES = ("CogVideoX 5B I2V", "CogVideoX1.5 5B I2V")
FRAME_RULE = "1 + 8k"
SIZE_RULE = "multiples of 16; 5B I2V: 720 x 480 only"
PROVEN = (
    "sampling with DDIM and sde-dpm++ and adapters equal diffusers' image-to-video pipeline on tiny random weights of "
    "both builds; published weights were not run here"
)

OFS = 2.0  # what 1.5's network is told beside the time, always


class CogVideoXImageModel(CogVideoXModel):
    """A CogVideoX image-to-video checkpoint as a `VideoModel`."""

    given_frames = 1

    @torch.no_grad()
    def encode_first_frame(self, images: NDArray[np.uint8], frames: int) -> Conditioning:
        """First frames `[B, H, W, 3]` of clips of so many frames to `image` `[B, C, F, H', W']`.

        The posterior's mean, where the pipeline draws from it: equal images always give equal latents. Some published
        autoencoders say (`invert_scale_latents`) that their makers divided an image's latents by the scale in training.
        """
        scale = float(self.vae.config.scaling_factor)
        with memory_is_clear(f"encoding the first frames of {len(images)} clips at once"):
            posterior = self.vae.encode(clips_to_tensor(images[:, None], self.device)).latent_dist
        first_BCFHW = posterior.mode() * (1 / scale if self.vae.config.invert_scale_latents else scale)
        length = self.latent_shape(frames, images.shape[1], images.shape[2])[1]
        image_BCFHW = first_BCFHW.new_zeros(*first_BCFHW.shape[:2], length, *first_BCFHW.shape[3:])
        image_BCFHW[:, :, :1] = first_BCFHW
        return Conditioning({"image": image_BCFHW})

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """As for text-to-video; 5B-I2V has learned its positions, so that one size alone fits."""
        shape = super().latent_shape(frames, height, width)
        learned = (self.config.sample_height, self.config.sample_width)
        if self.config.use_learned_positional_embeddings and shape[2:] != learned:
            only_height, only_width = (side * self.spatial_factor for side in learned)
            raise UserError(f"{width} x {height} does not fit this model: use {only_width} x {only_height}")
        return shape

    def _inputs(self, noisy_BCFHW: Tensor, sigma_B: Tensor, conditioning: Conditioning) -> dict[str, Any]:
        image_BCFHW = first_frame_of(conditioning, self.name)
        given = super()._inputs(noisy_BCFHW, sigma_B, conditioning)
        latents_BFCHW = given["hidden_states"]
        given["hidden_states"] = torch.cat([latents_BFCHW, image_BCFHW.transpose(1, 2).to(latents_BFCHW)], dim=2)
        if self.config.ofs_embed_dim is not None:
            given["ofs"] = latents_BFCHW.new_full((1,), OFS)
        return given


def load(folder: Path, options: LoadOptions) -> CogVideoXImageModel:
    """Load a `CogVideoXImageToVideoPipeline` folder (safetensors only).

    Raises:
        UserError: the checkpoint predicts something other than v.
    """
    pipeline = load_pipeline(CogVideoXImageToVideoPipeline, folder, options)
    check_prediction(pipeline, folder)
    return CogVideoXImageModel(folder, pipeline, options)
