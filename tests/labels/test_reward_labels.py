"""Labels by scorers: the right ones, once, the same after a stop, and nothing scored twice."""

import shlex
import sys
from pathlib import Path

import pytest
from label_pairs import FRAMES, add_pair, new_project, picture

from densedpo.cli import reward_commands
from densedpo.errors import UserError
from densedpo.judges.scorers import PixelScorer, channels, find_scorer
from densedpo.labels.reward import RewardLabelSettings, calibrate_reward, label_reward
from densedpo.labels.suggest import SuggestSettings, suggest
from densedpo.store.gold import Gold, add_gold
from densedpo.store.project import Project
from densedpo.store.schema import Label

SHARP = RewardLabelSettings(scorer="sharpness")
FLIPPED = {"a": "b", "b": "a", "tie": "tie"}
SERVER = Path(__file__).parents[2] / "scripts" / "reward_servers" / "weights_free.py"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path / "project")


def choices(project: Project) -> dict[tuple[str, int | None], str]:
    return {(label.pair, label.segment): label.choice for label in project.labels()}


def margins(name: str, number: int) -> list[float]:
    """By how much a is better, on each of the two segments of `label_pairs`."""
    scorer = find_scorer(name)
    a, b = picture(number, False), picture(number, True)
    spans = ((0, 8), (8, FRAMES))
    return [scorer.about.sign * (scorer.score_frames(a[s:e], 8) - scorer.score_frames(b[s:e], 8)) for s, e in spans]


def test_each_segment_gets_the_side_with_the_better_score(project: Project) -> None:
    pair = add_pair(project, 1)
    report = label_reward(project, SHARP)
    assert (report.pairs, report.labels, report.segments, report.ties, report.asked) == (1, 2, 2, 1, 4)
    first, second = margins("sharpness", 1)
    assert first == 0 and second != 0  # only the second half of b is spoiled
    assert choices(project) == {(pair.id, 0): "tie", (pair.id, 1): "a" if second > 0 else "b"}
    labels = list(project.labels())
    assert {(each.annotator_kind, each.annotator) for each in labels} == {("reward", "sharpness")}
    assert {each.annotator_version for each in labels} == {report.annotator_version}


@pytest.mark.parametrize("name", ["blockiness", "flicker", "freeze", "warping_error"])
def test_less_is_better_where_the_scorer_says_so(project: Project, name: str) -> None:
    pair = add_pair(project, 2)
    label_reward(project, RewardLabelSettings(scorer=name))
    expected = ["tie" if margin == 0 else "a" if margin > 0 else "b" for margin in margins(name, 2)]
    assert [choices(project)[pair.id, segment] for segment in (0, 1)] == expected


def test_swapped_pairs_get_flipped_labels(tmp_path: Path) -> None:
    there, back = new_project(tmp_path / "there"), new_project(tmp_path / "back")
    for number in range(2):
        add_pair(there, number)
        add_pair(back, number, swapped=True)
    settings = SHARP.model_copy(update={"mode": "both"})
    label_reward(there, settings)
    label_reward(back, settings)
    assert choices(there) == {key: FLIPPED[choice] for key, choice in choices(back).items()}
    assert len(choices(there)) == 6


def test_a_tie_band_is_another_labeller_and_costs_no_new_score(project: Project) -> None:
    add_pair(project, 1)
    first = label_reward(project, SHARP)
    wide = label_reward(project, SHARP.model_copy(update={"tie_band": 99.0}))
    assert (wide.labels, wide.ties, wide.asked) == (2, 2, 0)
    assert wide.annotator_version != first.annotator_version


def test_calibrating_says_the_band_and_labels_nothing(project: Project) -> None:
    for number in range(3):
        add_pair(project, number)
    sizes = sorted(abs(margin) for number in range(3) for margin in margins("sharpness", number))
    found = calibrate_reward(project, SHARP.model_copy(update={"calibrate": 0.6}))
    assert (found.segments, found.ties) == (6, 4)  # 60% of 6, rounded up
    assert sizes[3] <= found.tie_band < sizes[3] * 1.002
    assert found.largest == pytest.approx(sizes[-1])
    assert choices(project) == {}
    report = label_reward(project, SHARP.model_copy(update={"tie_band": found.tie_band}))
    assert (report.ties, report.asked) == (4, 0)
    assert calibrate_reward(project, SHARP.model_copy(update={"calibrate": 0.5})).tie_band == 0


def test_the_same_command_again_scores_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    add_pair(project, 1)
    label_reward(project, SHARP)
    before, events = project.fingerprint(), len(list(project.events()))
    monkeypatch.setattr(PixelScorer, "score", None)  # calling it would fail
    report = label_reward(project, SHARP)
    assert (report.labels, report.known, report.asked) == (0, 1, 0)
    assert (project.fingerprint(), len(list(project.events()))) == (before, events)


def test_a_stop_in_the_middle_changes_nothing_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, stopped = new_project(tmp_path / "whole"), new_project(tmp_path / "stopped")
    for number in range(3):
        add_pair(whole, number)
        add_pair(stopped, number)
    label_reward(whole, SHARP)
    score, calls = PixelScorer.score, []

    def interrupted(self: PixelScorer, shown: object) -> float:
        calls.append(shown)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return score(self, shown)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(PixelScorer, "score", interrupted)
        with pytest.raises(KeyboardInterrupt):
            label_reward(stopped, SHARP)
    assert len(choices(stopped)) == 2
    memory = next(stopped.cache_folder("reward-scores").iterdir())
    memory.write_bytes(memory.read_bytes()[:-20])  # as if it had been killed while writing a line
    report = label_reward(stopped, SHARP)
    assert (report.pairs, report.known, report.asked) == (2, 1, 12 - 5)
    assert stopped.fingerprint() == whole.fingerprint()
    assert label_reward(stopped, SHARP.model_copy(update={"tie_band": 1.0})).asked == 0


def test_only_the_pairs_asked_for(project: Project) -> None:
    pairs = [
        add_pair(project, 1),
        add_pair(project, 2, split="test"),
        add_pair(project, 3, mode="independent"),
        add_pair(project, 4, near_identical=True),
    ]
    report = label_reward(project, SHARP.model_copy(update={"split": "train", "pair_mode": "guided"}))
    assert (report.labels, report.near_identical) == (2, 1)
    assert {pair for pair, _ in choices(project)} == {pairs[0].id}
    assert label_reward(project, SHARP.model_copy(update={"count": 1, "include_near_identical": True})).known <= 1
    with pytest.raises(UserError, match="has no pairs with split validation to label"):
        label_reward(project, SHARP.model_copy(update={"split": "validation"}))


def test_clear_errors(project: Project) -> None:
    pair = add_pair(project, 1)
    with pytest.raises(UserError, match="there is no scorer taste"):
        label_reward(project, RewardLabelSettings(scorer="taste"))
    with pytest.raises(UserError, match="--command and --server were both given"):
        label_reward(project, RewardLabelSettings(scorer="s", command="x", server="http://x"))
    with pytest.raises(UserError, match="--score and --model-version are for a scorer of your own"):
        label_reward(project, RewardLabelSettings(scorer="sharpness", score="other"))
    with pytest.raises(UserError, match="--calibrate and --static-test were both given"):
        calibrate_reward(project, RewardLabelSettings(scorer="sharpness", calibrate=0.5, static_test=3))
    project.media_path(pair.media_a).unlink()
    with pytest.raises(UserError, match=pair.media_a):
        label_reward(project, SHARP)


def test_a_scorer_of_ones_own_gives_the_same_labels_as_here(tmp_path: Path) -> None:
    here, there = new_project(tmp_path / "here"), new_project(tmp_path / "there")
    for project in (here, there):
        add_pair(project, 1)
    label_reward(here, RewardLabelSettings(scorer="flicker"))
    command = shlex.join([sys.executable, str(SERVER), "--scorer", "flicker"])
    report = label_reward(there, RewardLabelSettings(scorer="theirs", command=command))
    assert (report.annotator, report.labels, report.failed) == ("theirs", 2, 0)
    assert choices(there) == choices(here)


CRASHES = """
import json, os, sys
print(json.dumps({"ready": True, "scores": ["overall"]}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if os.path.exists(FLAG) and WHEN:
        sys.exit(9)
    scores = {"overall": len(request["video"]) + request["first_frame"]}
    print(json.dumps({"id": request["id"], "scores": scores}), flush=True)
"""


def crashing(folder: Path, when: str) -> tuple[RewardLabelSettings, Path]:
    """A scorer that dies while the file exists and the condition holds."""
    flag, script = folder / "flag", folder / "crashing.py"
    flag.touch()
    script.write_text(CRASHES.replace("FLAG", repr(str(flag))).replace("WHEN", when))
    return RewardLabelSettings(scorer="mine", command=shlex.join([sys.executable, str(script)])), flag


def test_what_could_not_be_scored_stays_without_a_label_and_is_asked_again(
    tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "STOP_SECONDS", 0.2)
    add_pair(project, 1)
    add_pair(project, 2)
    settings, flag = crashing(tmp_path, "request['first_frame'] == 8")
    report = label_reward(project, settings)
    assert (report.labels, report.failed) == (2, 2)
    assert "segment 1: mine ended, 2 times" in report.failure
    assert {segment for _, segment in choices(project)} == {0}
    flag.unlink()
    report = label_reward(project, settings)
    assert (report.labels, report.failed, report.asked) == (2, 0, 4)
    assert len(choices(project)) == 4


def test_a_scorer_that_only_fails_stops_the_stage(
    tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "STOP_SECONDS", 0.2)
    for number in range(3):
        add_pair(project, number)
    settings, _ = crashing(tmp_path, "True")
    with pytest.raises(UserError, match="mine ended, 2 times; that was breakdown number 3 in a row"):
        label_reward(project, settings)
    assert choices(project) == {}


def test_a_scorer_that_declines_much_is_not_broken(tmp_path: Path, project: Project) -> None:
    for number in range(3):
        add_pair(project, number)
    settings, _ = crashing(tmp_path, "True")
    script = tmp_path / "crashing.py"
    decline = 'print(json.dumps({"id": request["id"], "error": "too dark"}), flush=True); continue'
    script.write_text(script.read_text().replace("sys.exit(9)", decline))
    report = label_reward(project, settings)
    assert (report.labels, report.failed, report.asked) == (0, 6, 6)
    assert report.failure.endswith("mine cannot score this: too dark")


def give(project: Project, pair: str, segment: int, name: str, choice: str, **changes: object) -> None:
    values = {"annotator_kind": "human", "seen": "s", "segment_seconds": 1.0, **changes}
    project.add_labels([Label.make(pair=pair, segment=segment, annotator=name, choice=choice, **values)])  # type: ignore


def test_what_a_person_should_label_next(project: Project, tmp_path: Path) -> None:
    settled, machines, empty = (add_pair(project, number).id for number in (1, 2, 3))
    for segment in (0, 1):
        give(project, settled, segment, "ann", "a")
        give(project, settled, segment, "bob", "a")
    for name, choice in (("m1", "a"), ("m2", "b")):
        give(project, machines, 0, name, choice, annotator_kind="vlm")
    give(project, machines, 1, "m1", "a", annotator_kind="vlm", confidence=0.2)
    give(project, empty, 0, "ann", "skip")
    found = suggest(project, SuggestSettings(out=tmp_path / "next.json"))
    assert [(row.pair, row.segment, row.score, row.reason) for row in found.rows[:3]] == [
        (machines, 0, 1.5, "labellers disagree, machines only"),  # the spread of +1 and -1 is 1
        (machines, 1, 0.9, "low confidence, machines only"),  # half of 0.8
        (empty, 1, 0.25, "nobody labelled it"),
    ]
    assert found.undecided == 1
    assert {row.score for row in found.rows[3:]} == {0}  # settled, or a person could not tell
    assert '"votes_a": 1' in (tmp_path / "next.json").read_text()
    assert [row.pair for row in suggest(project, SuggestSettings(count=2, per_pair=1)).rows] == [machines, empty]
    lines = (project.root / "suggestions.csv").read_text().splitlines()
    assert lines[0].startswith("pair,segment,start,end,score,reason") and lines[1].startswith(
        f"{machines},0,0.0,1.0,1.5"
    )


def test_pairs_with_known_answers_are_not_suggested(project: Project) -> None:
    known, other = (add_pair(project, number).id for number in (1, 2))
    add_gold(project, [Gold(pair=known, segment=0, aspect="overall", choice="a", origin="file")])
    assert {row.pair for row in suggest(project, SuggestSettings()).rows} == {other}


def test_suggest_errors(project: Project) -> None:
    with pytest.raises(UserError, match="has no pairs to label"):
        suggest(project, SuggestSettings())
    with pytest.raises(UserError, match=r"must end in \.json or \.csv"):
        suggest(project, SuggestSettings(out=Path("list.txt")))


def test_the_commands_tell_what_they_did(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    add_pair(project, 1)
    assert reward_commands.label_reward(project.root, scorer="sharpness", calibrate=0.5) == 0
    assert "with --tie-band 0, 1 of 2 would be ties" in capsys.readouterr().out
    assert reward_commands.label_reward(project.root, scorer="flicker", static_test=1, json_line=True) == 0
    told, line = capsys.readouterr().out.splitlines()
    assert "flicker chose the frozen copy 1 times of 1" in told and '"frozen": 1' in line
    assert choices(project) == {}
    assert reward_commands.label_reward(project.root, scorer="sharpness") == 0
    assert "2 labels added to 1 pairs, 1 of them ties; 0 pairs had theirs" in capsys.readouterr().out
    assert reward_commands.label_reward(project.root, scorer="sharpness", json_line=True) == 0
    told, line = capsys.readouterr().out.splitlines()
    assert "no label added; 1 pairs had theirs" in told and '"asked": 0' in line
    assert reward_commands.label_suggest(project.root, count=1, json_line=True) == 0
    assert '"segments": 1' in capsys.readouterr().out
