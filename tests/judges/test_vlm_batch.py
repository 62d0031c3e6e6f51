"""Batch files: what is published as their format, and the same labels as asking directly."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pydantic
import pytest
from judge_runs import choices
from judge_server import JudgeServer, clips_in, look, verdict
from judged_pairs import WINDOWS, add_pair, clear_pairs, new_project, real
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming

from densedpo.errors import UserError
from densedpo.judges.vlm import load_judge
from densedpo.labels import VlmLabelSettings, label_vlm, vlm_batch, write_vlm_batch
from densedpo.store.judgements import judgements
from densedpo.store.project import Project

JUDGE = VlmLabelSettings(judge="vllm-qwen-vl")


class Line(pydantic.BaseModel):
    """One line as OpenAI's batch reference and vLLM's `BatchRequestInput` have it, and not a key more."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    custom_id: str
    method: Literal["POST"]
    url: Literal["/v1/chat/completions"]
    body: dict[str, Any]


def result(line: str, body: Any = None, status: int = 200, error: Any = None) -> str:
    """One line of results, as both write it."""
    request = json.loads(line)
    message = {"role": "assistant", "content": verdict(look(clips_in(request["body"])))}
    usage = {"prompt_tokens": 900, "completion_tokens": 40, "total_tokens": 940}
    answered = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "usage": usage,
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}  # fmt: skip
    response = {"status_code": status, "request_id": "r", "body": body or answered}
    return json.dumps({"id": "b", "custom_id": request["custom_id"], "response": None if error else response,
                       "error": error})  # fmt: skip


def answer_all(path: Path, answer: Callable[[str], str] = result) -> Path:
    results = path.with_name("results.jsonl")
    results.write_text("\n".join(answer(line) for line in reversed(path.read_text().splitlines())) + "\n")
    return results


@pytest.mark.parametrize("judge", ["openai", "vllm-qwen-vl"])
def test_every_line_is_as_published(project: Project, tmp_path: Path, judge: str) -> None:
    clear_pairs(project, windows=1)
    written = write_vlm_batch(
        project, VlmLabelSettings(judge=judge, aspects=("overall", "motion")), tmp_path / "b.jsonl"
    )
    lines = (tmp_path / "b.jsonl").read_text().splitlines()
    assert (written.requests, written.answered, written.files) == (len(lines), 0, (tmp_path / "b.jsonl",))
    assert len(lines) == 4 * 2 * 2 * 2
    parsed = [Line.model_validate_json(line) for line in lines]
    assert len({line.custom_id for line in parsed}) == len(parsed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydantic on the SDK's own annotations
        request = pydantic.TypeAdapter(CompletionCreateParamsNonStreaming)
    settings = load_judge(judge, {})
    for line in parsed:
        request.validate_python(line.body, extra="forbid")
        assert line.body["model"] == settings.model


def test_a_batch_gives_the_labels_that_asking_gives(project: Project, tmp_path: Path) -> None:
    truth = clear_pairs(project, windows=1)
    write_vlm_batch(project, JUDGE, tmp_path / "batch.jsonl")
    report = label_vlm(project, JUDGE, [answer_all(tmp_path / "batch.jsonl")])
    assert (report.labels, report.unanswered, report.unused_results) == (8, 0, 0)
    assert report.tokens_in == 900 * 16
    assert choices(project) == truth
    by_batch = {answer.id for answer in judgements(project)}
    again = new_project(tmp_path / "again")
    clear_pairs(again, windows=1)
    with JudgeServer(look) as server:
        label_vlm(again, JUDGE.model_copy(update={"base_url": server.url}))
    assert choices(again) == truth
    assert {
        answer.id for answer in judgements(again)
    } == by_batch  # the same questions, so either is the other's memory


def test_what_a_batch_did_not_answer_is_written_again(project: Project, tmp_path: Path) -> None:
    clear_pairs(project, windows=1)
    path = tmp_path / "batch.jsonl"
    write_vlm_batch(project, JUDGE, path)
    lines = path.read_text().splitlines()
    bad = {
        0: lambda line: result(line, status=500, body={"error": "overloaded"}),
        3: lambda line: result(line, error={"code": "batch_expired"}),
        6: lambda line: result(line)[:80],  # the download broke off
        9: lambda line: result(line, status=400, body={"error": {"code": "content_filter"}}),
        12: lambda line: result(line, body={"no": "completion"}),
    }
    results = tmp_path / "results.jsonl"
    stranger = result(json.dumps({"custom_id": "stranger", "body": json.loads(lines[0])["body"]}))
    results.write_text("\n".join([*(bad.get(i, result)(line) for i, line in enumerate(lines)), stranger]))
    report = label_vlm(project, JUDGE, [results])
    assert report.outcomes == {"answered": 11, "filtered": 1}
    assert (report.labels, report.unanswered, report.unused_results) == (4, 4, 2)
    assert report.abstained == 1
    assert "batch" in report.why_unanswered
    again = write_vlm_batch(project, JUDGE, path)
    assert (again.requests, again.answered) == (4, 4)
    assert {json.loads(line)["custom_id"] for line in path.read_text().splitlines()} == {
        json.loads(lines[number])["custom_id"] for number in (0, 3, 6, 12)
    }
    assert label_vlm(project, JUDGE, [answer_all(path)]).unanswered == 0


def test_a_full_file_is_followed_by_another(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clear_pairs(project, windows=1)
    monkeypatch.setattr(vlm_batch, "REQUESTS_PER_FILE", 6)
    written = write_vlm_batch(project, JUDGE, tmp_path / "out" / "b.jsonl")
    assert [path.name for path in written.files] == ["b.jsonl", "b-2.jsonl", "b-3.jsonl"]
    assert [len(path.read_text().splitlines()) for path in written.files] == [6, 6, 4]
    size = max(len(line) for path in written.files for line in path.read_bytes().splitlines()) + 1
    monkeypatch.setattr(vlm_batch, "BYTES_PER_FILE", 2 * size)
    small = write_vlm_batch(project, JUDGE, tmp_path / "small.jsonl")
    assert len(small.files) >= 4
    assert all(path.stat().st_size <= 2 * size for path in small.files)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []
    monkeypatch.undo()
    write_vlm_batch(project, JUDGE, tmp_path / "out" / "b.jsonl")  # whoever sends b*.jsonl now pays once
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.jsonl"]
    label_vlm(project, JUDGE, [answer_all(tmp_path / "out" / "b.jsonl")])
    before = (tmp_path / "out" / "b.jsonl").read_bytes()
    assert write_vlm_batch(project, JUDGE, tmp_path / "out" / "b.jsonl").files == ()
    assert (tmp_path / "out" / "b.jsonl").read_bytes() == before


def test_results_that_are_paid_for_are_read_whatever_the_budget(project: Project, tmp_path: Path) -> None:
    clear_pairs(project, windows=1)
    write_vlm_batch(project, JUDGE, tmp_path / "b.jsonl")
    poor = JUDGE.model_copy(update={"budget_tokens": 1})
    assert label_vlm(project, poor, [answer_all(tmp_path / "b.jsonl")]).unanswered == 0


def test_a_question_that_two_pairs_share_is_written_once(project: Project, tmp_path: Path) -> None:
    for _ in range(2):
        add_pair(project, real(*WINDOWS[0]), real(*WINDOWS[0]))
    written = write_vlm_batch(project, JUDGE, tmp_path / "b.jsonl")
    assert written.requests == 4
    report = label_vlm(project, JUDGE, [answer_all(tmp_path / "b.jsonl")])
    assert (report.labels, report.ties) == (4, 4)


def test_a_result_file_that_is_not_there(project: Project, tmp_path: Path) -> None:
    add_pair(project, real(*WINDOWS[0]), real(*WINDOWS[0]))
    with pytest.raises(UserError, match=r"none.jsonl cannot be read: No such file"):
        label_vlm(project, JUDGE, [tmp_path / "none.jsonl"])
