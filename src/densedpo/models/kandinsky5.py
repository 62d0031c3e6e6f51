"""Kandinsky 5.0 text-to-video models (`Kandinsky5T2VPipeline`): rectified flow, Qwen2.5-VL and CLIP text.

The autoencoder is HunyuanVideo's. The network takes captions without a mask, and would read the padding of a shorter
one as text. So each caption is encoded alone and each video has a forward of its own, with its caption as long as it
is: what the pipeline draws for one prompt, whatever else is in the batch.

Shapes: B batch, C channels, F latent frames, H height, W width, L tokens, D text width.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import FlowMatchEulerDiscreteScheduler, Kandinsky5T2VPipeline
from diffusers.pipelines.kandinsky5.pipeline_kandinsky import prompt_clean
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from transformers import AutoTokenizer

from densedpo.diffusion.protocol import Conditioning
from densedpo.errors import UserError
from densedpo.models.clips import check_most, latent_grid
from densedpo.models.hunyuan_video import TEXT_PARTS, HunyuanModel, shifted_logit_normal, warn_of_truncation
from densedpo.models.identity import weights_hash
from densedpo.models.lora import linear_layers
from densedpo.models.pipelines import LoadOptions, load_pipeline, read_json, side_defaults

PIPELINES = ("Kandinsky5T2VPipeline",)
SIZES = ("Kandinsky 5.0 T2V Lite 2B", "Kandinsky 5.0 T2V Pro 19B (with dense attention)")
FRAME_RULE = "1 + 4k"
SIZE_RULE = "multiples of 16"
PROVEN = (
    "sampling with and without guidance, captions of several lengths in a batch, encoding and adapters equal "
    "diffusers' on tiny random weights; published weights were not run here"
)

# From the signature of the pipeline, as in the official test.py; 24 frames a second from both examples.
OFFICIAL_DEFAULTS = {
    "steps": 50,
    "guidance": 5.0,
    "negative_prompt": (
        "Static, 2D cartoon, cartoon, 2d animation, paintings, images, worst quality, low quality, ugly, deformed, "
        "walking backwards"
    ),
    "width": 768,
    "height": 512,
    "frames": 121,
    "fps": 24.0,
    "max_sequence_length": 512,
}


class Kandinsky5Model(HunyuanModel):
    """A Kandinsky 5.0 checkpoint as a `VideoModel`."""

    row_by_row = True  # a forward for each video, so processes cannot share the weights: they would wait for each other

    def __init__(self, folder: Path, pipeline: Kandinsky5T2VPipeline, options: LoadOptions) -> None:
        values: dict[str, Any] = OFFICIAL_DEFAULTS | side_defaults(folder)
        self.max_sequence_length = int(values.pop("max_sequence_length"))
        super().__init__(folder, pipeline, options, values)
        # Attention and feed-forward of all blocks, not modulation: `lora.target_modules` in the makers' own training
        # config (ai-forever/Kandinsky-5, kandinsky_2.0B_t2v_i2v_..._batch4.yaml); musubi-tuner's default is the same.
        layers = linear_layers(self.denoiser, "text_transformer_blocks.", "visual_transformer_blocks.")
        self.lora_targets = tuple(name for name in layers if "modulation" not in name)
        self.model_hash = weights_hash(folder, ("transformer", "scheduler", *TEXT_PARTS))
        # diffusers normalises queries and keys in float32 whatever the weights are in: so it is meant.
        warnings.filterwarnings("ignore", message="Mismatch dtype between input and weight")

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        """Qwen's states behind the template with their mask, and CLIP's pooled state, each as for this prompt alone.

        CLIP summarises the first 77 tokens only, by design. Warns when Qwen's limit cuts a prompt.
        """
        texts = [self.pipeline.prompt_template.format(prompt_clean(prompt)) for prompt in prompts]
        before = self.pipeline.prompt_template_encode_start_idx
        lengths = [len(ids) - before for ids in self.pipeline.tokenizer(text=texts).input_ids]
        warn_of_truncation(prompts, lengths, self.max_sequence_length)
        return Conditioning.cat([self._encode_one(prompt) for prompt in prompts])

    def _encode_one(self, prompt: str) -> Conditioning:
        limit = self.max_sequence_length
        text_1LD, pooled_1D, _ = self.pipeline.encode_prompt(prompt, max_sequence_length=limit, dtype=self.dtype)
        length = text_1LD.shape[1]
        mask_1L = torch.arange(limit, device=text_1LD.device)[None] < length
        return Conditioning({"text": F.pad(text_1LD, (0, 0, 0, limit - length)), "pooled": pooled_1D, "mask": mask_1L})

    def predict(self, noisy_BCFHW: Tensor, sigma_B: Tensor, conditioning: Conditioning) -> Tensor:
        """The velocity, in float32, where the latents are; one forward for each row.

        Raises:
            UserError: the weights are spread over processes: these would meet in as many forwards as each has rows.
        """
        if isinstance(self.denoiser, FSDPModule):
            raise UserError(
                f"--sharding full cannot train {self.name}: each of its videos takes a forward of its own, and "
                "processes do not have equally many; leave it out"
            )
        rows = [slice(row, row + 1) for row in range(len(noisy_BCFHW))]
        return torch.cat(
            [self._predict_one(noisy_BCFHW[row], sigma_B[row], conditioning.take([row.start])) for row in rows]
        )

    def _predict_one(self, noisy_1CFHW: Tensor, sigma_1: Tensor, conditioning: Conditioning) -> Tensor:
        """As the pipeline calls the network: channels last, the time rounded to the network's precision.

        Checkpoints that also take images have channels for one and for its mask; they are zero: text-to-video.
        """
        given = {name: values.to(self.device) for name, values in conditioning.tensors.items()}
        text_1LD = given["text"][0][given["mask"][0]][None].to(self.dtype)
        noisy_1FHWC = noisy_1CFHW.to(self.device, self.dtype).movedim(1, -1)
        if self.pipeline.transformer.config.visual_cond:
            no_image, no_mask = torch.zeros_like(noisy_1FHWC), torch.zeros_like(noisy_1FHWC[..., :1])
            noisy_1FHWC = torch.cat([noisy_1FHWC, no_image, no_mask], dim=-1)
        size = noisy_1CFHW.shape[2:]
        pixels = [side * self.spatial_factor for side in size[1:]]
        out_1FHWC = self.denoiser(
            hidden_states=noisy_1FHWC.contiguous(),
            encoder_hidden_states=text_1LD,
            timestep=(sigma_1 * 1000).to(self.device, self.dtype),
            pooled_projections=given["pooled"].to(self.dtype),
            visual_rope_pos=[
                torch.arange(side // patch, device=self.device)
                for side, patch in zip(size, self.pipeline.transformer.config.patch_size, strict=True)
            ],
            text_rope_pos=torch.arange(text_1LD.shape[1], device=self.device),
            scale_factor=self.pipeline._get_scale_factor(*pixels),
            return_dict=False,
        )
        return torch.as_tensor(out_1FHWC).movedim(-1, 1).to(noisy_1CFHW.device, torch.float32)

    def sigmas(self, steps: int, shape: Sequence[int] | None = None) -> Tensor:
        """The pipeline's own: what its scheduler makes of a number of steps.

        The makers' program shifts equal steps from 1 to 0 instead; that is nearly the same.
        """
        scheduler = FlowMatchEulerDiscreteScheduler.from_config(self.pipeline.scheduler.config)
        scheduler.set_timesteps(steps)
        return torch.as_tensor(scheduler.sigmas)

    def training_sigmas(self, uniform_B: Tensor, shape: Sequence[int]) -> Tensor:
        """Logit-normal (0, 1), then shifted as in sampling.

        So the makers' LoRA trainer draws them (kandinskylab/kandinsky-5-lora-train), by what others write of it; their
        training config for video has one shift for that and for sampling (`scheduler_scale` 5). musubi-tuner's
        docs/kandinsky5.md trains with the same.
        """
        return shifted_logit_normal(uniform_B, float(self.pipeline.scheduler.config.shift))

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """`(C, F, H', W')`, checking the frame rule 1 + 4k, the size rule (autoencoder factor times patch) and room.

        The network has a table of so many positions along each axis and no more.
        """
        transformer = self.pipeline.transformer
        factors = {"temporal_factor": self.temporal_factor, "spatial_factor": self.spatial_factor}
        patch, positions = transformer.config.patch_size, transformer.visual_rope_embeddings.max_pos
        latent = latent_grid(frames, height, width, **factors, patch=patch[1])
        check_most(
            frames=(frames, 1 + (positions[0] * patch[0] - 1) * self.temporal_factor),
            height=(height, positions[1] * patch[1] * self.spatial_factor),
            width=(width, positions[2] * patch[2] * self.spatial_factor),
        )
        return int(transformer.config.in_visual_dim), *latent


def check_dense(folder: Path) -> None:
    """Refuse a checkpoint whose attention is sparse.

    diffusers hands its choice of blocks to flex attention, which heeds it in a compiled network alone.

    Raises:
        UserError: saying what to do instead.
    """
    if read_json(folder / "transformer" / "config.json").get("attention_type") == "nabla":
        raise UserError(
            f"{folder} attends sparsely (NABLA), which diffusers can do in a compiled network only: use a 5 s "
            'checkpoint; or write "regular" as attention_type into transformer/config.json of a copy for dense '
            "attention, as the makers run the Pro model at 768 x 512"
        )


def load(folder: Path, options: LoadOptions) -> Kandinsky5Model:
    """Load a `Kandinsky5T2VPipeline` folder (safetensors only).

    Of Qwen's processor only the tokenizer is loaded: the parts for images need torchvision, and captions have none.

    Raises:
        UserError: as `load_pipeline`; the checkpoint attends sparsely.
    """
    check_dense(folder)
    pipeline = load_pipeline(Kandinsky5T2VPipeline, folder, options, tokenizer=None)
    pipeline.register_modules(tokenizer=AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True))
    return Kandinsky5Model(folder, pipeline, options)
