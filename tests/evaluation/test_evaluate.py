"""An evaluation end to end on a random model: fair, exact, and the same after a stop."""

import dataclasses
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evaluation_prompts import PROMPTS, GiveAdapter

from densedpo.errors import UserError
from densedpo.evaluation import EvaluateSettings, making
from densedpo.evaluation import measuring as stage
from densedpo.evaluation.run import evaluate
from densedpo.evaluation.sampling import Shot, Studio
from densedpo.metrics import Footage, Tools, find_metrics
from densedpo.models import load_model
from densedpo.models.settings import LoadSettings
from densedpo.store.project import Project
from densedpo.tinyworld.oracle import score_clip
from densedpo.video.io import read_video

STAR, CROSS = PROMPTS
ORACLE = ("visual_quality", "text_alignment", "temporal_consistency", "dynamic_degree")


def export_brightness(file: Path, scale: float) -> None:
    """A judge who likes brightness, for frames of the random model's size."""

    class Judge(torch.nn.Module):
        def forward(self, frame: torch.Tensor) -> torch.Tensor:
            return frame.mean() * scale

    torch.export.save(torch.export.export(Judge(), (torch.rand(1, 3, 48, 48),)), file)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_from_prompts_to_scores(project: Project, settings: EvaluateSettings, give_adapter: GiveAdapter) -> None:
    give_adapter("dense", 0.3)
    result = evaluate(project, settings)
    assert (result.contestants, result.prompts, result.sampled, result.known) == (("base", "dense"), 2, 8, 0)
    assert result.scored == 8
    rows = lines(result.folder)
    assert [(row["contestant"], row["prompt"], row["prompt_index"], row["seed"]) for row in rows] == [
        (name, prompt, index, seed)
        for name in ("base", "dense")
        for index, prompt in enumerate(PROMPTS)
        for seed in (0, 1)
    ]
    assert rows[5]["video"] == "clips/dense/0000-1.mp4"
    for row in rows:
        frames, fps = read_video(result.folder / row["video"])
        assert (frames.shape, fps) == ((5, 48, 48, 3), 8.0)
        expected = asdict(score_clip(frames, row["prompt"]).whole)
        assert {name: row["scores"][name] for name in ORACLE} == expected
        alone = find_metrics()["motion_strength"].measure(Footage((frames, fps)), Tools())
        assert row["scores"]["motion_strength"] == alone
    speeds = [row["scores"]["dynamic_degree"] for row in rows if row["contestant"] == "dense"]
    assert result.means["dense"]["dynamic_degree"] == pytest.approx(np.mean(speeds))
    facts = json.loads((result.folder / "run.json").read_text())
    assert (facts["kind"], facts["contestants"], list(facts["sources"]), facts["project"]) == (
        "evaluation",
        ["base", "dense"],
        ["dense"],
        project.fingerprint(),
    )
    assert facts["versions"]["torch"] and facts["seconds"] > 0
    told = (result.folder / "settings.yaml").read_text()
    assert "steps: 2" in told and "guidance: 3.0" in told and "count: 2" in told and "- dense" in told


def test_an_untrained_adapter_makes_the_bases_videos_and_a_trained_one_others(
    project: Project, settings: EvaluateSettings, give_adapter: GiveAdapter
) -> None:
    """All contestants start from the same noise, and each has its own adapter and no other's."""
    give_adapter("untrained", 0.0)
    give_adapter("trained", 0.3)
    found = files(evaluate(project, settings.model_copy(update={"runs": ("trained", "untrained")})).folder)
    for video in ("0000-0", "0000-1", "0001-0", "0001-1"):
        assert found[f"clips/untrained/{video}.mp4"] == found[f"clips/base/{video}.mp4"]
        assert found[f"clips/trained/{video}.mp4"] != found[f"clips/base/{video}.mp4"]
    assert len({found[name] for name in found if name.startswith("clips/base/")}) == 4


def test_the_results_are_those_of_the_scores(
    project: Project, settings: EvaluateSettings, give_adapter: GiveAdapter
) -> None:
    give_adapter("dense", 0.3)
    result = evaluate(project, settings)
    assert result.results == result.folder / "results.json"
    found = json.loads(result.results.read_text())
    assert (found["format"], found["baseline"], found["prompts"], found["videos"]) == (2, "base", 2, 8)
    rows = [row for row in lines(result.folder) if row["contestant"] == "dense"]
    means = [np.mean([row["scores"]["visual_quality"] for row in rows if row["prompt"] == p]) for p in PROMPTS]
    assert found["table"]["dense"]["visual_quality"]["mean"] == pytest.approx(np.mean(means))
    assert found["table"]["dense"]["visual_quality"]["n"] == 2
    assert found["metrics"]["visual_quality"]["better"] == "higher"
    assert (
        "--weights dino-vitb16=PATH"
        in found["not_run"]["vbench_subject_consistency"]
        == result.not_run["vbench_subject_consistency"]
    )
    assert not set(found["not_run"]) & set(found["metrics"])
    similar = [row["scores"].get("motion_similarity") for row in lines(result.folder)]
    assert similar[:4] == [None] * 4 and all(-1 <= value <= 1 for value in similar[4:])
    assert "partner" in lines(result.folder)[0]["unmeasured"]["motion_similarity"]


def test_the_same_command_again_does_nothing(
    project: Project, settings: EvaluateSettings, give_adapter: GiveAdapter
) -> None:
    give_adapter("dense", 0.3)
    first = evaluate(project, settings)
    before = files(first.folder)
    again = evaluate(project, settings)
    assert again == dataclasses.replace(first, sampled=0, known=8, scored=0)
    assert files(first.folder) == before


@pytest.mark.parametrize("stop", ["making", "scoring"])
def test_a_stop_in_the_middle_changes_nothing_in_the_end(
    stop: str, project: Project, settings: EvaluateSettings, give_adapter: GiveAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_adapter("dense", 0.3)
    whole = evaluate(project, settings.model_copy(update={"name": "whole"}))
    calls: list[object] = []
    # base is done (3 + 1), dense's first batch of 3 is not; or: two shots are scored, the third is not
    module, name, last = {"making": (making, "write_video", 6), "scoring": (stage, "look", 3)}[stop]
    real = getattr(module, name)

    def interrupted(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == last:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(module, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluate(project, settings)
    rest = evaluate(project, settings)
    expected_counts = {"making": (4, 4, 8), "scoring": (0, 8, 4)}
    assert (rest.sampled, rest.known, rest.scored) == expected_counts[stop]
    written, expected = files(rest.folder), files(whole.folder)
    assert written.keys() == expected.keys()
    differing = {name for name in written if written[name] != expected[name]}
    assert differing == {"settings.yaml", "run.json"}  # the name, and the seconds it took


def test_shards_together_make_what_one_run_makes(
    project: Project, settings: EvaluateSettings, give_adapter: GiveAdapter
) -> None:
    give_adapter("dense", 0.3)
    whole = evaluate(project, settings.model_copy(update={"name": "whole"}))
    parts = [evaluate(project, settings.model_copy(update={"shard": shard})) for shard in ("2/3", "1/3", "3/3")]
    assert sum(part.sampled for part in parts) == 8 and {part.scored for part in parts} == {0}
    assert parts[0].results is None and not (parts[0].folder / "scores.jsonl").exists()
    last = evaluate(project, settings)
    assert (last.sampled, last.known, last.scored) == (0, 8, 8)
    written, expected = files(last.folder), files(whole.folder)
    assert {name for name in expected if written.get(name) != expected[name]} == {"settings.yaml", "run.json"}
    give_adapter("dense", 0.5)
    with pytest.raises(UserError, match=r"dense has changed since .* run once without --shard"):
        evaluate(project, settings.model_copy(update={"shard": "1/3"}))
    with pytest.raises(UserError, match=r"shard is 4/3, but parts count from 1 to 3"):
        evaluate(project, settings.model_copy(update={"shard": "4/3"}))


def test_metrics_enabled_later_are_added(project: Project, settings: EvaluateSettings, tmp_path: Path) -> None:
    """The second run makes no video and measures only what is new; changed weights are measured again."""
    few = settings.model_copy(update={"runs": (), "metrics": ("sharpness",)})
    folder = evaluate(project, few).folder
    assert {tuple(row["scores"]) for row in lines(folder)} == {("sharpness",)}
    before = [row["scores"]["sharpness"] for row in lines(folder)]
    export_brightness(tmp_path / "musiq.pt2", 100.0)
    weights = {"weights": (f"musiq-spaq={tmp_path / 'musiq.pt2'}",), "metrics": None}
    more = evaluate(project, few.model_copy(update=weights))
    assert (more.sampled, more.scored) == (0, 4)
    assert [row["scores"]["sharpness"] for row in lines(folder)] == before
    bright = [row["scores"]["vbench_imaging_quality"] for row in lines(folder)]
    assert "vbench_imaging_quality" not in more.not_run
    export_brightness(tmp_path / "musiq.pt2", 50.0)
    assert evaluate(project, few.model_copy(update=weights)).scored == 4
    assert [row["scores"]["vbench_imaging_quality"] for row in lines(folder)] == pytest.approx([b / 2 for b in bright])
    assert evaluate(project, few.model_copy(update=weights)).scored == 0


def test_models_and_folders_compete_in_one_evaluation(
    project: Project, settings: EvaluateSettings, tmp_path: Path
) -> None:
    """A folder that holds the base's own videos ties with it in everything, and moves alike."""
    settings = settings.model_copy(update={"runs": ()})
    copied = shutil.copytree(evaluate(project, settings).folder / "clips" / "base", tmp_path / "copy")
    both = settings.model_copy(update={"name": "both", "videos": (f"copy={copied}",)})
    result = evaluate(project, both)
    assert (result.contestants, result.sampled, result.known, result.scored) == (("base", "copy"), 4, 4, 8)
    assert result.results is not None
    found = json.loads(result.results.read_text())["differences"]["copy"]
    assert {cell["mean"] for name, cell in found.items()} == {0.0}
    assert result.means["copy"]["motion_similarity"] == pytest.approx(1, abs=1e-6)
    with pytest.raises(UserError, match="--videos base has the name of another contestant"):
        evaluate(project, both.model_copy(update={"videos": (f"base={copied}",)}))
    (copied / "0001-1.mp4").unlink()
    with pytest.raises(UserError, match="lacks 1 of 4 clips: 0001-1"):
        evaluate(project, both)


def test_a_lost_video_is_made_again_with_its_batch(project: Project, settings: EvaluateSettings) -> None:
    settings = settings.model_copy(update={"runs": ()})
    folder = evaluate(project, settings).folder
    before = files(folder)
    (folder / "clips/base/0001-0.mp4").unlink()
    assert evaluate(project, settings).sampled == 3
    after = files(folder)
    assert {name for name in before if after[name] != before[name]} == {"run.json"}  # its seconds


def test_a_changed_adapter_is_evaluated_anew_and_said_so(
    project: Project, settings: EvaluateSettings, give_adapter: GiveAdapter
) -> None:
    give_adapter("dense", 0.3)
    give_adapter("flow", 0.2)
    before = lines(evaluate(project, settings).folder)
    give_adapter("dense", 0.5)
    result = evaluate(project, settings)
    assert (result.redone, result.sampled) == (("dense",), 4)
    changed = {new["contestant"] for old, new in zip(before, lines(result.folder), strict=True) if old != new}
    assert changed == {"dense"}
    assert evaluate(project, settings).redone == ()


def test_another_question_under_the_same_name_is_refused(
    project: Project, settings: EvaluateSettings, give_adapter: GiveAdapter
) -> None:
    give_adapter("dense", 0.3)
    folder = evaluate(project, settings).folder
    before = files(folder)
    other = settings.model_copy(update={"steps": 3, "seed": 7})
    with pytest.raises(
        UserError, match=r"steps \(2 there, 3 asked\), seed \(0 there, 7 asked\); give .* another --name"
    ):
        evaluate(project, other)
    assert settings.prompts is not None
    settings.prompts.write_text(f"{CROSS}\n{STAR}\n")
    with pytest.raises(UserError, match="made with other settings: the prompts; give"):
        evaluate(project, settings)
    assert files(folder) == before


def test_another_precision_or_attention_under_the_same_name_is_refused(
    project: Project, settings: EvaluateSettings
) -> None:
    settings = settings.model_copy(update={"runs": ()})
    folder = evaluate(project, settings, LoadSettings(device="cpu")).folder
    told = json.loads((folder / "run.json").read_text())
    assert (told["loading"]["dtype"], told["loading"]["attention"]) == ("float32", None)
    assert evaluate(project, settings, LoadSettings(dtype="float32")).sampled == 0  # what auto was
    with pytest.raises(UserError, match=r"other settings: dtype \(float32 there, bfloat16 asked\); give"):
        evaluate(project, settings, LoadSettings(dtype="bfloat16"))
    with pytest.raises(UserError, match=r"other settings: attention \(None there, native asked\); give"):
        evaluate(project, settings, LoadSettings(attention="native"))
    del told["loading"]  # as earlier versions wrote it
    (folder / "run.json").write_text(json.dumps(told))
    assert evaluate(project, settings, LoadSettings(dtype="bfloat16")).sampled == 0


def test_the_model_s_own_settings_may_be_spelled_out(project: Project, settings: EvaluateSettings) -> None:
    settings = settings.model_copy(update={"runs": ()})
    evaluate(project, settings)
    assert evaluate(project, settings.model_copy(update={"guidance": 3.0, "count": 2})).sampled == 0


def test_an_evaluation_of_an_earlier_version_goes_on(
    project: Project, settings: EvaluateSettings, give_adapter: GiveAdapter
) -> None:
    """Its settings.yaml lacks newer keys, its run.json calls sources adapters, its scores are the oracle's alone."""
    give_adapter("dense", 0.3)
    folder = evaluate(project, settings).folder
    facts = json.loads((folder / "run.json").read_text())
    facts["adapters"] = facts.pop("sources")
    del facts["contestants"]
    (folder / "run.json").write_text(json.dumps(facts))
    newer = ("videos", "reference", "dimension", "shard", "metrics", "weights", "reward", "motion_margin")
    kept = [line for line in (folder / "settings.yaml").read_text().splitlines() if not line.startswith(newer)]
    (folder / "settings.yaml").write_text("\n".join(kept))
    now = lines(folder)
    before = [row | {"scores": {name: row["scores"][name] for name in ORACLE}} for row in now]
    (folder / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in before))
    result = evaluate(project, settings)
    assert (result.sampled, result.scored, result.redone) == (0, 8, ())
    assert [row["scores"] for row in lines(folder)] == [row["scores"] for row in now]


def test_a_training_runs_folder_is_left_alone(project: Project, settings: EvaluateSettings) -> None:
    folder = project.run_folder("dense")
    (folder / "run.json").write_text('{"kind": "training"}')
    (folder / "settings.yaml").write_text("beta: 500\n")
    with pytest.raises(UserError, match="dense is a run of another kind; give this evaluation another --name"):
        evaluate(project, settings.model_copy(update={"name": "dense", "runs": ()}))


def test_runs_without_an_adapter_are_named(
    project: Project, settings: EvaluateSettings, give_adapter: GiveAdapter
) -> None:
    with pytest.raises(UserError, match="no training run has an adapter yet; make one with `densedpo train`"):
        evaluate(project, settings)
    give_adapter("dense", 0.3)
    with pytest.raises(UserError, match="training run 'flow' has no adapter; runs that have one: dense"):
        evaluate(project, settings.model_copy(update={"runs": ("dense", "flow")}))
    give_adapter("base", 0.3)
    with pytest.raises(UserError, match="may not be named 'base'"):
        evaluate(project, settings)


def test_prompts_of_the_wide_world_are_scored_by_the_other_metrics(
    project: Project, settings: EvaluateSettings
) -> None:
    assert settings.prompts is not None
    settings.prompts.write_text(f"{STAR}\na dog runs\n")
    result = evaluate(project, settings.model_copy(update={"runs": ()}))
    assert result.not_run["visual_quality"] == "only for captions of the tiny world, 'a dog runs' is none"
    assert "visual_quality" not in result.means["base"] and "motion_strength" in result.means["base"]


def test_a_video_depends_on_its_prompt_and_seed_and_not_on_its_batch(project: Project) -> None:
    model = load_model(project.settings.model)
    studio = Studio(model, project.settings, model.sigmas(2), 3.0, None, 0)
    shots = [Shot(STAR, 0, 0), Shot(STAR, 0, 1), Shot(CROSS, 1, 0)]
    together = studio.videos(shots).astype(int)
    alone = studio.videos([dataclasses.replace(shots[2], prompt_index=5), shots[0]]).astype(int)
    assert np.abs(alone - together[[2, 0]]).max() <= 1  # rounding in another batch may tip a pixel
    assert np.abs(together[0] - together[1]).mean() > 5
    other = dataclasses.replace(studio, seed=1).videos(shots).astype(int)
    assert np.abs(other - together).mean(axis=(1, 2, 3, 4)).min() > 5
