"""Validation finds what was planted, all of it and nothing else."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from store_rows import clip, label, pair

from densedpo.store.checks import validate
from densedpo.store.project import Project
from densedpo.store.schema import recipe_id


@pytest.fixture
def sound(project: Project, write: Callable[[str], Path]) -> Project:
    """A project with one clip, one pair, a label and a correction, and all their files."""
    real = clip(media=project.adopt(write("real")))
    a, b, latents = project.adopt(write("a")), project.adopt(write("b")), project.adopt(write("l"), "latents")
    made = pair(clip=real.id, media_a=a, media_b=b, latents=latents)
    first = label(made)
    project.add_clips([real])
    project.add_pairs([made])
    project.add_labels([first, label(made, choice="b", supersedes=first.id), label(made, None), label(made, 3)])
    return project


def found(project: Project, deep: bool = False) -> list[tuple[str, str]]:
    return [(problem.kind, problem.item) for problem in validate(project, deep)]


def plant(project: Project, statement: str) -> None:
    """Change the database behind the back of the project, which would have refused."""
    connection = sqlite3.connect(project.root / "project.db")
    assert connection.execute(statement).rowcount == 1
    connection.commit()
    connection.close()


def test_a_sound_project_has_no_problems(sound: Project) -> None:
    assert found(sound, deep=True) == []


@pytest.mark.parametrize("kind", ["media", "latents"])
def test_a_missing_file(sound: Project, kind: str) -> None:
    digest = next(sound.pairs()).latents if kind == "latents" else next(sound.clips()).media
    assert digest is not None
    next((sound.root / kind).rglob(f"{digest}.*")).unlink()
    assert found(sound) == [("missing-file", digest)]


def test_a_damaged_file_shows_when_looked_at_deeply(sound: Project) -> None:
    path = sound.media_path(next(sound.pairs()).media_b)
    path.write_text("B")
    assert found(sound) == []
    assert found(sound, deep=True) == [("wrong-digest", path.stem)]


def test_files_that_belong_to_nobody(sound: Project, write: Callable[[str], Path]) -> None:
    digest = sound.adopt(write("nobody's"))
    (sound.root / "latents" / ".left.tmp").write_text("by a crash")
    assert found(sound) == [("orphan-file", f"{digest}.mp4"), ("orphan-file", ".left.tmp")]


def test_a_missing_clip(sound: Project) -> None:
    media = next(sound.clips()).media
    plant(sound, "DELETE FROM clip")
    assert found(sound) == [("missing-clip", next(sound.pairs()).id), ("orphan-file", f"{media}.mp4")]


def test_a_missing_pair(sound: Project) -> None:
    ids = [each.id for each in sound.labels(superseded=True)]
    plant(sound, "DELETE FROM pair")
    assert [item for item in found(sound) if item[0] != "orphan-file"] == [("missing-pair", id) for id in ids]


def test_a_missing_label(sound: Project) -> None:
    correction = next(each for each in sound.labels() if each.supersedes)
    plant(sound, f"DELETE FROM label WHERE id = '{correction.supersedes}'")
    assert found(sound) == [("missing-label", correction.id)]


def test_a_segment_beyond_the_grid(sound: Project) -> None:
    beyond = label(next(sound.pairs()), 4)
    sound.add_labels([beyond])
    assert found(sound) == [("beyond-grid", beyond.id)]


def test_ids_that_are_not_of_their_content(sound: Project) -> None:
    plant(sound, 'UPDATE pair SET recipe = \'{"prompt":"another"}\'')
    plant(sound, "UPDATE label SET annotator = 'bob' WHERE segment = 3")
    wrong = next(each for each in sound.labels() if each.segment == 3)
    assert found(sound) == [("wrong-id", next(sound.pairs()).id), ("wrong-id", wrong.id)]


def test_a_pair_in_another_split_than_its_clip(sound: Project) -> None:
    plant(sound, "UPDATE clip SET split = 'test'")
    assert found(sound) == [("wrong-split", next(sound.pairs()).id)]


def test_another_rate_than_the_project(sound: Project) -> None:
    plant(sound, "UPDATE clip SET fps = 9")
    plant(sound, "UPDATE pair SET fps = 9")
    assert found(sound) == [("wrong-shape", next(sound.clips()).id), ("wrong-shape", next(sound.pairs()).id)]


def test_a_project_may_hold_clips_of_several_shapes(sound: Project) -> None:
    plant(sound, "UPDATE clip SET width = 64, frames = 41")
    plant(sound, "UPDATE pair SET width = 64, frames = 41")
    assert found(sound) == []


@pytest.mark.parametrize("changed", ["frames", "width", "height"])
def test_a_pair_of_another_shape_than_its_clip(sound: Project, changed: str) -> None:
    plant(sound, f"UPDATE clip SET {changed} = 65")
    made, real = next(sound.pairs()), next(sound.clips())
    (problem,) = validate(sound)
    assert (problem.kind, problem.item) == ("wrong-shape", made.id)
    here = getattr(made, changed)
    assert problem.message == f"pair {made.id} has {changed} {here}, but its clip {real.id} has 65; make it again"


def test_latents_of_two_shapes_show_when_looked_at_deeply(sound: Project, tmp_path: Path) -> None:
    for number, (b, problems) in enumerate([((8, 3, 6, 6), 0), ((8, 3, 6, 8), 1), (None, 1)]):
        members = {"a": np.zeros((8, 3, 6, 6), np.float32)} | ({} if b is None else {"b": np.zeros(b, np.float32)})
        save_file(members, tmp_path / "made", metadata={"vae": "v"})
        media = {side: next(sound.pairs()).media_a for side in ("media_a", "media_b")}
        sound.add_pairs([pair(number + 1, latents=sound.adopt(tmp_path / "made", "latents"), **media)])
        ids = [item for kind, item in found(sound, deep=True) if kind == "wrong-shape"]
        assert len(ids) == max(0, number) * problems
        assert found(sound) == []


def test_a_pair_of_another_shape_than_its_recipe(project: Project) -> None:
    recipe = {"width": 48, "height": 48, "frames": 49}
    made = pair(recipe=recipe, id=recipe_id(recipe))
    project.add_pairs([made])
    (problem,) = [problem for problem in validate(project) if problem.kind != "missing-file"]
    assert problem.message == f"pair {made.id} has frames 33, but its recipe says 49; make it again"


def test_messages_say_where_and_how_to_mend(sound: Project) -> None:
    path = sound.media_path(next(sound.clips()).media)
    path.unlink()
    expected = f"{path} of clip {next(sound.clips()).id} is missing; put it back, or merge a project that has it"
    assert [problem.message for problem in validate(sound)] == [expected]
