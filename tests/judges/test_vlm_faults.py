"""A server that fails: every segment ends labelled or abstained, none twice, and no answer is asked for again."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from email.utils import formatdate
from pathlib import Path

import pytest
from judge_runs import judge_file, run
from judge_server import FAULTS, JudgeServer, look, thirty_percent
from judged_pairs import WINDOWS, add_pair, clear_pairs, new_project, real, spoil

from densedpo.errors import UserError
from densedpo.judges.vlm.client import LONGEST_ORDERED_WAIT, ordered_wait, wait_before_retry
from densedpo.store.judgements import judgements
from densedpo.store.project import Project


def one_pair(project: Project) -> None:
    clean = real(*WINDOWS[0])
    add_pair(project, clean, spoil(clean, "noise", 0))


def labelled_once(project: Project, truth: dict[tuple[str, int | None], str], server: JudgeServer) -> None:
    """Every place has one label, right or an abstention with its raw answers; every request one answer."""
    labels = {(label.pair, label.segment): label.choice for label in project.labels()}
    assert len(list(project.labels())) == len(labels)
    assert labels.keys() == truth.keys()
    assert {place for place in truth if labels[place] not in (truth[place], "skip")} == set()
    assert set(server.answered.values()) == {1}
    answers = list(judgements(project))
    assert Counter(answer.outcome == "answered" for answer in answers)[True] > len(answers) / 2
    assert all(json.loads(answer.raw)["choices"] for answer in answers)
    abstained = {(answer.pair, answer.segment) for answer in answers if answer.outcome != "answered"}
    assert abstained <= {place for place in truth if labels[place] == "skip"}


def test_thirty_percent_of_faults(project: Project) -> None:
    truth = clear_pairs(project, windows=2)
    with JudgeServer(look, thirty_percent) as server:
        report = run(project, server, concurrency=6, timeout=3)  # more would keep each other waiting so long
        assert (report.labels, report.unanswered, report.stopped) == (len(truth), 0, "")
        faults = Counter(request.fault for request in server.requests if request.fault)
        assert len(faults) >= 6 and sum(faults.values()) > 0.2 * len(server.requests)
        labelled_once(project, truth, server)
        asked = len(server.requests)
        assert run(project, server).labels == 0
        assert len(server.requests) == asked
    outcomes = Counter(answer.outcome for answer in judgements(project))
    assert {"answered", *report.outcomes} == set(outcomes)
    assert report.abstained == sum(label.choice == "skip" for label in project.labels()) > 0


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_alone(project: Project, fault: str) -> None:
    """Faults without an answer are asked again; answers that are no opinion are abstentions, asked once."""
    one_pair(project)
    with JudgeServer(look, lambda key, attempt: fault if attempt == 0 else "") as server:
        report = run(project, server, timeout=3)
        counts = Counter(Counter(request.key for request in server.requests).values())
    outcome = {"refusal": "refused", "cut off": "truncated", "half an answer": "nonsense"}.get(fault)
    assert (report.labels, report.unanswered) == (2, 0)
    if outcome:
        assert (report.outcomes, report.abstained, set(counts)) == ({outcome: 4}, 2, {1})
    else:
        assert (report.outcomes, report.abstained, set(counts)) == ({"answered": 4}, 0, {2})


def test_killed_in_the_middle_and_run_again(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    truth = clear_pairs(project, windows=2)
    concurrency = 3
    with JudgeServer(look, thirty_percent, latency=0.1) as server:
        file = judge_file(tmp_path, server, concurrency=concurrency, timeout=3)
        code = (
            "import sys; from pathlib import Path; from densedpo.cli.vlm_commands import label_vlm;"
            "label_vlm(Path(sys.argv[1]), judge=sys.argv[2])"
        )
        process = subprocess.Popen([sys.executable, "-c", code, str(project.root), file])
        until = time.monotonic() + 300
        while sum(server.answered.values()) < 8 and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        noted = -1
        while noted < len(server.requests):
            noted = len(server.requests)
            time.sleep(0.3)  # what is under way to the server comes to its end
        kept = {answer.id for answer in judgements(project)}
        labels = len(list(project.labels()))
        answered = sum(server.answered.values())
        assert 0 < len(kept) < 32 and labels < 16
        assert answered - len(kept) <= 2 * concurrency  # lost is what was under way or being written, and nothing else
        report = run(project, server, concurrency=concurrency, timeout=3)
        assert (report.labels, report.unanswered) == (16 - labels, 0)
        assert sum(server.answered.values()) - answered == 32 - len(kept)  # no kept answer was asked for again
        assert sum(server.answered.values()) <= 32 + 2 * concurrency
    found = {(label.pair, label.segment): label.choice for label in project.labels()}
    assert len(list(project.labels())) == 16
    assert {place for place in truth if found[place] not in (truth[place], "skip")} == set()


def test_retry_after_is_obeyed(project: Project) -> None:
    one_pair(project)
    with JudgeServer(look, lambda key, attempt: "rate limit" if attempt == 0 else "", retry_after="1") as server:
        run(project, server)
        times: dict[str, list[float]] = {}
        for request in server.requests:
            times.setdefault(request.key, []).append(request.time)
    assert all(1.0 <= second - first < 10 for first, second in times.values())  # its own wait would be below 0.5


def test_how_long_to_wait() -> None:
    assert ordered_wait({"retry-after": "7"}) == 7
    assert ordered_wait({"retry-after-ms": "250", "retry-after": "7"}) == 0.25
    assert ordered_wait({"retry-after": formatdate(time.time() + 30, usegmt=True)}) == pytest.approx(30, abs=1.5)
    assert ordered_wait({"retry-after": formatdate(time.time() - 30, usegmt=True)}) == 0
    for nonsense in ("", "soon", "-3", "inf", "nan"):
        assert ordered_wait({"retry-after": nonsense}) is None
    assert wait_before_retry(0, 7, "x") == 7
    assert wait_before_retry(0, 86_400, "x") == LONGEST_ORDERED_WAIT
    waits = [wait_before_retry(attempt, None, "x") for attempt in range(12)]
    assert waits == [wait_before_retry(attempt, None, "x") for attempt in range(12)]
    for attempt, wait in enumerate(waits):
        longest = min(0.5 * 2**attempt, 30)
        assert 0.75 * longest <= wait <= longest
    assert waits[0] != wait_before_retry(0, None, "y")


@pytest.mark.parametrize(("limit", "most"), [({"requests_per_minute": 300}, 5), ({"tokens_per_minute": 510_000}, 5)])
def test_rate_limits_hold(project: Project, limit: dict[str, float], most: int) -> None:
    """Five a second: 16 requests take two seconds and more, and no second sees many more."""
    clear_pairs(project, windows=1)
    with JudgeServer(look) as server:
        # 1000 tokens asked and at most 700 answered: 1700 a question, once the estimate is corrected by what it took
        run(project, server, concurrency=16, max_tokens=700, image_token_pixels=8 * 2 * 96 * 64 / 400, **limit)
        times = sorted(request.time for request in server.requests)
    assert len(times) == 16
    assert times[-1] - times[0] > 1.7  # a busy server may note the first one late
    assert max(sum(start <= time < start + 1 for time in times) for start in times) <= 2 * most + 2


def test_a_server_that_is_not_there_is_told_soon(project: Project) -> None:
    one_pair(project)
    with JudgeServer(look) as server:
        url = server.url
    with pytest.raises(UserError, match=f"{url} cannot be reached .*ConnectError.*is the server up"):
        run(project, server)
    assert list(project.labels()) == []


def test_a_server_that_never_answers_is_given_up_and_asked_again_next_time(project: Project) -> None:
    clear_pairs(project, windows=1)
    with JudgeServer(look, lambda key, attempt: "error 503") as server:
        with pytest.raises(UserError, match=r"has not answered \d questions in a row \(HTTP 503\), each tried 2 times"):
            run(project, server, retries=1, concurrency=2)
        assert list(judgements(project)) == []
        server.fault = lambda key, attempt: ""
        report = run(project, server)
        assert (report.labels, report.unanswered) == (8, 0)


def test_one_question_that_always_fails_leaves_only_its_label_out(project: Project) -> None:
    clear_pairs(project, windows=1)
    with JudgeServer(look) as server:
        bad: list[str] = []

        def first_only(key: str, attempt: int) -> str:
            bad.append(key)
            return "error 500" if key == bad[0] else ""

        server.fault = first_only
        report = run(project, server, retries=1, concurrency=2)
        assert 1 <= report.unanswered <= 4  # pairs may share the question
        assert report.labels == 8 - report.unanswered
        assert report.why_unanswered == "HTTP 500"
        server.fault = lambda key, attempt: ""
        assert run(project, server).unanswered == 0


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("error 401", "refuses the key"),
        ("error 404", "knows no such model or address"),
        ("error 400", "does not take the request"),
    ],
)
def test_wrong_settings_stop_at_once(project: Project, status: str, told: str) -> None:
    clear_pairs(project, windows=1)
    with JudgeServer(look, lambda key, attempt: status) as server:
        with pytest.raises(UserError, match=f"{told} .HTTP {status[-3:]}"):
            run(project, server, concurrency=1)
        assert len(server.requests) == 1
    assert list(project.labels()) == []


def test_an_account_that_runs_out_stops_the_run_and_spoils_no_label(project: Project) -> None:
    """HTTP 402, as DeepSeek and OpenRouter say it: no answer, so the question is asked again when there is money."""
    truth = clear_pairs(project, windows=1)
    with JudgeServer(look) as server:
        seen: list[str] = []

        def from_the_fifth_on(key: str, attempt: int) -> str:
            seen.append(key)
            return "error 402" if len(seen) >= 5 else ""

        server.fault = from_the_fifth_on
        with pytest.raises(UserError, match="the account is used up"):
            run(project, server, concurrency=1)
        server.fault = lambda key, attempt: ""
        report = run(project, server, concurrency=1)
        assert report.unanswered == 0
        assert "rejected" not in report.outcomes
    assert len(list(project.labels())) == len(truth)


def test_a_request_that_is_refused_later_is_an_abstention(project: Project) -> None:
    truth = clear_pairs(project, windows=1)
    with JudgeServer(look) as server:
        seen: list[str] = []

        def last(key: str, attempt: int) -> str:
            seen.append(key)
            return "error 413" if len(seen) == 5 else ""

        server.fault = last
        report = run(project, server, concurrency=1)
        assert report.outcomes["rejected"] == 1
        assert report.labels == len(truth)
        assert report.abstained >= 1


def test_a_damaged_video_ends_the_run_and_keeps_what_is_done(project: Project) -> None:
    clear_pairs(project, windows=1)
    last = list(project.pairs())[-1]
    project.media_path(last.media_a).write_bytes(b"no video")
    shared = {pair.id for pair in project.pairs() if last.media_a in (pair.media_a, pair.media_b)}
    with JudgeServer(look) as server, pytest.raises(UserError, match=last.media_a):
        run(project, server)
    assert {label.pair for label in project.labels()}.isdisjoint(shared)
