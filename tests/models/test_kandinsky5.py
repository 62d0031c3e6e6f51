"""Kandinsky 5.0 against diffusers' pipeline on the same folder of random weights, which draws one prompt at a time."""

import inspect
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import Kandinsky5T2VPipeline
from family_checks import relative_error, told, trained_adapter
from model_folders import variant
from numpy.typing import NDArray
from tiny_kandinsky5 import random_kandinsky5
from torch import Tensor
from transformers import Qwen2VLProcessor

from densedpo.diffusion.protocol import Conditioning
from densedpo.diffusion.sampler import sample
from densedpo.diffusion.seeds import noise
from densedpo.errors import UserError
from densedpo.models import kandinsky5, load_model, lora
from densedpo.models.kandinsky5 import Kandinsky5Model
from densedpo.plan.checkpoint import config_folder
from densedpo.plan.meta import load_meta

SHAPE = (4, 2, 4, 6)
PROMPTS, NEGATIVE = ["a red circle moves left", "a blue square"], "a square moves down slowly"
START, SIGMA = noise((2, *SHAPE), "start"), torch.tensor([0.4, 0.9])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_kandinsky5(tmp_path_factory.mktemp("models") / "kandinsky5")


def at(folder: Path, **options: Any) -> Kandinsky5Model:
    model = load_model(str(folder), device="cpu", **options)
    assert isinstance(model, Kandinsky5Model)
    return model


@pytest.fixture(scope="module")
def model(folder: Path) -> Kandinsky5Model:
    return at(folder)


@pytest.fixture(scope="module")
def clips() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (2, 5, 32, 48, 3), dtype=np.uint8)


def official(folder: Path) -> Kandinsky5T2VPipeline:
    pipeline = Kandinsky5T2VPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def theirs(pipeline: Kandinsky5T2VPipeline, guidance: float, output: str = "latent") -> Any:
    """Each prompt by itself; given latents must come with the channels that the pipeline adds to its own."""
    made = []
    for prompt, start in zip(PROMPTS, START, strict=True):
        latents = start[None].movedim(1, -1)
        if pipeline.transformer.config.visual_cond:
            latents = torch.cat([latents, torch.zeros(*latents.shape[:-1], 5)], dim=-1)
        shown = pipeline(
            prompt=prompt,
            negative_prompt=NEGATIVE,
            latents=latents.clone(),
            num_inference_steps=3,
            guidance_scale=guidance,
            height=32,
            width=48,
            num_frames=5,
            max_sequence_length=10,
            output_type=output,
        ).frames
        made.append(shown)
    return np.concatenate(made) if output == "np" else torch.cat(made).movedim(-1, 1)


def ours(model: Kandinsky5Model, guidance: float) -> Tensor:
    positive, negative = model.encode_text(PROMPTS), model.encode_text([NEGATIVE] * 2)
    return sample(model, START, [model.sigmas(3)] * 2, positive, negative, guidance)


def close(a: Tensor, b: Tensor, error: float = 1e-5) -> bool:
    return relative_error(a, b) <= error


@pytest.mark.parametrize("guidance", [5.0, 1.0])
def test_sampling_equals_the_pipeline_for_captions_of_several_lengths(
    model: Kandinsky5Model, folder: Path, guidance: float
) -> None:
    assert close(ours(model, guidance), theirs(official(folder), guidance))
    assert not close(ours(model, guidance), ours(model, 6.0 - guidance), 0.01)


def test_sampling_equals_the_pipeline_of_a_checkpoint_without_channels_for_images(tmp_path: Path) -> None:
    folder = random_kandinsky5(tmp_path / "plain", visual_cond=False)
    plain = at(folder)
    with told(plain) as given:
        assert close(ours(plain, 5.0), theirs(official(folder), 5.0))
    assert given["hidden_states"].shape[-1] == 4


def test_clips_equal_the_pipelines(model: Kandinsky5Model, folder: Path) -> None:
    video, decoded = theirs(official(folder), 5.0, "np") * 255, model.decode(ours(model, 5.0))
    assert (decoded.shape, decoded.dtype) == ((2, 5, 32, 48, 3), np.uint8)
    assert np.abs(decoded - video).max() <= 0.5 + 0.01
    assert decoded.std() > 5


def test_encoding_scales_the_posteriors_mean_and_decoding_undoes_it(
    model: Kandinsky5Model, clips: NDArray[np.uint8]
) -> None:
    latents = model.encode(clips)
    pixels = torch.from_numpy(clips).permute(0, 4, 1, 2, 3).float() / 255 * 2 - 1
    with torch.no_grad():
        mean = model.vae.encode(pixels).latent_dist.mean
    assert (latents.shape, latents.dtype) == ((2, *SHAPE), torch.float32)
    assert close(latents / 0.476986, mean)
    assert close(model.encode(clips[1:]), latents[1:])
    assert model.decode(latents).shape == clips.shape


def test_text_is_encoded_as_the_pipeline_does_it_for_one_prompt(model: Kandinsky5Model, folder: Path) -> None:
    pipeline, prompts = official(folder), [*PROMPTS, "", " a  red &amp; blue square "]
    tensors = model.encode_text(prompts).tensors
    assert tensors["mask"].sum(1).tolist() == [6, 4, 1, 6]  # the words, and the end of the message
    for row, prompt in enumerate(prompts):
        with torch.no_grad():
            text, pooled, ends = pipeline.encode_prompt(prompt, max_sequence_length=10)
        assert torch.equal(tensors["text"][row][tensors["mask"][row]], text[0])
        assert ends.tolist() == [0, tensors["mask"][row].sum()]
        assert torch.equal(tensors["pooled"][row], pooled[0])
    assert not tensors["text"][~tensors["mask"]].any()


class TextOnly(Qwen2VLProcessor):
    """Qwen's processor without its parts for images and videos, which need torchvision."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.chat_template = tokenizer, None


def test_a_folder_that_names_qwens_processor_is_read_without_torchvision(
    model: Kandinsky5Model, folder: Path, tmp_path: Path
) -> None:
    """As published; the processor makes of captions what its tokenizer does."""
    named = variant(folder, tmp_path / "named", "model_index.json", tokenizer=["transformers", "Qwen2VLProcessor"])
    expected = model.encode_text(PROMPTS).tensors
    other = at(named)
    assert all(torch.equal(values, expected[name]) for name, values in other.encode_text(PROMPTS).tensors.items())
    how: dict[str, Any] = {"images": None, "videos": None, "return_tensors": "pt", "padding": True}
    processed = TextOnly(other.pipeline.tokenizer)(text=PROMPTS, **how)
    plain = other.pipeline.tokenizer(text=PROMPTS, **how)
    assert all(torch.equal(processed[name], plain[name]) for name in ("input_ids", "attention_mask"))


def test_rows_do_not_depend_on_their_neighbours_at_all(model: Kandinsky5Model) -> None:
    together = model.encode_text(PROMPTS)
    prediction = model.predict(START, SIGMA, together).detach()
    for i in range(2):
        alone = model.encode_text(PROMPTS[i : i + 1])
        for name, values in alone.tensors.items():
            assert torch.equal(values, together.tensors[name][i : i + 1]), name
        assert torch.equal(model.predict(START[i : i + 1], SIGMA[i : i + 1], alone), prediction[i : i + 1])
    pooled = together.tensors | {"pooled": together.tensors["pooled"].flip(0)}
    for other in (together.take([1, 0]), Conditioning(pooled)):  # both texts matter
        assert not close(model.predict(START, SIGMA, other).detach(), prediction, 0.001)


def test_the_network_is_given_no_image_and_the_time_in_its_own_precision(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch would say of diffusers' norms that they are not its fastest
        model = at(folder, dtype=torch.bfloat16)
        with told(model) as given:
            prediction = model.predict(START, torch.tensor([0.25, 0.999]), model.encode_text(PROMPTS))
    assert (prediction.dtype, prediction.shape) == (torch.float32, START.shape)
    assert given["timestep"].tolist() == [1000.0]  # 999 in bfloat16, whose neighbours are 996 and 1000
    assert given["timestep"].dtype == given["hidden_states"].dtype == torch.bfloat16
    assert given["hidden_states"].shape == (1, 2, 4, 6, 9)
    assert not given["hidden_states"][..., 4:].any()


@pytest.mark.parametrize(
    ("height", "width", "scales"),
    [(480, 848, (1, 2, 2)), (32, 848, (1, 3.16, 3.16)), (480, 864, (1, 3.16, 3.16))],
)
def test_positions_are_scaled_by_resolution(
    model: Kandinsky5Model, height: int, width: int, scales: tuple[float, ...]
) -> None:
    shape = model.latent_shape(1, height, width)
    with told(model) as given, torch.no_grad():
        model.predict(noise((1, *shape), "large"), SIGMA[:1], model.encode_text(PROMPTS[:1]))
    assert given["scale_factor"] == scales
    assert [len(each) for each in given["visual_rope_pos"]] == [1, height // 16, width // 16]
    assert given["text_rope_pos"].tolist() == [0, 1, 2, 3, 4, 5]


def test_the_schedule_is_the_schedulers_own(model: Kandinsky5Model, folder: Path) -> None:
    scheduler = official(folder).scheduler
    scheduler.set_timesteps(7)
    assert torch.equal(model.sigmas(7), scheduler.sigmas)
    assert model.sigmas(2).tolist() == pytest.approx([1, 5 * 0.005 / (1 + 4 * 0.005), 0], rel=0.01)


def test_training_noise_levels_are_logit_normal_and_shifted_as_in_sampling(model: Kandinsky5Model) -> None:
    one_deviation = 0.5 + 0.5 * math.erf(0.5**0.5)
    drawn = model.training_sigmas(torch.tensor([0.5, one_deviation]), SHAPE)
    assert drawn.tolist() == pytest.approx([5 / 6, 5 * 0.7310586 / (1 + 4 * 0.7310586)], rel=1e-5)


def test_defaults_are_those_of_the_pipelines_signature(folder: Path, tmp_path: Path) -> None:
    plain = variant(folder, tmp_path / "plain", "model_index.json")
    (plain / "densedpo.json").unlink()
    defaults, source = at(plain).defaults, inspect.getsource(Kandinsky5T2VPipeline.__call__)
    named = inspect.signature(Kandinsky5T2VPipeline.__call__).parameters
    assert (defaults.steps, defaults.guidance) == (
        named["num_inference_steps"].default,
        named["guidance_scale"].default,
    )
    assert (defaults.frames, defaults.height, defaults.width) == tuple(
        named[name].default for name in ("num_frames", "height", "width")
    )
    assert f'negative_prompt = "{defaults.negative_prompt}"' in source


def test_sparse_attention_is_refused_before_anything_is_loaded(folder: Path, tmp_path: Path) -> None:
    sparse = variant(folder, tmp_path / "sparse", "transformer/config.json", attention_type="nabla")
    with pytest.raises(UserError, match=r"attends sparsely \(NABLA\), .* compiled network only: use a 5 s checkpoint"):
        at(sparse)
    with config_folder(str(sparse)) as configs, pytest.raises(UserError, match=r"attends sparsely"):
        load_meta(configs, torch.float32)


def test_weights_spread_over_processes_are_refused(model: Kandinsky5Model, monkeypatch: pytest.MonkeyPatch) -> None:
    text = model.encode_text(PROMPTS)
    monkeypatch.setattr(kandinsky5, "FSDPModule", type(model.denoiser))
    with pytest.raises(UserError, match=r"--sharding full cannot train kandinsky5: each of its videos takes a forward"):
        model.predict(START, SIGMA, text)


def test_a_size_that_does_not_fit_names_the_nearest_that_do(model: Kandinsky5Model) -> None:
    assert model.latent_shape(5, 32, 48) == SHAPE
    with pytest.raises(UserError, match=r"8 frames do not fit this model \(1 \+ 4k\): use 5 or 9"):
        model.latent_shape(8, 32, 48)
    with pytest.raises(UserError, match=r"width 40 does not fit this model \(a multiple of 16\): use 32 or 48"):
        model.latent_shape(5, 32, 40)
    assert model.latent_shape(509, 2048, 2048)[1:] == (128, 256, 256)
    for name, size, most in (
        ("frames", (513, 32, 48), 509),
        ("height", (5, 2064, 48), 2048),
        ("width", (5, 32, 2064), 2048),
    ):
        with pytest.raises(UserError, match=f"{name} {max(size)} does not fit this model: use at most {most}"):
            model.latent_shape(*size)


def test_a_prompt_that_is_cut_warns(model: Kandinsky5Model) -> None:
    model.encode_text(["a red circle moves left a blue square moves"])  # 9 words, and the end of the message
    with pytest.warns(UserWarning, match=r"the caption 'slowly a red.* has 11 tokens, of which .* the first 10"):
        cut = model.encode_text(["slowly a red circle moves left a blue square moves"])
    assert cut.tensors["mask"].all()


def test_an_adapter_samples_the_same_in_a_fresh_pipeline_and_switched_off_it_is_the_base(
    model: Kandinsky5Model, folder: Path, tmp_path: Path
) -> None:
    text = model.encode_text(PROMPTS)
    base, base_sample = model.predict(START, SIGMA, text).detach(), ours(model, 5.0)
    assert len(model.lora_targets) == 6 + 2 * 10
    with trained_adapter(model):
        lora.save_adapter(model.denoiser, tmp_path, {})
        tuned = ours(model, 5.0)
        with lora.adapter_off(model.denoiser):
            assert torch.equal(model.predict(START, SIGMA, text).detach(), base)
    pipeline = official(folder)
    pipeline.load_lora_weights(tmp_path)
    assert close(tuned, theirs(pipeline, 5.0))
    assert not close(tuned, base_sample, 0.01)


def test_an_adapters_gradients_reach_every_layer(model: Kandinsky5Model) -> None:
    with lora.fresh_adapter(model.denoiser, model.lora_targets, 4, 4.0, seed=0) as parameters:
        model.predict(START, SIGMA, model.encode_text(["a", ""])).square().mean().backward()
        gradients = {name: p.grad for name, p in model.denoiser.named_parameters() if "lora_B" in name}
    assert len(gradients) == len(model.lora_targets) == len(parameters) / 2
    assert all(each is not None and each.isfinite().all() and each.any() for each in gradients.values())


def test_the_pro_model_has_the_bytes_of_the_published_file() -> None:
    """kandinsky5pro_t2v_sft_5s.safetensors takes 41376 MiB: bfloat16, but for the layers that stay in float32."""
    with config_folder("kandinsky5-pro-19b") as configs:
        network = load_meta(configs, torch.bfloat16).model.denoiser
    assert sum(p.numel() * p.element_size() for p in network.parameters()) / 2**20 == pytest.approx(41376, abs=1)
