"""Wan models that animate a given first frame (`WanImageToVideoPipeline`): 2.1 I2V, 2.2 I2V A14B, 2.2 TI2V 5B.

2.1 and A14B see the first frame through more channels: its latents, those of grey after it, and a mask; 2.1 sees CLIP's
view of it too. TI2V 5B gets it as its own first latent frame, at noise level 0. Either way the first latent frame of
all videos from one image shows the same, so it counts in no loss and in no distance (`given_frames`).

Shapes: B batch, C channels, F latent frames, H height, W width, L tokens, D width of CLIP.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from densedpo.diffusion.memory import memory_is_clear
from densedpo.diffusion.protocol import Conditioning, first_frame_of
from densedpo.errors import UserError
from densedpo.models.clips import clips_to_tensor
from densedpo.models.pipelines import LoadOptions, load_pipeline, read_json
from densedpo.models.wan import OFFICIAL_DEFAULTS, OFFICIAL_TI2V_5B, WanModel, check_experts
from densedpo.models.wan_vae import encode_clips

PIPELINES = ("WanImageToVideoPipeline",)
SIZES = ("Wan 2.1 I2V 14B", "Wan 2.2 I2V A14B (two experts)", "Wan 2.2 TI2V 5B (from a first frame)")
FRAME_RULE = "1 + 4k"
SIZE_RULE = "multiples of 16; TI2V 5B: of 32"
PROVEN = (
    "sampling with UniPC and Euler equals diffusers' image-to-video pipeline on tiny random weights of all three "
    "builds, and so do adapters; published weights were not run here"
)

# From generate.py and the configs wan_i2v_14B and wan_i2v_A14B of the official repositories.
OFFICIAL_I2V = OFFICIAL_DEFAULTS | {"steps": 40}
OFFICIAL_I2V_A14B = OFFICIAL_I2V | {"guidance": 3.5, "guidance_2": 3.5, "width": 1280, "height": 720}
TEXT_TOKENS = 512  # what diffusers' attention takes for text when CLIP's tokens stand before it


class WanImageModel(WanModel):
    """Wan 2.1 I2V and Wan 2.2 I2V A14B as a `VideoModel`."""

    given_frames = 1
    hashed = (*WanModel.hashed, "image_encoder", "image_processor")

    @staticmethod
    def official_defaults(pipeline: DiffusionPipeline) -> dict[str, object]:
        """The makers' values for this build."""
        return dict(OFFICIAL_I2V if pipeline.config.boundary_ratio is None else OFFICIAL_I2V_A14B)

    @torch.no_grad()
    def encode_first_frame(self, images: NDArray[np.uint8], frames: int) -> Conditioning:
        """First frames `[B, H, W, 3]` of clips of so many frames, as `WanImageToVideoPipeline` prepares them.

        `image` `[B, 4 + C, F, H', W']`: the mask, then the latents of the frame and grey ones after it; for 2.1 also
        `image_embeds` `[B, L, D]`, CLIP's last layer but one.
        """
        first_BCTHW = clips_to_tensor(images[:, None], self.device)
        grey_BCTHW = first_BCTHW.new_zeros(*first_BCTHW.shape[:2], frames - 1, *first_BCTHW.shape[3:])
        latents_BCFHW = self._normalised(torch.cat([first_BCTHW, grey_BCTHW], dim=2))
        batch, _, *grid = latents_BCFHW.shape
        mask_BCFHW = latents_BCFHW.new_zeros(batch, self.temporal_factor, *grid)
        mask_BCFHW[:, :, 0] = 1
        tensors = {"image": torch.cat([mask_BCFHW, latents_BCFHW], dim=1)}
        if self._looks_with_clip():
            tensors["image_embeds"] = self.pipeline.encode_image([Image.fromarray(image) for image in images])
        return Conditioning(tensors)

    def _normalised(self, video_BCTHW: Tensor) -> Tensor:
        mean, std = self._latent_statistics()
        with memory_is_clear(f"encoding the first frames of {len(video_BCTHW)} clips at once"):
            return (encode_clips(self.vae, video_BCTHW) - mean) / std

    def _looks_with_clip(self) -> bool:
        return self.pipeline.transformer.config.image_dim is not None

    def _inputs(self, noisy_BCFHW: Tensor, sigma_B: Tensor, conditioning: Conditioning) -> dict[str, Tensor]:
        image = first_frame_of(conditioning, self.name)
        given = super()._inputs(noisy_BCFHW, sigma_B, conditioning)
        given["hidden_states"] = torch.cat([given["hidden_states"], image.to(given["hidden_states"])], dim=1)
        if self._looks_with_clip():
            embeds = conditioning.tensors["image_embeds"].to(self.device, self.dtype)
            given["encoder_hidden_states_image"] = embeds
        return given


class WanFirstFrameModel(WanImageModel):
    """Wan 2.2 TI2V 5B from a first frame: that latent frame stays as it is, its tokens' timestep is 0."""

    @staticmethod
    def official_defaults(pipeline: DiffusionPipeline) -> dict[str, object]:
        """The makers' values for this build."""
        return dict(OFFICIAL_TI2V_5B)

    @torch.no_grad()
    def encode_first_frame(self, images: NDArray[np.uint8], frames: int) -> Conditioning:
        """First frames `[B, H, W, 3]` to their latents, `image` `[B, C, 1, H', W']`."""
        return Conditioning({"image": self._normalised(clips_to_tensor(images[:, None], self.device))})

    def put_given(self, latents_BCFHW: Tensor, conditioning: Conditioning) -> Tensor:
        """The latents with the first frame in its place."""
        first_BCFHW = first_frame_of(conditioning, self.name).to(latents_BCFHW)
        return torch.cat([first_BCFHW, latents_BCFHW[:, :, 1:]], dim=2)

    def _inputs(self, noisy_BCFHW: Tensor, sigma_B: Tensor, conditioning: Conditioning) -> dict[str, Tensor]:
        given = WanModel._inputs(self, self.put_given(noisy_BCFHW, conditioning), sigma_B, conditioning)
        frames, height, width = noisy_BCFHW.shape[2:]
        patch = self.pipeline.transformer.config.patch_size[1]
        denoised_FN = torch.ones(frames, (height // patch) * (width // patch), device=self.device)
        denoised_FN[0] = 0
        given["timestep"] = given["timestep"][:, None] * denoised_FN.flatten()
        return given

    def _run(self, expert: torch.nn.Module, noisy_BCFHW: Tensor, sigma_B: Tensor, conditioning: Conditioning) -> Tensor:
        """The velocity; of the given frame it is 0, at every noise level."""
        velocity_BCFHW = super()._run(expert, noisy_BCFHW, sigma_B, conditioning)
        return torch.cat([torch.zeros_like(velocity_BCFHW[:, :, :1]), velocity_BCFHW[:, :, 1:]], dim=2)


def load(folder: Path, options: LoadOptions) -> WanImageModel:
    """Load a `WanImageToVideoPipeline` folder (safetensors only).

    Raises:
        UserError: as `load_pipeline`; one of two experts is missing; the model wants a last frame too, or a text length
            that its attention cannot tell from CLIP's tokens.
    """
    from diffusers import WanImageToVideoPipeline  # here, for transformers speaks up about CLIP when it is imported

    network = read_json(folder / "transformer" / "config.json")
    if network.get("pos_embed_seq_len") is not None:
        raise UserError(
            f"{folder} draws between a first and a last frame: use an image-to-video model with a first one"
        )
    pipeline = load_pipeline(WanImageToVideoPipeline, folder, options)
    check_experts(pipeline, folder)
    model = (WanFirstFrameModel if pipeline.config.expand_timesteps else WanImageModel)(folder, pipeline, options)
    if network.get("image_dim") is not None and model.max_sequence_length != TEXT_TOKENS:
        raise UserError(
            f"{folder} reads captions of {TEXT_TOKENS} tokens: leave max_sequence_length out of densedpo.json"
        )
    return model
