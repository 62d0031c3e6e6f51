"""Labels of the simulated annotator: the right ones, once, and the same after a stop."""

from pathlib import Path

import pytest
from label_pairs import ASKED, add_pair, new_project, picture

from densedpo import cli
from densedpo.errors import UserError
from densedpo.judges.oracle import OracleAnnotator, OracleAnnotatorSettings
from densedpo.labels import OracleLabelSettings, label_oracle
from densedpo.labels import oracle as stage
from densedpo.labels.oracle import order_shown
from densedpo.store.project import Project
from densedpo.store.schema import content_id
from densedpo.store.segments import segment_grid

CAREFUL = OracleLabelSettings(noise=0.0)
FLIPPED = {"a": "b", "b": "a", "tie": "tie"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path / "project")


def choices(project: Project) -> dict[tuple[str, int | None], str]:
    return {(label.pair, label.segment): label.choice for label in project.labels()}


def test_each_segment_gets_the_annotators_label(project: Project) -> None:
    pair = add_pair(project, 1)
    report = label_oracle(project, CAREFUL)
    assert (report.pairs, report.labels, report.segments, report.ties) == (1, 2, 2, 1)
    labels = sorted(project.labels(), key=lambda label: label.segment or 0)
    assert [label.choice for label in labels] == ["tie", "a"]
    assert {label.seen for label in labels} == {content_id(pair.media_a, pair.media_b)}
    assert {(label.annotator_kind, label.annotator) for label in labels} == {("oracle", "oracle")}
    assert [label.order_shown for label in labels] == [order_shown(0, pair.id, segment) for segment in (0, 1)]


def test_the_annotators_settings_reach_the_annotator(project: Project) -> None:
    pair = add_pair(project, 1)
    label_oracle(project, OracleLabelSettings(noise=0.4, tie_band=0.0, segment_sensitivity=0.5, seed=3))
    annotator = OracleAnnotator(OracleAnnotatorSettings(noise=0.4, tie_band=0.0, segment_sensitivity=0.5, seed=3))
    grid = segment_grid(pair.frames, pair.fps, 1.0)
    judged = annotator.judge_pair(pair.id, picture(1, False), picture(1, True), ASKED.caption, grid)
    assert choices(project) == {(pair.id, judgement.segment): judgement.choice for judgement in judged}


def test_swapped_pairs_get_flipped_labels(tmp_path: Path) -> None:
    there, back = new_project(tmp_path / "there"), new_project(tmp_path / "back")
    settings = OracleLabelSettings(mode="both", noise=0.1)
    for number in range(3):
        add_pair(there, number)
        add_pair(back, number, swapped=True)
    label_oracle(there, settings)
    label_oracle(back, settings)
    assert choices(there) == {key: FLIPPED[choice] for key, choice in choices(back).items()}
    assert set(choices(there).values()) > {"a"}


def test_the_same_command_again_does_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    add_pair(project, 1)
    label_oracle(project, CAREFUL)
    before, events = project.fingerprint(), len(list(project.events()))
    monkeypatch.setattr(stage, "read_video", None)  # calling it would fail
    report = label_oracle(project, CAREFUL)
    assert (report.pairs, report.labels, report.known) == (0, 0, 1)
    assert (project.fingerprint(), len(list(project.events()))) == (before, events)


def test_a_stop_in_the_middle_changes_nothing_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, stopped = new_project(tmp_path / "whole"), new_project(tmp_path / "stopped")
    for number in range(3):
        add_pair(whole, number)
        add_pair(stopped, number)
    label_oracle(whole, OracleLabelSettings())

    read, calls = stage.read_video, []

    def interrupted(path: Path) -> object:
        calls.append(path)
        if len(calls) == 4:  # the second video of the second pair
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(stage, "read_video", interrupted)
    with pytest.raises(KeyboardInterrupt):
        label_oracle(stopped, OracleLabelSettings())
    assert len(choices(stopped)) == 2
    report = label_oracle(stopped, OracleLabelSettings())
    assert (report.pairs, report.known) == (2, 1)
    assert stopped.fingerprint() == whole.fingerprint()


def test_another_noise_is_another_annotator(project: Project) -> None:
    add_pair(project, 1)
    first = label_oracle(project, CAREFUL)
    second = label_oracle(project, OracleLabelSettings(noise=0.01))
    assert (first.labels, second.labels) == (2, 2)
    versions = {label.annotator_version for label in project.labels()}
    assert versions == {first.annotator_version, second.annotator_version}
    assert len(versions) == 2


def test_what_is_labelled_does_not_make_another_annotator() -> None:
    assert OracleLabelSettings(mode="whole", split="train").version == OracleLabelSettings().version


def test_whole_videos_get_one_label_and_segments_are_not_done_twice(project: Project) -> None:
    pair = add_pair(project, 1)
    report = label_oracle(project, CAREFUL.model_copy(update={"mode": "whole"}))
    assert (report.labels, report.segments) == (1, 0)
    assert choices(project) == {(pair.id, None): "a"}
    report = label_oracle(project, CAREFUL.model_copy(update={"mode": "both"}))
    assert (report.labels, report.segments) == (2, 2)
    assert set(choices(project)) == {(pair.id, None), (pair.id, 0), (pair.id, 1)}


def test_near_identical_pairs_are_passed_over_unless_asked_for(project: Project) -> None:
    add_pair(project, 1, near_identical=True)
    report = label_oracle(project, CAREFUL)
    assert (report.labels, report.near_identical) == (0, 1)
    report = label_oracle(project, CAREFUL.model_copy(update={"include_near_identical": True}))
    assert (report.labels, report.near_identical) == (2, 0)


def test_only_pairs_of_the_split_and_mode_asked_for(project: Project) -> None:
    pairs = [add_pair(project, 1), add_pair(project, 2, split="test"), add_pair(project, 3, mode="independent")]
    label_oracle(project, CAREFUL.model_copy(update={"split": "train", "pair_mode": "independent"}))
    assert {pair for pair, _ in choices(project)} == {pairs[2].id}


def test_no_pairs_is_a_clear_message(project: Project) -> None:
    with pytest.raises(UserError, match="has no pairs to label; make some with `densedpo pairs`"):
        label_oracle(project, CAREFUL)
    add_pair(project, 1)
    with pytest.raises(UserError, match="has no pairs with split test and mode guided to label"):
        label_oracle(project, CAREFUL.model_copy(update={"split": "test", "pair_mode": "guided"}))


def test_a_foreign_caption_stops_all_before_any_work(project: Project) -> None:
    add_pair(project, 1)
    add_pair(project, 2, prompt="a dog runs on a beach")
    with pytest.raises(UserError, match=r"tiny world only, but 1 prompts .*'a dog runs on a beach' names no colour"):
        label_oracle(project, CAREFUL)
    assert choices(project) == {}


def test_a_damaged_video_is_named(project: Project) -> None:
    pair = add_pair(project, 1, frames=9)
    with pytest.raises(UserError, match=f"{pair.media_a}.mp4 has 17 frames, but pair {pair.id} 9"):
        label_oracle(project, CAREFUL)


def test_the_order_of_showing_is_a_fair_coin_of_its_key() -> None:
    draws = [order_shown(0, f"pair {pair}", segment) for pair in range(200) for segment in (None, 0, 1)]
    assert draws == [order_shown(0, f"pair {pair}", segment) for pair in range(200) for segment in (None, 0, 1)]
    assert 0.45 < draws.count("ab") / len(draws) < 0.55
    assert draws != [order_shown(1, f"pair {pair}", segment) for pair in range(200) for segment in (None, 0, 1)]


def test_the_command(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    add_pair(project, 1)
    add_pair(project, 2, near_identical=True)
    assert cli.run(["label", "oracle", str(project.root), "--noise", "0"]) == 0
    told = "2 labels added to 1 pairs, 1 of them ties; 0 pairs had theirs, 1 near-identical pairs were passed over"
    assert told in capsys.readouterr().out
    assert cli.run(["label", "oracle", str(project.root), "--noise", "0", "--json"]) == 0
    told, line = capsys.readouterr().out.splitlines()
    assert "nothing to label; 1 pairs had theirs" in told
    assert '"known": 1' in line
