"""A sweep end to end on a random model: scales mean what they say, and it can be stopped, grown and read."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from densedpo import cli
from densedpo.cli.sweep_command import sweep as sweep_command
from densedpo.errors import UserError
from densedpo.evaluation import EvaluateSettings, drift, making
from densedpo.evaluation.checkpoints import find_checkpoints, keep_adapter
from densedpo.evaluation.drift import motion_change, relative_change, unrelated_prompts
from densedpo.evaluation.making import Tuned
from densedpo.evaluation.run import evaluate
from densedpo.evaluation.sweep import plan_sweep, sweep
from densedpo.evaluation.sweep_settings import SweepSettings
from densedpo.models.lora import WEIGHTS, adapter_on
from densedpo.store.project import Project
from densedpo.training import TrainSettings
from densedpo.training.loop import train
from small_projects import CAPTIONS, give_labels, model_at, plant_pair, project_with_clips

PROMPTS = ("a red star moves on a navy background", "a green cross moves on a grey background")
UNRELATED = ("a dog runs", "rain", "a busy street", CAPTIONS[0])  # the last is trained on


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DENSEDPO_QUIET", "1")


@pytest.fixture(scope="module")
def project(random_wan_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """With a finished run `dense` that keeps checkpoints of steps 2 and 4; its alpha is not its rank."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DENSEDPO_QUIET", "1")
        project = project_with_clips(tmp_path_factory.mktemp("sweep") / "project", random_wan_folder, clips=1)
        give_labels(project, plant_pair(project, 0), "a", "b")
        asked = TrainSettings(steps=4, rank=3, alpha=6.0, lr=0.05, warmup=0, batch=1, save_every=2, track=())
        train(project, model_at(random_wan_folder), asked, "dense")
    (project.root / "prompts.txt").write_text("\n".join(PROMPTS) + "\n")
    (project.root / "unrelated.txt").write_text("\n".join(UNRELATED) + "\n")
    return project


@pytest.fixture(scope="module")
def asked(project: Project) -> SweepSettings:
    """Batches of 3 for 4 videos of a contestant, so that batches and prompts do not coincide."""
    return SweepSettings(
        run="dense",
        checkpoints=("last:1",),
        scales=(0.0, 1.0, 1.5),
        prompts=project.root / "prompts.txt",
        drift_prompts=project.root / "unrelated.txt",
        seeds_per_prompt=2,
        steps=2,
        batch=3,
    )


@pytest.fixture(scope="module")
def swept(project: Project, asked: SweepSettings) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DENSEDPO_QUIET", "1")
        return sweep(project, asked).folder


def clips(folder: Path, contestant: str) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (folder / "clips" / contestant).iterdir()}


def found(folder: Path) -> dict[str, dict[str, Any]]:
    told = json.loads((folder / "sweep.json").read_text())
    return {each["contestant"]: each for each in told["candidates"]}


def test_scale_1_is_the_plain_evaluation_and_scale_0_the_base_bit_for_bit(project: Project, swept: Path) -> None:
    plain = EvaluateSettings(
        name="plain", runs=("dense",), prompts=project.root / "prompts.txt", seeds_per_prompt=2, steps=2, batch=3
    )
    folder = evaluate(project, plain).folder
    assert clips(swept, "base") == clips(folder, "base") == clips(swept, "step-000004-x0")
    assert clips(swept, "step-000004-x1") == clips(folder, "dense")
    assert len({*clips(swept, "step-000004-x1").values(), *clips(swept, "step-000004-x1.5").values()}) == 8
    before, after = (json.loads((each / "results.json").read_text()) for each in (folder, swept))
    assert after["differences"]["step-000004-x1"] == before["differences"]["dense"]
    assert after["motion_kept"]["step-000004-x1"] == before["motion_kept"]["dense"]


def test_sampler_and_loading_are_those_of_an_evaluation(project: Project, asked: SweepSettings) -> None:
    """By the commands, flag by flag the same; and both change what is drawn."""
    flags = ["--prompts", str(asked.prompts), "--steps", "2", "--sampler", "unipc", "--dtype", "bfloat16"]
    flags += ["--guidance", "2", "--seeds-per-prompt", "1"]
    sweeping = ["--drift-prompts", str(asked.drift_prompts), "--scales", "1", "--checkpoints", "4"]
    root = str(project.root)
    assert cli.run(["sweep", root, "--run", "dense", "--name", "half", *sweeping, *flags]) == 0
    assert cli.run(["evaluate", root, "--runs", "dense", "--name", "half-plain", *flags]) == 0
    swept, plain = project.root / "runs" / "half", project.root / "runs" / "half-plain"
    assert clips(swept, "step-000004-x1") == clips(plain, "dense")
    assert clips(swept, "base") == clips(plain, "base")
    facts = [json.loads((folder / "run.json").read_text()) for folder in (swept, plain)]
    assert facts[0]["loading"] == facts[1]["loading"]
    assert facts[0]["loading"]["dtype"] == "bfloat16"
    again = asked.model_copy(
        update={"name": "half", "scales": (1.0,), "seeds_per_prompt": 1, "guidance": 2.0, "batch": 16}
    )
    with pytest.raises(
        UserError, match=r"sampler \(unipc there, euler asked\), dtype \(bfloat16 there, float32 asked\)"
    ):
        sweep(project, again)


def test_a_scale_multiplies_alpha_as_in_diffusers(project: Project, swept: Path, tmp_path: Path) -> None:
    """Against an adapter whose B was multiplied by hand, loaded the plain way."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    model = model_at(Path(project.settings.model))
    folder = swept / "adapters" / "step-000004"
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        header = file.metadata()
    scaled = {k: v * 0.75 if "lora_B" in k else v for k, v in load_file(folder / WEIGHTS).items()}
    save_file(scaled, tmp_path / WEIGHTS, metadata=header)
    noisy, text = torch.ones(1, 8, 3, 6, 6), model.encode_text([PROMPTS[0]])
    base = model.predict(noisy, torch.full((1,), 0.5), text)
    with Tuned(folder, 0.75).on(model.denoiser):
        ours = model.predict(noisy, torch.full((1,), 0.5), text)
    with adapter_on(model.denoiser, tmp_path):
        by_hand = model.predict(noisy, torch.full((1,), 0.5), text)
    assert torch.allclose(ours, by_hand, atol=1e-5)
    assert (ours - base).abs().max() > 1e-2
    assert torch.equal(model.predict(noisy, torch.full((1,), 0.5), text), base)


def test_drift_is_nothing_at_scale_0_and_grows_with_it(swept: Path) -> None:
    rows = found(swept)
    assert rows["step-000004-x0"]["drift"] == {"mean": 0.0, "low": 0.0, "high": 0.0, "n": 3}
    assert rows["step-000004-x0"]["motion_drift"]["mean"] == 0
    assert rows["step-000004-x0"]["quality"]["mean"] == 0
    assert 0.01 < rows["step-000004-x1"]["drift"]["mean"] < rows["step-000004-x1.5"]["drift"]["mean"]
    assert rows["step-000004-x1.5"]["motion_drift"]["mean"] != 0
    assert json.loads((swept / "sweep.json").read_text())["drift_prompts"] == list(UNRELATED[:3])


def test_sweep_json_holds_the_figures_of_the_evaluation(swept: Path) -> None:
    told = json.loads((swept / "sweep.json").read_text())
    assert (told["format"], told["run"], told["quality"], told["better"]) == (1, "dense", "visual_quality", "higher")
    assert told["motion"] == "motion_strength"
    results = json.loads((swept / "results.json").read_text())
    for name, each in found(swept).items():
        cell = results["differences"][name]["visual_quality"]
        assert each["quality"] == {key: cell[key] for key in ("mean", "low", "high", "n")}
        assert each["motion"] == results["motion_kept"][name]["motion_strength"]["ratio"]
        assert (swept / each["adapter"] / WEIGHTS).exists()
    assert told["suggestion"]["words"] in re.sub("&#x27;", "'", (swept / "sweep.html").read_text())


def test_run_again_nothing_is_done_twice(
    project: Project, asked: SweepSettings, swept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {file: file.read_bytes() for file in swept.rglob("*") if file.is_file() and file.name != "run.json"}
    monkeypatch.setattr(drift, "_compare", lambda *_: pytest.fail("drift was measured again"))
    again = sweep(project, asked)
    assert (again.sampled, again.scored) == (0, 0)
    assert {file: file.read_bytes() for file in before} == before


def test_stopped_anywhere_it_ends_as_if_left_alone(
    project: Project, asked: SweepSettings, swept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = asked.model_copy(update={"name": "stopped"})
    for place, name, after in ((making, "write_video", 7), (drift, "_compare", 5)):
        real, calls = getattr(place, name), []

        def stop(*given: Any, real: Any = real, calls: list[int] = calls, after: int = after) -> Any:
            calls.append(1)
            if len(calls) > after:
                raise KeyboardInterrupt
            return real(*given)

        with monkeypatch.context() as patch:
            patch.setattr(place, name, stop)
            with pytest.raises(KeyboardInterrupt):
                sweep(project, stopped)
        assert not (project.root / "runs" / "stopped" / "sweep.json").exists()
    folder = sweep(project, stopped).folder
    assert found(folder) == found(swept)
    for contestant in ("base", *found(swept)):
        assert clips(folder, contestant) == clips(swept, contestant)


def test_a_sweep_may_grow_and_makes_only_what_is_new(project: Project, asked: SweepSettings, swept: Path) -> None:
    folder = project.root / "runs" / "grown"
    shutil.copytree(swept, folder)
    settings = folder / "settings.yaml"
    settings.write_text(settings.read_text().replace("name: dense-sweep", "name: grown"))
    grown = asked.model_copy(update={"name": "grown", "checkpoints": ("2", "4"), "scales": (1.0,)})
    plan = plan_sweep(project, grown)
    assert (plan.contestants, plan.videos, plan.videos_to_make) == (
        ("base", "step-000002-x1", "step-000004-x1"), 12, 4,
    )  # fmt: skip
    assert plan.denoiser_forwards == 4 * 2 * 2  # two steps, with and without the prompt
    result = sweep(project, grown)
    assert result.sampled == 4
    assert [each.contestant for each in result.candidates] == ["step-000002-x1", "step-000004-x1"]
    assert found(folder)["step-000004-x1"]["drift"] == found(swept)["step-000004-x1"]["drift"]
    facts = json.loads((folder / "run.json").read_text())
    assert facts["contestants"][-1] == "step-000002-x1" and "step-000004-x1.5" in facts["sources"]
    assert sweep(project, asked.model_copy(update={"name": "grown"})).sampled == 0


def test_a_changed_checkpoint_is_swept_anew(project: Project, asked: SweepSettings, swept: Path) -> None:
    run = project.root / "runs" / "dense"
    shutil.copytree(run, project.root / "runs" / "changed")
    changed = asked.model_copy(update={"run": "changed", "scales": (1.0,)})
    folder = sweep(project, changed).folder
    assert clips(folder, "step-000004-x1") == clips(swept, "step-000004-x1")
    (project.root / "runs/changed/adapter" / WEIGHTS).unlink()
    shutil.copy(run / "checkpoints/step-000002/state.pt", project.root / "runs/changed/checkpoints/step-000004")
    result = sweep(project, changed)
    assert result.sampled == 4
    assert clips(folder, "step-000004-x1") != clips(swept, "step-000004-x1")


def test_a_dry_run_makes_nothing(project: Project, asked: SweepSettings, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(project.root.rglob("*"))
    words = ["--scales", "1", "2", "--prompts", str(asked.prompts), "--steps", "3", "--dry-run", "--json"]
    words += ["--drift-prompts", str(asked.drift_prompts), "--name", "dry"]
    app = cli.App(name="sweep", result_action="return_value", default_command=sweep_command)
    assert app([str(project.root), "--run", "dense", *words]) == 0
    *told, line = capsys.readouterr().out.splitlines()
    plan = json.loads(line)
    assert plan["contestants"] == ["base", *(f"step-00000{n}-x{s}" for n in (2, 4) for s in (1, 2))]
    assert (plan["videos"], plan["videos_to_make"], plan["denoiser_forwards"]) == (10, 10, 10 * 3 * 2)
    assert plan["drift_forwards"] == 2 * 5 * 3 * 4 + 3 * 2 * 3
    assert told[0].startswith("dry: base, step-000002-x1,") and "better by visual_quality" in told[0]
    assert sorted(project.root.rglob("*")) == before


def test_checkpoints_are_chosen_by_step_or_from_the_end(project: Project) -> None:
    run = project.root / "runs" / "dense"
    assert list(find_checkpoints(run, ("all",))) == list(find_checkpoints(run, ("4", "2"))) == [2, 4]
    assert list(find_checkpoints(run, ("last:1",))) == [4]
    assert find_checkpoints(run, ("last:1",))[4] == run / "adapter" / WEIGHTS  # finished: what is shipped
    with pytest.raises(UserError, match=r"keeps no checkpoint of step 3, but of 2, 4; `densedpo train --keep`"):
        find_checkpoints(run, ("2", "3"))
    with pytest.raises(UserError, match=r"there is no training run named 'flow'; finished ones: .*dense"):
        find_checkpoints(project.root / "runs" / "flow", ("all",))
    for wrong in (("last:0",), ("newest",), ("all", "2"), ()):
        with pytest.raises(ValueError, match="give all, last:N, or steps"):
            SweepSettings(run="dense", checkpoints=wrong)
    with pytest.raises(ValueError, match="none below 0"):
        SweepSettings(run="dense", scales=(-1.0,))


def test_what_cannot_be_swept_is_said_with_the_remedy(
    project: Project, asked: SweepSettings, swept: Path, tmp_path: Path, random_wan_folder: Path
) -> None:
    with pytest.raises(UserError, match="--quality sharpness is not a metric with a direction"):
        plan_sweep(project, asked.model_copy(update={"quality": "sharpness"}))
    with pytest.raises(UserError, match="--motion visual_quality is not an amount of motion"):
        plan_sweep(project, asked.model_copy(update={"motion": "visual_quality"}))
    with pytest.raises(UserError, match=r"--quality text_similarity is not measured: needs "):
        plan_sweep(project, asked.model_copy(update={"quality": "text_similarity"}))
    with pytest.raises(UserError, match=r"no metric of quality runs here.*--quality \(warping_error\)"):
        plan_sweep(project, asked.model_copy(update={"metrics": ("warping_error", "motion_strength")}))
    with pytest.raises(UserError, match="is another run, and no sweep of dense; give another --name"):
        sweep(project, asked.model_copy(update={"name": "dense"}))
    with pytest.raises(UserError, match=r"made with other settings: steps \(2 there, 3 asked\)"):
        sweep(project, asked.model_copy(update={"steps": 3}))
    damaged = tmp_path / "state.pt"
    damaged.write_bytes(b"PK damaged")
    with pytest.raises(UserError, match=r"state\.pt is damaged .*choose others with --checkpoints"):
        keep_adapter(model_at(random_wan_folder), project.root / "runs" / "dense", damaged, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


def test_prompts_of_training_pairs_are_no_measure_of_drift(
    project: Project, asked: SweepSettings, tmp_path: Path
) -> None:
    assert unrelated_prompts(project, asked) == list(UNRELATED[:3])
    assert unrelated_prompts(project, asked.model_copy(update={"drift_count": 2})) == list(UNRELATED[:2])
    default = unrelated_prompts(project, asked.model_copy(update={"drift_prompts": None}))
    assert len(default) == len(set(default)) == 16 and CAPTIONS[0] not in default
    file = tmp_path / "few.txt"
    file.write_text(f"{CAPTIONS[0]}\nrain\n")
    with pytest.raises(UserError, match=r"only 1 of 2 prompts have no training pair.*--drift-prompts FILE"):
        unrelated_prompts(project, asked.model_copy(update={"drift_prompts": file}))


def test_relative_change_and_motion_change_by_hand() -> None:
    base = torch.zeros(2, 1, 3, 1, 1)
    base[0, 0, :, 0, 0] = torch.tensor([0.0, 3.0, 4.0])
    base[1, 0, :, 0, 0] = torch.tensor([2.0, 1.0, 2.0])
    tuned = base.clone()
    tuned[0, 0, 0] = 5.0
    assert relative_change(tuned, base) == [1.0, 0.0]  # |(5, 0, 0)| / |(0, 3, 4)|
    steps = [(2**2 + 1) ** 0.5 / (3**2 + 1) ** 0.5 - 1, 0.0]  # steps -2, 1 instead of 3, 1
    assert motion_change(tuned, base) == pytest.approx(steps)
    assert motion_change(tuned[:, :, :1], base[:, :, :1]) == []


def test_scales_and_weights_tell_sources_apart(swept: Path) -> None:
    one = Tuned(swept / "adapters" / "step-000004")
    assert one.source() != replace(one, scale=0.5).source()
    assert len(one.source()) == 64


def test_a_checkpoint_of_another_expert_or_model_is_refused(project: Project, tmp_path: Path) -> None:
    model, run = model_at(Path(project.settings.model)), tmp_path / "run"
    shutil.copytree(project.root / "runs" / "dense", run)
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(facts | {"expert": "low"}))
    state = run / "checkpoints" / "step-000002" / "state.pt"
    with pytest.raises(UserError, match="trained the low-noise expert: load the model with --expert low"):
        keep_adapter(model, run, state, tmp_path / "adapter")
    (run / "run.json").write_text(json.dumps(facts))
    settings = run / "settings.yaml"
    settings.write_text(settings.read_text().replace("rank: 3", "rank: 2"))
    with pytest.raises(UserError, match="was trained on another model than random-wan"):
        keep_adapter(model, run, state, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()
