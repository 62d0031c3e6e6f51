"""Merging: everything new comes over, once; what disagrees is reported and left as it was."""

from collections.abc import Callable
from pathlib import Path

import pytest
from store_rows import SETTINGS, clip, label, pair

from densedpo.errors import UserError
from densedpo.store.checks import validate
from densedpo.store.merge import merge
from densedpo.store.project import Project
from densedpo.store.schema import Pair

Write = Callable[[str], Path]


@pytest.fixture
def other(tmp_path: Path) -> Project:
    return Project.create(tmp_path / "other", SETTINGS)


def add_pair(project: Project, write: Write, number: int, text: str = "") -> Pair:
    """A pair with files; `text` makes the files differ."""
    media_a, media_b = project.adopt(write(f"a {number} {text}")), project.adopt(write(f"b {number}"))
    row = pair(number, media_a=media_a, media_b=media_b, latents=project.adopt(write(f"l {number}"), "latents"))
    project.add_pairs([row])
    return row


def test_everything_comes_over_once(project: Project, other: Project, write: Write) -> None:
    mine, theirs = add_pair(project, write, 0), add_pair(other, write, 1)
    other.add_clips([clip(media=other.adopt(write("real")))])
    other.add_labels([label(theirs, segment) for segment in range(4)])
    other.record("ingest", clips=1)
    report = merge(project, other)
    assert report.added == {"clip": 1, "pair": 1, "label": 4, "event": 1}
    assert report.conflicts == []
    assert {each.id for each in project.pairs()} == {mine.id, theirs.id}
    assert validate(project, deep=True) == []
    before = project.fingerprint()
    again = merge(project, other)
    assert again.added == {"clip": 0, "pair": 0, "label": 0, "event": 0}
    assert again.conflicts == []
    assert project.fingerprint() == before
    assert [each.kind for each in sorted(project.events(), key=lambda each: each.time)] == ["ingest", "merge"]


def test_merging_either_way_gives_the_same_rows(project: Project, other: Project, write: Write) -> None:
    for number in range(3):
        add_pair(project, write, number)
        add_pair(other, write, number + 2)
    merge(project, other)
    merge(other, project)
    assert project.fingerprint() == other.fingerprint()


def test_the_same_recipe_with_other_media_is_reported_and_never_overwritten(
    project: Project, other: Project, write: Write
) -> None:
    mine, theirs = add_pair(project, write, 0), add_pair(other, write, 0, "another GPU")
    fine = add_pair(other, write, 1)
    about_theirs = label(theirs, choice="a")
    correction = label(theirs, choice="b", supersedes=about_theirs.id)
    other.add_labels([about_theirs, correction, label(fine)])
    for _ in range(2):
        report = merge(project, other)
        assert [(each.kind, each.item) for each in report.conflicts] == [
            ("pair", theirs.id),
            ("label", about_theirs.id),  # an opinion on pixels that this project does not hold
            ("label", correction.id),
        ]
        assert f"pair {theirs.id} is in both with another media_a" in report.conflicts[0].message
        assert next(each for each in project.pairs() if each.id == mine.id) == mine
        assert [each.pair for each in project.labels()] == [fine.id]
        assert not project.media_path(theirs.media_a).exists()


def test_two_opinions_under_one_name(project: Project, other: Project, write: Write) -> None:
    for one, choice in ((project, "a"), (other, "b")):
        one.add_labels([label(add_pair(one, write, 0), choice=choice)])
    report = merge(project, other)
    assert [(each.kind, each.item) for each in report.conflicts] == [("label", label(pair(0)).id)]
    assert [each.choice for each in project.labels()] == ["a"]


def test_corrections_of_corrections_come_over_in_order(project: Project, other: Project, write: Write) -> None:
    row = add_pair(other, write, 0)
    chain = [label(row)]
    for _ in range(6):
        chain.append(label(row, supersedes=chain[-1].id))
    other.add_labels(chain)
    assert merge(project, other).added["label"] == 7
    assert list(project.labels()) == [chain[-1]]


def test_a_row_whose_file_is_missing_there_stays_there(project: Project, other: Project, write: Write) -> None:
    row = add_pair(other, write, 0)
    other.media_path(row.media_b).unlink()
    report = merge(project, other)
    assert [each.item for each in report.conflicts] == [row.id]
    assert f"{other.media_path(row.media_b)}, which is missing" in report.conflicts[0].message
    assert not list(project.pairs())


def test_projects_of_other_sizes_and_lengths_merge(project: Project, tmp_path: Path, write: Write) -> None:
    other = Project.create(tmp_path / "portrait", SETTINGS.model_copy(update={"width": 32, "frames": 17}))
    real = clip(5, width=32, frames=17, media=other.adopt(write("real")))
    media = {"media_a": other.adopt(write("tall a")), "media_b": other.adopt(write("tall b"))}
    other.add_clips([real])
    row = pair(5, clip=real.id, width=32, frames=17, **media)
    other.add_pairs([row])
    report = merge(project, other)
    assert (report.added["clip"], report.added["pair"], report.conflicts) == (1, 1, [])
    assert [(each.width, each.frames) for each in project.pairs()] == [(32, 17)]
    assert validate(project) == []


def test_a_pair_of_another_shape_than_its_clip_is_left_out(project: Project, other: Project, write: Write) -> None:
    real = clip(5, media=other.adopt(write("real")))
    media = {"media_a": other.adopt(write("odd a")), "media_b": other.adopt(write("odd b"))}
    row = pair(5, clip=real.id, width=32, **media)
    other.add_clips([real])
    other.add_pairs([row])
    other.add_labels([label(row)])
    report = merge(project, other)
    told = f"pair {row.id} has width 32, but its clip {real.id} has 48; it was left out"
    assert report.conflicts[0].message == told
    assert [each.kind for each in report.conflicts] == ["pair", "label"]
    assert (report.added["clip"], report.added["pair"], report.added["label"]) == (1, 0, 0)


@pytest.mark.parametrize("change", [{"fps": 24.0}, {"segment_seconds": 2.0}])
def test_unlike_projects_do_not_merge(project: Project, tmp_path: Path, change: dict[str, float]) -> None:
    other = Project.create(tmp_path / "unlike", SETTINGS.model_copy(update=change))
    with pytest.raises(UserError, match=f"has {next(iter(change))} .* but .*only like projects merge"):
        merge(project, other)
