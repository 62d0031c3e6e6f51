"""`densedpo remake`: the command that the report shows beside each clip really makes it again."""

import json
from pathlib import Path

import pytest
from evaluation_prompts import GiveAdapter

from densedpo.cli.remake_command import remake as command
from densedpo.errors import UserError
from densedpo.evaluation import EvaluateSettings
from densedpo.evaluation.remake import remake
from densedpo.evaluation.run import evaluate
from densedpo.models.settings import LoadSettings
from densedpo.store.project import Project


def test_a_clip_is_made_again_bit_for_bit(
    project: Project, settings: EvaluateSettings, give_adapter: GiveAdapter, tmp_path: Path
) -> None:
    give_adapter("dense", 0.3)
    theirs = tmp_path / "theirs"
    asked = settings.model_copy(update={"guidance": 2.0, "seed": 3})
    made = evaluate(project, asked.model_copy(update={"runs": ("dense",)}))
    (made.folder / "clips" / "base").rename(theirs)
    both = asked.model_copy(update={"name": "both", "runs": ("dense",), "videos": (f"theirs={theirs}",)})
    folder = evaluate(project, both).folder
    # Batches are of three, so 0001-0 is the third of the first one, and 0001-1 alone in the second.
    for contestant, stem in (("base", "0000-1"), ("dense", "0001-0"), ("dense", "0001-1")):
        again = remake(project, "both", f"{contestant}/{stem}", tmp_path / "new" / f"{stem}.mp4")
        clip = folder / "clips" / contestant / f"{stem}.mp4"
        assert (again.clip, again.largest) == (clip, 0)
        assert again.path.read_bytes() == clip.read_bytes()
    assert (folder / "clips/base/0001-1.mp4").read_bytes() != (folder / "clips/dense/0001-1.mp4").read_bytes()

    with pytest.raises(UserError, match="was brought as a finished file"):
        remake(project, "both", "theirs/0000-0", tmp_path / "new.mp4")
    with pytest.raises(UserError, match=r"has no clip dense/0002-0; its contestants are base, dense, theirs"):
        remake(project, "both", "dense/0002-0", tmp_path / "new.mp4")
    with pytest.raises(UserError, match="names no clip; give it as"):
        remake(project, "both", "../0000-0", tmp_path / "new.mp4")
    with pytest.raises(UserError, match="holds no scored evaluation"):
        remake(project, "nothing", "dense/0000-0", tmp_path / "new.mp4")

    (folder / "clips/dense/0000-0.mp4").write_bytes((folder / "clips/base/0000-0.mp4").read_bytes())
    differing = remake(project, "both", "dense/0000-0.mp4", tmp_path / "new.mp4").largest
    assert differing is not None and 0 < differing <= 255
    (folder / "clips/dense/0000-0.mp4").unlink()
    assert remake(project, "both", "dense/0000-0", tmp_path / "new.mp4").largest is None
    give_adapter("dense", 0.4)
    with pytest.raises(UserError, match="the adapter of dense changed since both was made"):
        remake(project, "both", "dense/0000-0", tmp_path / "new.mp4")
    facts = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(facts | {"model_hash": "another"}))
    with pytest.raises(UserError, match="the model's model_hash changed"):
        remake(project, "both", "base/0000-0", tmp_path / "new.mp4")


def test_a_clip_is_made_again_in_the_precision_that_it_was_made_in(
    project: Project, settings: EvaluateSettings, tmp_path: Path
) -> None:
    asked = settings.model_copy(update={"runs": ()})
    plain = evaluate(project, asked).folder / "clips/base/0000-0.mp4"
    half = evaluate(project, asked.model_copy(update={"name": "half"}), LoadSettings(dtype="bfloat16")).folder
    assert (half / "clips/base/0000-0.mp4").read_bytes() != plain.read_bytes()
    assert remake(project, "half", "base/0000-0", tmp_path / "new.mp4").largest == 0


def test_the_command(
    project: Project,
    settings: EvaluateSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="has no evaluation yet"):
        command(project.root, "base/0000-0")
    evaluate(project, settings.model_copy(update={"runs": (), "seeds_per_prompt": 1}))
    assert command(project.root, "base/0001-0", json_line=True) == 0
    *told, result = capsys.readouterr().out.splitlines()
    clip = project.root / "runs/evaluation/clips/base/0001-0.mp4"
    assert told[-1] == f"base-0001-0.mp4: equal to {clip} in every pixel"
    assert json.loads(result) == {"path": "base-0001-0.mp4", "clip": str(clip), "largest": 0}
    assert (tmp_path / "base-0001-0.mp4").read_bytes() == clip.read_bytes()
