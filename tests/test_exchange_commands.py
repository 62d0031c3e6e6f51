"""The commands `label export` and `label import`: what they print, return, and refuse."""

import json
from pathlib import Path

import pytest

from densedpo.cli.exchange_commands import label_export, label_import
from densedpo.errors import UserError
from densedpo.store.project import Project, ProjectSettings
from densedpo.store.schema import Label, Pair, recipe_id


def project_at(root: Path) -> Project:
    return Project.create(root, ProjectSettings())


def filled(root: Path) -> Project:
    project = project_at(root)
    recipe = {"seed": 1}
    pair = Pair(
        id=recipe_id(recipe),
        recipe=recipe,
        clip=None,
        prompt="a ball",
        mode="guided",
        split="train",
        frames=33,
        fps=8.0,
        width=48,
        height=48,
        eta=None,
        model_hash="m",
        vae_hash="v",
        media_a="a" * 64,
        media_b="b" * 64,
        latents=None,
        distance=None,
        near_identical=False,
    )
    project.add_pairs([pair])
    values = {"pair": pair.id, "seen": "s", "segment_seconds": 1.0, "annotator_kind": "human", "annotator": "ann"}
    project.add_labels([Label.make(segment=segment, choice="tie", **values) for segment in (0, None)])  # type: ignore[arg-type]
    return project


@pytest.mark.parametrize("name", ["labels.parquet", "labels.jsonl"])
def test_there_and_back(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = filled(tmp_path / "source"), project_at(tmp_path / "target")
    assert label_export(source.root, to=tmp_path / name, json_line=True) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith(f"{name}: 2 labels, superseded ones too (`stands` tells)")
    assert json.loads(said[-1])["labels"] == 2
    assert label_import(target.root, tmp_path / name) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("note: 1 pairs came without their videos; copy the folder media")
    assert said[-1].endswith("target: 2 labels, 1 pairs and 0 clips added, 0 labels known; no conflicts")
    assert target.fingerprint() == source.fingerprint()
    assert [event.kind for event in target.events()] == ["import"]


def test_conflicts_are_told_and_are_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = filled(tmp_path / "source"), project_at(tmp_path / "target")
    label_export(source.root, to=tmp_path / "labels.jsonl")
    text = (tmp_path / "labels.jsonl").read_text()
    label_import(target.root, tmp_path / "labels.jsonl")
    (tmp_path / "labels.jsonl").write_text(text.replace('"choice": "tie"', '"choice": "a"'))
    capsys.readouterr()
    assert label_import(target.root, tmp_path / "labels.jsonl") == 2
    said = capsys.readouterr().out.splitlines()
    assert "is here with another choice; it was left out" in said[0]
    assert said[-1].endswith("0 labels, 0 pairs and 0 clips added, 0 labels known; 2 conflicts")
    assert target.fingerprint() == source.fingerprint()


def test_what_is_lost_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = filled(tmp_path / "source")
    assert label_export(source.root, to=tmp_path / "out.jsonl", format="trl") == 0
    assert "lost: 1 pairs are ties and are not in the file" in capsys.readouterr().out
    assert (tmp_path / "out.jsonl").read_text() == ""
    assert label_export(source.root, to=tmp_path / "bench.csv") == 0
    assert "1 pairs; paths in it start at" in capsys.readouterr().out
    assert (tmp_path / "bench.csv").read_text().splitlines()[1].split(",")[-5] == "same"


def test_a_name_that_tells_nothing(tmp_path: Path) -> None:
    source = filled(tmp_path / "source")
    with pytest.raises(UserError, match=r"labels\.txt: its name does not tell the format; add --format"):
        label_export(source.root, to=tmp_path / "labels.txt")
    with pytest.raises(UserError, match=r"export\.json: its name does not tell the format; add --format"):
        label_import(source.root, tmp_path / "export.json")
