"""Which folders can be loaded, what is said of the others, and what a loaded model is."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler
from huggingface_hub import errors
from huggingface_hub.utils import filter_repo_objects
from model_folders import variant

from densedpo.diffusion.protocol import check_frame_rate
from densedpo.diffusion.seeds import noise
from densedpo.errors import UserError
from densedpo.models import load_model
from densedpo.models.identity import HUB_VARIANTS
from densedpo.models.load import HUB_FILES
from densedpo.models.settings import LoadSettings
from small_projects import model_at


@pytest.mark.parametrize("name", ["/no/such/folder", "no-such-model", "./owner/name", "a/b/c"])
def test_a_name_that_is_neither_folder_nor_hub_id(name: str) -> None:
    with pytest.raises(UserError, match=f"model '{name}' is not a folder: give a diffusers folder, a hub id"):
        load_model(name)


def test_a_hub_model_that_cannot_be_fetched() -> None:
    with pytest.raises(UserError, match=r"model 'nobody/no-model' could not be fetched from the hub .*hf auth login"):
        load_model("nobody/no-model")


GATED = r"is gated: accept its terms on https://huggingface\.co/owner/name, then `hf auth login`"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.GatedRepoError, GATED),
        (errors.RepositoryNotFoundError, r"there is no model 'owner/name' on the hub that you may see: check the name"),
        (errors.RevisionNotFoundError, r"model 'owner/name' has no revision 'v9': give a branch, tag or commit of it"),
        (errors.HfHubHTTPError, r"model 'owner/name' could not be fetched from the hub \(HfHubHTTPError\)"),
    ],
)
def test_what_the_hub_answers(monkeypatch: pytest.MonkeyPatch, error: type[Exception], message: str) -> None:
    asked: dict[str, object] = {}

    def fetch(hub_id: str, **given: object) -> str:
        asked.update(given)
        raise error.__new__(error)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    with pytest.raises(UserError, match=message):
        load_model("owner/name", LoadSettings(revision="v9"))
    assert asked["revision"] == "v9"
    assert not any("bin" in pattern for pattern in asked["allow_patterns"])  # type: ignore[attr-defined]


def test_a_folder_that_is_no_pipeline(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no model_index\.json: give the folder of a whole diffusers pipeline"):
        load_model(str(tmp_path))


def test_a_pipeline_of_an_unknown_kind(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "SomeNewPipeline"}))
    with pytest.raises(
        UserError, match=r"is a SomeNewPipeline, which densedpo cannot train yet: it knows .*WanPipeline"
    ):
        load_model(str(tmp_path))


def test_a_model_whose_files_are_not_all_there(random_wan_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(random_wan_folder, tmp_path / "wan")
    (tmp_path / "wan" / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"is not a whole WanPipeline: .*download or copy it again"):
        load_model(str(tmp_path / "wan"))


def test_what_a_folder_says_of_itself_wins_over_the_official_defaults(random_wan_folder: Path, tmp_path: Path) -> None:
    own = model_at(random_wan_folder)
    assert (own.defaults.steps, own.defaults.guidance, own.max_sequence_length) == (4, 3.0, 24)
    folder = variant(random_wan_folder, tmp_path / "wan", "model_index.json")
    (folder / "densedpo.json").unlink()
    official = model_at(folder)
    assert (official.defaults.steps, official.defaults.guidance, official.max_sequence_length) == (50, 5.0, 512)
    assert official.defaults.negative_prompt.startswith("Bright tones, overexposed, static")


def test_the_schedule_has_the_checkpoints_own_shift_whatever_its_scheduler_calls_it(
    random_wan_folder: Path, tmp_path: Path
) -> None:
    """Wan 2.1 is published with UniPC, whose settings name the shift `flow_shift`."""
    folder = variant(random_wan_folder, tmp_path / "wan", "model_index.json", scheduler=["diffusers", UNIPC])
    (folder / "scheduler").unlink()
    (folder / "scheduler").mkdir()
    config = {"_class_name": UNIPC, "flow_shift": 5.0, "use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    scheduler = FlowMatchEulerDiscreteScheduler(shift=5.0)
    scheduler.set_timesteps(6)
    assert torch.equal(model_at(folder).sigmas(6), scheduler.sigmas)


UNIPC = "UniPCMultistepScheduler"


def test_hashes_name_the_weights_that_decide(random_wan_folder: Path, tmp_path: Path) -> None:
    model = model_at(random_wan_folder)
    other = model_at(variant(random_wan_folder, tmp_path / "vae", "vae/config.json", latents_mean=[0.1] * 8))
    assert (other.model_hash, len(model.model_hash)) == (model.model_hash, 32)
    assert other.vae_hash != model.vae_hash
    shifted = variant(random_wan_folder, tmp_path / "shift", "scheduler/scheduler_config.json", shift=4.0)
    assert model_at(shifted).model_hash != model.model_hash
    assert model_at(shifted).vae_hash == model.vae_hash


def test_in_bfloat16_the_denoiser_predicts_in_float32_and_the_autoencoder_keeps_every_bit(
    random_wan_folder: Path,
) -> None:
    """How a model runs on a GPU; some of Wan's weights stay in float32 even then."""
    model, exact = load_model(str(random_wan_folder), dtype=torch.bfloat16), model_at(random_wan_folder)
    assert {p.dtype for p in model.denoiser.parameters()} == {torch.float32, torch.bfloat16}
    noisy, sigma = noise((2, 8, 3, 6, 6), "noisy"), torch.tensor([0.3, 0.8])
    prompts = ["a red circle moves left", ""]
    predicted = model.predict(noisy, sigma, model.encode_text(prompts))
    expected = exact.predict(noisy, sigma, exact.encode_text(prompts))
    assert predicted.dtype == torch.float32
    assert 0 < (predicted - expected).abs().max() < 0.03 * expected.abs().max()
    latents = noise((1, 8, 3, 6, 6), "latents")
    assert (model.decode(latents) == exact.decode(latents)).all()
    stored = AutoencoderKLWan.from_pretrained(random_wan_folder, subfolder="vae").state_dict()
    held = model.vae.state_dict()  # type: ignore[attr-defined]
    assert all(torch.equal(held[name], weight) for name, weight in stored.items())


def test_of_a_hub_model_only_the_parts_of_the_pipeline_are_fetched() -> None:
    wanted = ["model_index.json", "vae/config.json", "transformer/diffusion_pytorch_model-00001-of-2.safetensors"]
    wanted.append("tokenizer/chat_template.jinja")
    unwanted = ["whole-13b.safetensors", "unet/model.fp16.safetensors", "vae/model.bin", "README.md"]
    kept = filter_repo_objects(wanted + unwanted, allow_patterns=HUB_FILES, ignore_patterns=HUB_VARIANTS)
    assert list(kept) == wanted


def test_second_copies_and_hidden_files_are_not_in_the_hashes(random_wan_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(random_wan_folder, folder)
    before = model_at(folder)
    for part in ("transformer", "vae"):
        (folder / part / ".DS_Store").write_bytes(b"of a file manager")
        (folder / part / "diffusion_pytorch_model.bf16.safetensors").write_bytes(b"somebody else's download")
    after = model_at(folder)
    assert (after.model_hash, after.vae_hash) == (before.model_hash, before.vae_hash)


def test_what_a_model_is_told_beside_its_weights_is_in_its_hash(random_wan_folder: Path, tmp_path: Path) -> None:
    plain = model_at(random_wan_folder)
    shorter = model_at(variant(random_wan_folder, tmp_path / "a", "densedpo.json", max_sequence_length=12))
    assert shorter.model_hash != plain.model_hash
    assert shorter.vae_hash == plain.vae_hash
    tiled = load_model(str(random_wan_folder), LoadSettings(device="cpu", tiled_vae=True))
    assert tiled.model_hash == plain.model_hash
    assert tiled.vae_hash != plain.vae_hash


def test_a_default_that_a_model_does_not_have(random_wan_folder: Path, tmp_path: Path) -> None:
    folder = variant(random_wan_folder, tmp_path / "a", "densedpo.json", stepps=3)
    with pytest.raises(UserError, match=r"densedpo\.json sets stepps, which this model does not have: remove it"):
        load_model(str(folder))
    (folder / "densedpo.json").write_text("{")
    with pytest.raises(UserError, match=r"densedpo\.json is no valid JSON"):
        load_model(str(folder))


def test_a_frame_rate_other_than_the_one_a_model_is_told(tmp_path: Path) -> None:
    told: Any = SimpleNamespace(told_fps=25.0, folder=tmp_path)
    check_frame_rate(told, 25.0)
    check_frame_rate(SimpleNamespace(folder=tmp_path), 8.0)  # type: ignore[arg-type]  # one that is told none
    with pytest.raises(UserError, match=r'told 25 frames a second, but the project has 16: put \{"fps": 16\} into'):
        check_frame_rate(told, 16.0)
