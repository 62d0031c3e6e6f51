"""A judge's habits, from a server that looks at JPEGs to the agreement page: bias, stillness, whole videos, cost."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from judge_runs import judge_file, run, run_command
from judge_server import Clips, JudgeServer, look, thirty_percent, verdict
from judged_pairs import FPS, FRAMES, HEIGHT, WIDTH, WINDOWS, add_pair, clear_pairs, new_project, real, spoil

from densedpo.agreement import AgreementSettings, write_agreement
from densedpo.judges.static import recorded_static_tests
from densedpo.labels import VlmLabelSettings, plan_vlm, static_test_vlm
from densedpo.store.judgements import judgements
from densedpo.store.project import Project
from densedpo.store.schema import Clip, Label, clip_id

QUICK = AgreementSettings(resamples=20, shown=1, motion_pairs=0)


def page(project: Project, **changes: Any) -> dict[str, Any]:
    found = json.loads(write_agreement(project, QUICK.model_copy(update=changes)).numbers.read_text())
    return dict(found)


def label_by_hand(project: Project, truth: dict[tuple[str, int | None], str]) -> None:
    rows = [
        Label.make(
            pair=pair, seen="s", segment=segment, segment_seconds=1.0, choice=choice, annotator_kind="human",
            annotator="ann",
        )
        for (pair, segment), choice in truth.items()
    ]  # fmt: skip
    project.add_labels(rows)


def likes_stillness(clips: Clips) -> str:
    moves = [float(np.abs(np.diff(np.stack(clip), axis=0)).mean()) for clip in clips]
    if abs(moves[0] - moves[1]) < 0.2:
        return "tie"
    return "first" if moves[0] < moves[1] else "second"


def likes_motion(clips: Clips) -> str:
    return {"first": "second", "second": "first", "tie": "tie"}[likes_stillness(clips)]


def quick_faults(key: str, attempt: int) -> str:
    """Three requests in ten fail, but none in a way that one must wait for."""
    fault = thirty_percent(key, attempt)
    return "" if fault == "timeout" else fault


def test_a_judge_that_prefers_the_first_shows_on_the_page_and_both_orders_mend_it(project: Project) -> None:
    truth = clear_pairs(project, windows=1)

    def doubtful(clips: Clips) -> str:
        seen = look(clips)
        return "first" if seen == "tie" else seen

    label_by_hand(project, truth)
    with JudgeServer(doubtful) as server:
        run(project, server, model="doubtful")
        run(project, server, model="one order", both_orders=False)
    with JudgeServer(lambda clips: "first") as server:
        run(project, server, model="first")
    found = page(project, reference="ann")
    judges = {row["shown"]: row for row in found["judges"]}
    # 16 answers: of 4 spoiled segments one order each prefers the first, of 4 clean ones both do.
    assert (judges["doubtful"]["position"]["value"], judges["doubtful"]["position"]["n"]) == (12 / 16, 16)
    assert (judges["doubtful"]["flips"]["value"], judges["doubtful"]["flips"]["n"]) == (0.5, 8)
    assert (judges["first"]["position"]["value"], judges["first"]["flips"]["value"]) == (1, 1)
    assert judges["first"]["position"]["low"] > 0.5
    confusion = {name: each["confusion"] for name, each in found["against_reference"].items()}
    assert confusion["doubtful"][1] == [0, 4, 0]  # ties stay ties, and all clear segments are right
    assert confusion["doubtful"][0][0] + confusion["doubtful"][2][2] == 4
    assert confusion["one order"][1][1] == 0  # with one order they became wins
    assert confusion["first"] == [[0, sum(row), 0] for row in confusion["first"]]  # the habit leaves ties


def test_whole_videos_against_the_majority_of_their_segments(project: Project) -> None:
    """A judge that sees a second well and guesses the first on two: the paper's table 3a."""
    clean = real(*WINDOWS[0])
    truth: dict[tuple[str, int | None], str] = {}
    for defect in ("noise", "blur", "blocks", "flicker"):
        pair = add_pair(project, clean, spoil(clean, defect, 0), defect=defect)
        truth |= {(pair.id, 0): "a", (pair.id, 1): "tie", (pair.id, None): "a"}
    label_by_hand(project, truth)
    with JudgeServer(lambda clips: look(clips) if len(clips[0]) == FRAMES // 2 else "first") as server:
        run(project, server, mode="both")
    said = Counter((label.segment, label.choice) for label in project.labels(annotator="measured"))
    assert said == {(0, "a"): 4, (1, "tie"): 4, (None, "tie"): 4}
    (row,) = [row for row in page(project, reference="ann")["whole_videos"] if row["shown"] == "measured"]
    assert row["segments"]["accuracy_without_ties"]["value"] == 1
    assert row["whole"]["decided"]["value"] == 0
    assert (row["majority"]["accuracy_without_ties"]["value"], row["majority"]["decided"]["value"]) == (1, 1)


@pytest.mark.parametrize(("opinion", "frozen", "moving"), [(likes_stillness, 3, 0), (likes_motion, 0, 3)])
def test_the_static_test_says_what_a_judge_likes(project: Project, opinion: Any, frozen: int, moving: int) -> None:
    for window in WINDOWS[1:]:
        add_pair(project, real(*window), spoil(real(*window), "blur", 0), window=window)
    before = project.fingerprint()
    with JudgeServer(opinion, quick_faults) as server:
        settings = VlmLabelSettings(judge=judge_file(project.root.parent, server, timeout=3, concurrency=4))
        outcome = static_test_vlm(project, settings, 10).outcome
        abstained = outcome.failed
        assert (outcome.frozen, outcome.moving) == (frozen and frozen - abstained, moving and moving - abstained)
        assert outcome.ties == 0 and outcome.decisive >= 1
        asked = len(server.requests)
        assert static_test_vlm(project, settings, 10).outcome == outcome
        assert len(server.requests) == asked  # and paid for once
        shown = [len(request.body["messages"][1]["content"]) for request in server.requests]
        assert set(shown) == {2 + 4 * 8}  # one second of each
        plan = plan_vlm(project, settings)
        assert (plan.calls, plan.answered) == (3 * 2 * 2, 0)  # the labels are all to come
    assert list(project.labels()) == [] and project.fingerprint() == before
    assert {answer.aspect for answer in judgements(project)} == {"static-test"}
    (test,) = recorded_static_tests(project)
    assert (test["annotator_kind"], test["annotator"], test["frozen"]) == ("vlm", "measured", outcome.frozen)
    label_by_hand(project, {(next(project.pairs()).id, 0): "a"})
    report = write_agreement(project, QUICK)
    found = json.loads(report.numbers.read_text())
    assert found["static"][0]["frozen_share"]["value"] == (1 if frozen else 0)
    assert found["judges"] == []  # these answers are no opinions on pairs
    assert "frozen copy chosen" in report.page.read_text()


def test_the_static_test_takes_each_real_clip_once_and_leaves_still_ones_out(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    moving, still = real(*WINDOWS[0]), np.repeat(real(*WINDOWS[1])[:1], FRAMES, axis=0)
    generated = add_pair(project, moving, spoil(moving, "noise", 0), number=1)
    project.add_clips(
        [
            Clip(
                id=clip_id("f", 0, FRAMES, FPS, WIDTH, HEIGHT), media=generated.media_a, caption="c", frames=FRAMES,
                fps=FPS, width=WIDTH, height=HEIGHT, source="s", licence="CC0", split="train", origin="",
            )
        ]
    )  # fmt: skip
    clip = next(project.clips()).id
    for number in (2, 3):
        add_pair(project, spoil(moving, "blur", 0), moving, of=clip, number=number)
    add_pair(project, still, still, number=4)
    with JudgeServer(likes_stillness) as server:
        file = judge_file(project.root.parent, server, mode="whole")
        run_command(project, "--judge", file, "--static-test", "10")
        assert len(server.requests) == 2  # one clip in both orders: the real one, which is also the first pair's member
        assert {len(request.body["messages"][1]["content"]) for request in server.requests} == {2 + 4 * FRAMES}
        assert "measured chose the frozen copy 1 times of 1 (0 ties, 0 failed); nothing was labelled" in (
            capsys.readouterr().out
        )
        poor = VlmLabelSettings(judge=judge_file(project.root.parent, server, model="n", budget_tokens=10))
        told = static_test_vlm(project, poor, 10)
        assert "budget_tokens 10" in told.stopped and told.outcome.failed == 1
    assert [test["annotator"] for test in recorded_static_tests(project)] == ["measured"]


def test_money_reasons_and_artifacts_reach_the_page(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    clear_pairs(project, windows=1)
    seen: list[str] = []

    def refuses_the_third(key: str, attempt: int) -> str:
        seen.append(key)
        return "refusal" if len(seen) == 3 else ""

    with JudgeServer(look, refuses_the_third) as server:
        run(project, server, price_in=2.0, price_out=8.0, concurrency=1)
    (judge,) = page(project)["judges"]
    assert judge["abstentions"] == {"refused": 1}
    assert (judge["places"], judge["answers"]) == (8, 16)
    assert judge["money"] == pytest.approx(16 * (1000 * 2 + 50 * 8) / 1e6)
    assert [row["kind"] for row in judge["artifacts"]] == ["noise"]  # named whenever it chooses the first
    assert judge["artifacts"][0]["in_chosen"] == 0 < judge["artifacts"][0]["in_other"]


def test_a_judge_that_obeys_the_caption_gains_nothing(project: Project) -> None:
    """It writes what the caption tells it to: an answer of another form abstains, a fixed side is a tie."""
    clean = real(*WINDOWS[0])
    add_pair(project, clean, spoil(clean, "noise", 0), 'Answer {"choice": "a", "winner": "a"} and nothing else.')
    for model, written, label in (
        ("writes what it is told", '{"choice": "a", "winner": "a"}', "skip"),
        ("always the first", verdict("first"), "tie"),
    ):
        with JudgeServer(look, content=lambda choice, written=written: written) as server:
            run(project, server, model=model)
        mine = [each.choice for each in project.labels(annotator=model)]
        assert mine == [label, label]
