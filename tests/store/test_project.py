"""The project: rows come back as they went in, once each; files are adopted by content; stages are alone."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from store_rows import clip, label, pair

from densedpo.config import dump_settings
from densedpo.errors import UserError
from densedpo.store.project import BATCH, Project, ProjectSettings


def test_rows_come_back_as_they_went_in(project: Project) -> None:
    first, of = clip(), pair(clip=clip().id, eta=None, distance=1, latents="f" * 64, near_identical=True)
    opinion = label(of, None, "skip", confidence=1, milliseconds=20, comment="ä\n", assignment="x")
    assert (project.add_clips([first]), project.add_pairs([of]), project.add_labels([opinion])) == (1, 1, 1)
    again = Project.open(project.root)
    assert (list(again.clips()), list(again.pairs()), list(again.labels())) == ([first], [of], [opinion])
    assert again.settings == project.settings


def test_adding_again_adds_nothing(project: Project) -> None:
    assert project.add_clips([clip(0), clip(1), clip(0)]) == 2
    assert project.add_clips([clip(1, origin="renamed.mp4"), clip(2)]) == 1
    assert project.add_clips([]) == 0
    assert len(list(project.clips())) == 3


def test_the_same_id_with_other_content_adds_nothing_of_the_call(project: Project) -> None:
    project.add_pairs([pair(0)])
    with pytest.raises(UserError, match=f"pair {pair(0).id} is already in .* with another media_a, near_identical"):
        project.add_pairs([pair(1), pair(0, media_a="e" * 64, near_identical=True)])
    assert list(project.pairs()) == [pair(0, created=next(project.pairs()).created)]


def test_a_changed_mind_must_supersede(project: Project) -> None:
    project.add_pairs([pair()])
    wrong = label(pair(), choice="a")
    project.add_labels([wrong])
    with pytest.raises(UserError, match="another choice; correct a label by adding one that supersedes it"):
        project.add_labels([label(pair(), choice="b")])
    right = label(pair(), choice="b", supersedes=wrong.id)
    project.add_labels([right])
    assert list(project.labels()) == [right]
    assert {each.id for each in project.labels(superseded=True)} == {wrong.id, right.id}


def test_rows_must_refer_to_rows_that_are_there(project: Project) -> None:
    with pytest.raises(UserError, match="refers to a clip, pair or label that is not there"):
        project.add_labels([label(pair())])
    with pytest.raises(UserError, match="not there"):
        project.add_pairs([pair(clip="0" * 32)])
    assert not list(project.labels())
    assert not list(project.pairs())


def test_rows_of_one_call_may_come_in_any_order(project: Project) -> None:
    project.add_pairs([pair()])
    first = label(pair())
    assert project.add_labels([label(pair(), choice="b", supersedes=first.id), first]) == 2


def test_iteration_is_in_id_order_across_batches_and_by_filter(project: Project) -> None:
    pairs = [pair(n, split="test" if n % 3 else "train", mode="imported" if n % 2 else "guided") for n in range(1200)]
    assert len(pairs) > 2 * BATCH
    assert project.add_pairs(pairs) == 1200
    assert [each.id for each in project.pairs()] == sorted(each.id for each in pairs)
    chosen = [each.id for each in project.pairs(split="test", mode="imported")]
    assert chosen == sorted(each.id for each in pairs if each.split == "test" and each.mode == "imported")
    project.add_labels([label(each, annotator=name) for each in pairs[:2] for name in ("ann", "bob")])
    assert [(each.pair, each.annotator) for each in project.labels(pairs[1].id, "bob")] == [(pairs[1].id, "bob")]
    assert len(list(project.labels(annotator="ann"))) == 2


def test_the_iterators_stream(project: Project) -> None:
    project.add_pairs([pair(number) for number in range(BATCH + 1)])
    rows = project.pairs()
    next(rows)
    late = pair(9999, id="f" * 32)
    project.add_pairs([late])  # no transaction of the reader is in the way, and the second batch is not read yet
    assert list(rows)[-1] == late


def test_the_fingerprint_is_of_the_content(project: Project, tmp_path: Path) -> None:
    other = Project.create(tmp_path / "other", ProjectSettings(segment_seconds=0.5))
    project.add_pairs([pair(0, created="then"), pair(1)])
    for number in (1, 0):
        other.add_pairs([pair(number)])
    before = project.fingerprint()
    assert before == other.fingerprint()
    project.add_labels([label(pair(0))])
    assert project.fingerprint() != before
    other.add_labels([label(pair(0), choice="b")])
    assert project.fingerprint() != other.fingerprint()


def test_events_are_kept(project: Project) -> None:
    project.record("ingest", clips=3, folder="x")
    project.record("ingest", clips=3, folder="x")
    assert [(each.kind, each.detail) for each in project.events()] == [("ingest", {"clips": 3, "folder": "x"})] * 2


def test_adopt_moves_by_content(project: Project, write: Callable[[str], Path]) -> None:
    digest = sha256(b"video").hexdigest()
    for _ in range(2):
        path = write("video")
        assert project.adopt(path) == digest
        assert not path.exists()
    assert project.media_path(digest) == project.root / "media" / digest[:2] / f"{digest}.mp4"
    assert project.media_path(digest).read_text() == "video"
    assert project.adopt(write("latents"), "latents") == sha256(b"latents").hexdigest()
    assert project.latents_path(sha256(b"latents").hexdigest()).read_text() == "latents"


def test_adopt_from_another_file_system(
    project: Project, write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("video")
    rename, link = os.replace, os.link

    def across(call: Callable[..., None]) -> Callable[..., None]:
        def refuse(source: Path, target: Path) -> None:
            if source == path:
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            call(source, target)

        return refuse

    monkeypatch.setattr(os, "replace", across(rename))
    monkeypatch.setattr(os, "link", across(link))
    assert project.media_path(project.adopt(path)).read_text() == "video"
    assert not path.exists()


def test_adopt_on_a_full_disk(project: Project, write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("video")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(UserError, match=r"disk is full, so .*\.mp4 was not written"):
            project.adopt(path)
    assert path.exists()
    assert [each for each in project.root.rglob("*") if each.suffix in (".mp4", ".tmp")] == []


def test_folders_stay_inside_the_project(project: Project) -> None:
    assert project.run_folder("first-1.0").is_dir()
    assert project.cache_folder("clips") == project.root / "cache" / "clips"
    for name in ("../up", "a/b", "", ".", "-x"):
        with pytest.raises(UserError, match="cannot name a folder"):
            project.run_folder(name)


def test_create_again(project: Project) -> None:
    project.add_pairs([pair()])
    assert list(Project.create(project.root, project.settings).pairs())
    other = project.settings.model_copy(update={"fps": 24.0, "frames": 17})
    told = r"other settings: frames \(33 there, 17 asked\), fps \(8.0 there, 24.0 asked\)"
    with pytest.raises(UserError, match=told):
        Project.create(project.root, other)


def test_open_where_there_is_no_project(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no densedpo project .*densedpo init"):
        Project.open(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_open_without_the_database_makes_no_empty_one(project: Project) -> None:
    (project.root / "project.db").unlink()
    with pytest.raises(UserError, match=r"project\.db is missing; put it back from a backup"):
        Project.open(project.root)
    assert not (project.root / "project.db").exists()


def test_settings_with_a_mistake_are_refused(project: Project) -> None:
    (project.root / "project.yaml").write_text(dump_settings(project.settings) + "heigth: 3\n")
    with pytest.raises(UserError, match="did you mean height"):
        Project.open(project.root)


def test_a_stage_runs_once_at_a_time(project: Project) -> None:
    with project.lock("train"):
        with (
            pytest.raises(UserError, match=rf"train is already running .*\(process {os.getpid()} on .*, since 20\d\d-"),
            project.lock("train"),
        ):
            pass
        with project.lock("label"):
            pass
    with project.lock("train"):
        pass


def test_the_store_loads_no_torch() -> None:
    code = (
        "import sys, densedpo.store.merge, densedpo.store.checks, densedpo.store.consensus\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'av'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
