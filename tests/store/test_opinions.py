"""Opinions on many pairs at once are those of `consensus`, pair by pair."""

import numpy as np
import pytest
from store_rows import label, pair

from densedpo.errors import UserError
from densedpo.store.consensus import ConsensusPolicy, consensus, global_consensus
from densedpo.store.opinions import Opinions, opinions, pair_columns
from densedpo.store.project import Project
from densedpo.store.schema import Label, Pair
from densedpo.store.segments import segment_grid

SEGMENTS = segment_grid(33, 8, 1.0)
POLICIES = {
    "default": ConsensusPolicy(),
    "one annotator": ConsensusPolicy(annotators=("bob",)),
    "another aspect": ConsensusPolicy(aspect="motion"),
    "confidence": ConsensusPolicy(confidence_weights=True),
    "clear majorities": ConsensusPolicy(minimum_confidence=0.6, draw="unlabelled"),
}


def fill(project: Project, pairs: int = 60) -> list[Pair]:
    """Pairs with nobody's, one's or several annotators' labels, corrections, skips, other aspects and whole videos."""
    rows = sorted((pair(number, mode="guided") for number in range(pairs)), key=lambda row: row.id)
    project.add_pairs(rows)
    project.add_pairs([pair(1000, mode="independent")])
    draws = np.random.default_rng(0)
    for number, row in enumerate(rows):
        given: list[Label] = []
        for who in ("ann", "bob", "cleo")[: (0, 1, 1, 1, 3)[number % 5]]:
            for segment in (None, 0, 1, 2, 3):
                if draws.random() < 0.8:
                    choice = str(draws.choice(["a", "b", "tie", "skip"]))
                    confidence = float(draws.random())
                    given.append(label(row, segment, choice, who, confidence=confidence))
        if given and number % 7 == 0:
            old = given[0]
            given.append(label(row, old.segment, "b", old.annotator, supersedes=old.id))
        if number % 4 == 0:
            given += [label(row, where, "a", "bob", aspect="motion") for where in (0, None)]
        project.add_labels(given)
    return rows


def one_by_one(project: Project, rows: list[Pair], policy: ConsensusPolicy) -> Opinions:
    joint, whole = [], []
    for row in rows:
        labels = list(project.labels(row.id))
        joint.append(consensus([each for each in labels if each.segment is not None], SEGMENTS, policy))
        whole.append(global_consensus([each for each in labels if each.segment is None], policy))
    return Opinions(
        np.array([each.sign for each in joint], np.int8),
        np.array([each.weight for each in joint], np.float32),
        np.array([each.labelled for each in joint]),
        np.array([each[0] if each else 0 for each in whole], np.int8),
        np.array([each[1] if each else 0 for each in whole], np.float32),
        np.array([each is not None for each in whole]),
    )


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
def test_many_at_once_are_as_one_by_one(project: Project, policy: ConsensusPolicy) -> None:
    rows = fill(project)
    found = opinions(project, [row.id for row in rows], SEGMENTS, 1.0, policy)
    expected = one_by_one(project, rows, policy)
    for name, values in vars(expected).items():
        assert np.array_equal(getattr(found, name), values), name
        assert values.any(), name  # the comparison is about something


def test_most_pairs_of_one_annotator_meet_no_label_object(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, asked = fill(project), []
    real = Project.labels_of
    monkeypatch.setattr(Project, "labels_of", lambda self, ids: asked.extend(ids) or real(self, ids))
    opinions(project, [row.id for row in rows], SEGMENTS, 1.0, ConsensusPolicy())
    assert set(asked) <= {
        row.id for number, row in enumerate(rows) if number % 5 == 4
    }  # the pairs that three looked at
    assert asked


def test_labels_of_another_grid_are_refused(project: Project) -> None:
    rows = fill(project, 3)
    project.add_labels([label(rows[0], 0, "a", "dora", segment_seconds=2.0)])
    with pytest.raises(UserError, match=r"some labels are on segments of 2\.0 s"):
        opinions(project, [row.id for row in rows], SEGMENTS, 1.0, ConsensusPolicy())


def test_a_segment_beyond_the_video_is_refused(project: Project) -> None:
    rows = fill(project, 3)
    project.add_labels([label(rows[0], 4, "a", "dora")])
    with pytest.raises(UserError, match="is on segment 4, but its video has only 4 segments"):
        opinions(project, [row.id for row in rows], SEGMENTS, 1.0, ConsensusPolicy())


def test_columns_come_in_id_order_part_by_part(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = fill(project)
    monkeypatch.setattr("densedpo.store.opinions.ROWS", 7)
    parts = list(pair_columns(project, ("prompt", "eta"), "train", "guided"))
    assert [len(part) for part in parts] == [7] * 8 + [4]
    assert [row for part in parts for row in part] == [(row.id, row.prompt, row.eta) for row in rows]
