"""Export: the adapter of a run in other programs' hands, what its header and card say, and what is refused."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from densedpo import cli
from densedpo.errors import UserError
from densedpo.export import ExportSettings
from densedpo.export.card import model_card
from densedpo.export.run import export
from densedpo.export.source import Base, Source
from densedpo.models.lora import WEIGHTS, adapter_on
from densedpo.store.project import Project
from densedpo.training import TrainSettings
from densedpo.training.loop import train
from small_projects import give_labels, model_at, pipeline_at, plant_pair, project_with_clips

NOISY, SIGMA = torch.randn((2, 8, 3, 6, 6), generator=torch.Generator().manual_seed(0)), torch.tensor([0.4, 0.9])


@pytest.fixture(scope="module")
def project(random_wan_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a finished run `done`, of an adapter whose alpha is not its rank, and an unfinished one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DENSEDPO_QUIET", "1")
        project = project_with_clips(tmp_path_factory.mktemp("export") / "my-project", random_wan_folder, clips=1)
        give_labels(project, plant_pair(project, 0), "a", "b")
        plant_pair(project, 1)
        settings = TrainSettings(steps=3, rank=3, alpha=2.0, lr=0.05, warmup=0, batch=1, beta=100.0)
        done = train(project, model_at(random_wan_folder), settings, "done").run
    unfinished = project.run_folder("unfinished")
    for name in ("run.json", "settings.yaml"):
        (unfinished / name).write_text((done / name).read_text().replace('"done"', '"begun"'))
    return project


@pytest.fixture(scope="module")
def predict(random_wan_folder: Path) -> Callable[[Any], Tensor]:
    """What a denoiser makes of two noisy clips."""
    model = model_at(random_wan_folder)
    text = model.encode_text(["a red circle moves left", "a blue square moves down"]).tensors["text"]
    return lambda denoiser: denoiser(
        hidden_states=NOISY, timestep=SIGMA * 1000, encoder_hidden_states=text, return_dict=False
    )[0].detach()


def exported(project: Project, to: Path, **changes: Any) -> Path:
    return export(project, ExportSettings(**{"run": "done", "to": to, **changes})).weights


def header(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())


@pytest.mark.parametrize("format", ["diffusers", "comfyui"])
def test_the_official_pipeline_draws_with_it_what_ours_draws(
    project: Project, random_wan_folder: Path, predict: Callable[[Any], Tensor], tmp_path: Path, format: str
) -> None:
    file = exported(project, tmp_path, format=format)
    ours, base = model_at(random_wan_folder), predict(model_at(random_wan_folder).denoiser)
    with adapter_on(ours.denoiser, project.run_folder("done") / "adapter"):
        tuned = predict(ours.denoiser)
    pipeline = pipeline_at(random_wan_folder)
    pipeline.load_lora_weights(tmp_path, weight_name=file.name, local_files_only=True)
    try:
        theirs = predict(pipeline.transformer)
    finally:
        pipeline.unload_lora_weights()
    assert (theirs - tuned).abs().max() <= 1e-5 * tuned.abs().max()
    assert (tuned - base).abs().max() > 0.01 * base.abs().max()


def test_for_diffusers_it_is_the_runs_own_file_with_more_in_its_header(project: Project, tmp_path: Path) -> None:
    file, own = exported(project, tmp_path), project.run_folder("done") / "adapter" / WEIGHTS
    there, here = load_file(own), load_file(file)
    assert there.keys() == here.keys()
    assert all(torch.equal(there[key], here[key]) for key in there)
    said = header(file)
    assert header(own).items() <= said.items() | {("densedpo_base_model", header(own)["densedpo_base_model"])}
    assert said["densedpo_base_model_hash"] == model_at(Path(project.settings.model)).model_hash
    facts = json.loads((project.run_folder("done") / "run.json").read_text())
    expected = {"method": "dense", "beta": "100.0", "rank": "3", "alpha": "2.0", "dataset": facts["dataset"]}
    expected |= {"version": facts["versions"]["densedpo"], "base_model": "random-wan", "run": "done"}
    assert {key: said[f"densedpo_{key}"] for key in expected} == expected
    assert said["modelspec.title"] == "my-project done"


def test_for_comfyui_it_has_a_name_of_its_own_and_its_scale_inside(project: Project, tmp_path: Path) -> None:
    file = exported(project, tmp_path, format="comfyui")
    assert file.name == "my-project-done.safetensors"
    said, tensors = header(file), load_file(file)
    assert "lora_adapter_metadata" not in said
    assert said["densedpo_alpha"] == "2.0"
    own = load_file(project.run_folder("done") / "adapter" / WEIGHTS)
    there = own["transformer.blocks.1.attn2.to_out.0.lora_B.weight"]
    assert torch.equal(tensors["diffusion_model.blocks.1.cross_attn.o.lora_B.weight"], 2 / 3 * there)
    assert not [key for key in tensors if "alpha" in key]


def front_matter(card: str) -> dict[str, Any]:
    values = yaml.safe_load(card.split("---\n")[1])
    assert isinstance(values, dict)
    return values


def test_the_card_says_how_it_was_made_and_how_it_is_used(project: Project, tmp_path: Path) -> None:
    exported(project, tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert {"lora", "text-to-video"} <= set(front_matter(card)["tags"])
    assert "license" not in front_matter(card)
    assert "base_model" not in front_matter(card)  # a local folder means nothing to others
    for text in (
        "# my-project done",
        "a preference for each segment of 0.5 s",
        "| beta | 100.0 ",
        "| steps | 3 of 1 pairs |",
        "| rank, alpha | 3, 2.0 |",
        "- 1 labelled pairs; 1 left out unlabelled\n",
        "- videos of 9 frames, 48x48, 8.0 fps\n- clips of the project, by licence: CC0 (1)\n- fingerprint",
        'from_pretrained("path/to/random-wan"',
        f'pipe.load_lora_weights(".", weight_name="{WEIGHTS}")\n```\n',
    ):
        assert text in card
    assert "ComfyUI" not in card
    assert not re.search(r"\n{3,}", card)
    assert str(project.root.parent) not in card


def test_both_formats_share_a_folder_and_again_changes_nothing(project: Project, tmp_path: Path) -> None:
    files = [exported(project, tmp_path, format=format) for format in ("diffusers", "comfyui")]
    card = (tmp_path / "README.md").read_text()
    assert all(f"{file.name}" in card for file in files)
    assert card.endswith("`LoraLoaderModelOnly` with strength 1 behind the base model.\n")
    before = {path: path.stat().st_mtime_ns for path in files}
    exported(project, tmp_path, format="comfyui")
    exported(project, tmp_path, format="diffusers")
    assert {path: path.stat().st_mtime_ns for path in files} == before
    assert (tmp_path / "README.md").read_text() == card


def test_a_card_that_someone_has_changed_is_kept(project: Project, tmp_path: Path) -> None:
    exported(project, tmp_path)
    card = (tmp_path / "README.md").read_text().replace("# license: yours to give", "license: apache-2.0 #")
    (tmp_path / "README.md").write_text(card)
    assert export(project, ExportSettings(run="done", to=tmp_path, format="comfyui")).card_kept
    assert (tmp_path / "README.md").read_text() == card


def of_another_base(project: Project, base: Base, **header: str) -> Source:
    source = Source.open(project, "done")
    return Source(**{**vars(source), "base": base, "header": source.header | header})


def test_the_card_of_a_hub_model_names_it(project: Project) -> None:
    hub_id = "hunyuanvideo-community/HunyuanVideo-1.5-Diffusers-720p_t2v"
    source = of_another_base(project, Base(hub_id, hub_id, "HunyuanVideo15Pipeline"))
    card = model_card(source, {"diffusers": WEIGHTS})
    assert front_matter(card)["base_model"] == hub_id
    assert f'from_pretrained("{hub_id}"' in card
    assert 'pipe.transformer.load_lora_adapter(".", prefix="transformer"' in card
    assert source.metadata()["densedpo_base_model"] == hub_id


@pytest.mark.parametrize(("expert", "into_second"), [("low", True), ("high", False)])
def test_the_card_of_an_experts_adapter_says_where_it_goes(project: Project, expert: str, into_second: bool) -> None:
    base = Base("Wan-AI/Wan2.2-T2V-A14B-Diffusers", "Wan-AI/Wan2.2-T2V-A14B-Diffusers", "WanPipeline")
    card = model_card(
        of_another_base(project, base, densedpo_expert=expert), {"diffusers": WEIGHTS, "comfyui": "x.safetensors"}
    )
    assert ("load_into_transformer_2=True" in card) == into_second
    assert f"A LoRA adapter for the {expert}-noise expert of [Wan-AI/" in card
    assert f"behind the base model of the {expert}-noise expert." in card


def test_another_adapter_in_the_folder_is_not_overwritten(project: Project, tmp_path: Path) -> None:
    first = exported(project, tmp_path)
    source = project.run_folder("done") / "run.json"
    text = source.read_text()
    source.write_text(text.replace('"densedpo": "', '"densedpo": "9'))
    try:
        with pytest.raises(UserError, match=r"is another adapter: give another --to, or delete that file"):
            exported(project, tmp_path)
    finally:
        source.write_text(text)
    assert header(first)["densedpo_version"][0] != "9"


def test_runs_that_cannot_be_exported(project: Project, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no training run named '\.\./done'; it has: done, unfinished"):
        exported(project, tmp_path, run="../done")
    with pytest.raises(UserError, match=r"'unfinished' is not finished: run its `densedpo train` command again"):
        exported(project, tmp_path, run="unfinished")
    assert list(tmp_path.iterdir()) == []


def test_a_base_model_that_cannot_be_looked_up(project: Project, tmp_path: Path) -> None:
    changed = project.settings.model_copy(update={"model": "nobody/no-such-model"})
    other = Project(project.root, changed, project._engine)
    with pytest.raises(UserError, match=r"model 'nobody/no-such-model' could not be fetched from the hub"):
        exported(other, tmp_path)


def test_the_command(project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", str(project.root), "--run", "done", "--to", str(tmp_path / "new" / "folder"), "--json"]
    assert cli.run(words) == 0
    *told, result = capsys.readouterr().out.splitlines()
    assert json.loads(result) == {
        "weights": str(tmp_path / "new" / "folder" / WEIGHTS),
        "card": str(tmp_path / "new" / "folder" / "README.md"),
        "card_kept": False,
    }
    assert told[1].endswith("its model card; add a licence before you publish it")
    assert cli.run(["export", str(project.root), "--run", "done"]) == 2
    assert "to is missing" in capsys.readouterr().err
