"""Plans of every family: what is counted without weights against torch's counter on the real tiny model."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_every_family import BUILDERS
from tiny_cogvideox_image import random_cogvideox_image
from tiny_wan_image import random_wan_image
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from densedpo.diffusion.protocol import Conditioning, given_frames
from densedpo.errors import UserError
from densedpo.models import load_model, wan_vae
from densedpo.models.load import families
from densedpo.plan.checkpoint import config_folder
from densedpo.plan.estimate import WITH, WITHOUT, Plan, make_plan
from densedpo.plan.families import FAMILIES
from densedpo.plan.meta import MASKS, load_meta
from densedpo.plan.settings import PlanSettings
from densedpo.plan.work import base_flops

FROM_A_FIRST_FRAME: dict[str, Callable[[Path], Path]] = {
    "wan-2.1-i2v": functools.partial(random_wan_image, build="2.1"),
    "wan-2.2-i2v-a14b": functools.partial(random_wan_image, build="a14b"),
    "wan-2.2-ti2v-image": functools.partial(random_wan_image, build="ti2v"),
    "cogvideox-5b-i2v": functools.partial(random_cogvideox_image, kind="5b"),
    "cogvideox-1.5-i2v": functools.partial(random_cogvideox_image, kind="1.5"),
}
ALL = {name: build for name, (_, build) in BUILDERS.items()} | FROM_A_FIRST_FRAME

WHOLE_PLANS = {
    "wan-2.1-i2v",
    "cogvideox-1.5-i2v",
    "hunyuan-video-1.5",
    "skyreels-v2",
    "ltx-0.9.5",
    "sana-video-480p",
    "kandinsky-5",
}


def counted(run: Callable[[], object]) -> int:
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def told(model: Any, shapes: dict[str, tuple[int, ...]]) -> Conditioning:
    """Whatever the network is given beside noise and time, with captions that fill the text encoder's window."""
    return Conditioning(
        {
            name: torch.ones(1, *size, dtype=torch.bool) if name in MASKS else torch.ones(1, *size)
            for name, size in shapes.items()
        }
    )


@pytest.mark.filterwarnings("ignore:.*autocast.*:UserWarning")  # Mochi's rotary tables, on a CPU
@pytest.mark.parametrize("name", ALL)
def test_operations_and_parameters_are_those_of_the_real_network(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wan_vae, "ONE_DNN", False)  # torch's counter does not know oneDNN's convolution
    folder = ALL[name](tmp_path / "model")
    real: Any = load_model(str(folder), device="cpu")
    size = (real.defaults.frames, real.defaults.height, real.defaults.width)
    shape = real.latent_shape(*size)
    with config_folder(str(folder)) as configs:
        meta = load_meta(configs, torch.float32)
    forward, encode, decode = base_flops(meta, shape, *size)
    given = told(real, dict(meta.family.told(meta.model, shape)))
    assert forward == pytest.approx(
        counted(lambda: real.predict(torch.zeros(1, *shape), torch.tensor([0.5]), given)), rel=0.02
    )
    clip = np.zeros((1, size[0], *size[1:], 3), dtype=np.uint8)
    work = counted(lambda: real.encode(clip))
    if given_frames(real):
        image = real.pipeline.image_encoder if "image_embeds" in given.tensors else None
        work += counted(lambda: real.encode_first_frame(clip[:, 0], size[0]))
        if image is not None:  # like captions, CLIP's look at the image is left out
            work -= counted(lambda: real.pipeline.encode_image(clip[0, 0]))
    assert encode == pytest.approx(work, rel=0.02)
    assert decode == pytest.approx(counted(lambda: real.decode(torch.zeros(1, *shape))), rel=0.02)
    for ours, theirs in ((meta.model.denoiser, real.denoiser), (meta.vae, real.vae)):
        assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    if name in WHOLE_PLANS:
        check_whole_plan(make_plan(str(folder), PlanSettings(rank=4, batch=2, precision="float32")))


def check_whole_plan(plan: Plan) -> None:
    """Beside a forward: the adapter's backward, and what autograd keeps, with checkpointing and without."""
    clip = plan.clip_flops
    assert clip.forward < clip.policy_forward < 1.5 * clip.forward
    assert 0.1 < clip.policy_backward / clip.policy_forward < 2.5  # long captions before the first adapted layer: less
    assert plan.pair_flops == plan.sampling_calls * clip.forward + clip.encode + 2 * clip.decode
    kept, recomputed = (plan.memory[how]["activations"] for how in (WITHOUT, WITH))
    assert 0 < recomputed < kept


def test_every_family_has_plans() -> None:
    assert FAMILIES.keys() == families().keys()


def test_a_model_that_cannot_be_sharded_has_no_such_plan(tmp_path: Path) -> None:
    folder = ALL["kandinsky-5"](tmp_path / "model")
    with pytest.raises(UserError, match="cannot be trained with its weights spread over GPUs: plan it with --sharding"):
        make_plan(str(folder), PlanSettings(gpus=2, batch=2, sharding="fsdp"))
