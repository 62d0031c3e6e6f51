"""Wan's autoencoder over whole clips: the streaming form's numbers, and the streaming form left as it was."""

from collections.abc import Callable

import pytest
import torch
from diffusers import AutoencoderKLWan
from tiny_wan22 import plain_autoencoder, residual_autoencoder
from torch import Tensor

from densedpo.diffusion.seeds import noise
from densedpo.models import wan_vae
from densedpo.models.wan_vae import decode_clips, encode_clips, passes_whole, whole_clips

BUILDS = {"Wan 2.1": plain_autoencoder, "Wan 2.2": residual_autoencoder}


@pytest.fixture(params=BUILDS)
def vae(request: pytest.FixtureRequest) -> AutoencoderKLWan:
    torch.manual_seed(0)
    vae = BUILDS[request.param]().requires_grad_(False).eval()
    for name, weights in vae.named_parameters():
        if name.endswith("gamma"):  # ones, in a new autoencoder
            weights.uniform_(0.5, 1.5)
    return vae


def clips(vae: AutoencoderKLWan, frames: int, count: int = 2) -> Tensor:
    side = 3 * vae.config.scale_factor_spatial
    return noise((count, 3, frames, side, side), "clips", frames).clamp(-1, 1)


def streamed(vae: AutoencoderKLWan, video: Tensor) -> tuple[Tensor, Tensor]:
    latents = vae.encode(video).latent_dist.mode()
    return latents, vae.decode(latents).sample


def close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("frames", [1, 5, 17])
def test_whole_clips_equal_streamed_ones(vae: AutoencoderKLWan, frames: int, count: int) -> None:
    video = clips(vae, frames, count)
    latents, decoded = streamed(vae, video)
    assert passes_whole(vae, *video.shape[2:])
    close(encode_clips(vae, video), latents)
    close(decode_clips(vae, latents), decoded)


def test_the_streaming_form_gives_the_same_bits_before_and_after(vae: AutoencoderKLWan) -> None:
    video = clips(vae, 5)
    before = streamed(vae, video)
    encode_clips(vae, video)
    decode_clips(vae, before[0])
    with pytest.raises(ZeroDivisionError), whole_clips(vae):
        _ = 1 / 0
    after = streamed(vae, video)
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])


def test_whole_clips_pass_one_after_the_other(vae: AutoencoderKLWan) -> None:
    video = clips(vae, 5, count=3)
    latents, decoded = streamed(vae, video)
    passes: list[int] = []
    for part in (vae.encoder, vae.decoder):
        part.register_forward_pre_hook(lambda _, given: passes.append(len(given[0])))
    close(encode_clips(vae, video), latents)
    close(decode_clips(vae, latents), decoded)
    assert passes == [1] * 6
    assert torch.equal(decode_clips(vae, latents[:1]), decode_clips(vae, latents)[:1])


def no_room(vae: AutoencoderKLWan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wan_vae, "WHOLE_CLIP_BYTES", 1000)


def tiling(vae: AutoencoderKLWan, monkeypatch: pytest.MonkeyPatch) -> None:
    vae.enable_tiling()


@pytest.mark.parametrize("reason", [no_room, tiling])
def test_clips_that_are_large_or_tiled_are_streamed(
    vae: AutoencoderKLWan, monkeypatch: pytest.MonkeyPatch, reason: Callable[..., None]
) -> None:
    video = clips(vae, 5)
    reason(vae, monkeypatch)
    latents, decoded = streamed(vae, video)
    assert torch.equal(encode_clips(vae, video), latents)
    torch.testing.assert_close(decode_clips(vae, latents), decoded, rtol=0, atol=1e-5)  # one by one
    with torch.no_grad():
        assert torch.equal(decode_clips(vae, latents[:1]), vae.decode(latents[:1]).sample)


def test_which_clips_of_the_published_autoencoder_pass_whole() -> None:
    """96 channels, 20 tensors, 4 bytes: 7680 bytes a pixel and frame, so 139810 of those (373.9 squared) to the GiB."""
    with torch.device("meta"):
        vae = AutoencoderKLWan()
    assert not passes_whole(vae, 81, 480, 832)
    assert passes_whole(vae, 5, 160, 160)
    assert passes_whole(vae, 1, 373, 373)
    assert not passes_whole(vae, 1, 374, 374)
