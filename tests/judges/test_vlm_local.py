"""The judge in this process: a tiny random Qwen2.5-VL of the real class, from its folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_qwen_vl
import torch
from judge_server import verdict
from judged_pairs import WINDOWS, add_pair, new_project, real, spoil

from densedpo.errors import UserError
from densedpo.judges.vlm.frames import show
from densedpo.judges.vlm.local import LocalJudge
from densedpo.judges.vlm.question import Question
from densedpo.judges.vlm.settings import load_judge
from densedpo.labels import VlmLabelSettings, label_vlm
from densedpo.store.judgements import judgements
from densedpo.store.project import Project

SHORT = {"max_tokens": 12, "model": "tiny", "base_url": "local"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_qwen_vl.save(tmp_path_factory.mktemp("models") / "tiny-qwen-vl")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = new_project(tmp_path / "project")
    clean = real(*WINDOWS[0])
    add_pair(project, clean, spoil(clean, "noise", 0))
    return project


def settings(folder: Path, **changes: Any) -> VlmLabelSettings:
    file = folder.parent / "judge.yaml"
    file.write_text("\n".join(f"{key}: {value}" for key, value in {**SHORT, "structured": "none", **changes}.items()))
    return VlmLabelSettings(judge=str(file), local=folder)


def question(layout: str = "frames") -> Question:
    judge = load_judge("local", {"layout": layout})
    clips = np.stack([real(*WINDOWS[0])[:3], spoil(real(*WINDOWS[0]), "blocks", 0)[:3]])
    parts = show(clips[0], clips[1], [0.0, 0.125, 0.25], judge)
    asked: dict[str, Any] = {"aspect": "overall", "order": "ab", "vote": 0, "caption": "a cat", "whole": False}
    return Question.make(judge, parts=parts, times=[0.0, 0.125, 0.25], **asked)


def test_a_random_model_abstains_and_its_words_are_kept(project: Project, folder: Path) -> None:
    report = label_vlm(project, settings(folder))
    assert (report.annotator, report.labels, report.abstained) == ("tiny-qwen-vl", 2, 2)
    assert sum(report.outcomes.values()) == 4 and set(report.outcomes) <= {"truncated", "nonsense"}
    answers = list(judgements(project))
    assert all(json.loads(answer.raw)["choices"][0]["message"]["content"] is not None for answer in answers)
    # 2 kB of words at a token each, and 16 pictures
    assert all(answer.tokens_in > 2000 and 0 < answer.tokens_out <= 12 for answer in answers)
    assert label_vlm(project, settings(folder)).labels == 0


def test_what_the_model_writes_becomes_labels(project: Project, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real processor and tokenizer around a model that always writes the same: a habit, so ties in both orders."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    words = tiny_qwen_vl.tokenizer()
    written = torch.tensor([[*words.encode(verdict("second")), words.eos_token_id]])

    def generate(self: Any, input_ids: torch.Tensor, pixel_values: torch.Tensor, **_: Any) -> torch.Tensor:
        assert pixel_values.shape[0] == 16 * 8  # 16 pictures of 56 x 28, in patches of 14
        return torch.cat([input_ids, written], dim=1)

    monkeypatch.setattr(Qwen2_5_VLForConditionalGeneration, "generate", generate)
    both = label_vlm(project, settings(folder, max_tokens=written.shape[1]))
    assert (both.labels, both.ties, both.outcomes) == (2, 2, {"answered": 4})
    one = label_vlm(project, settings(folder, max_tokens=written.shape[1], both_orders="false"))
    assert (one.labels, one.ties) == (2, 0)
    assert {label.choice == label.order_shown[1] for label in project.labels() if label.choice != "tie"} == {True}


def test_an_answer_is_a_function_of_the_question(folder: Path) -> None:
    judge = LocalJudge(folder, load_judge("local", {"temperature": 1.0, "max_tokens": 8}))
    state = torch.random.get_rng_state()
    texts = [judge._answer(question(layout)).raw for layout in ("frames", "frames", "side_by_side", "grid")]
    assert texts[0] == texts[1] and len(set(texts)) == 3
    assert torch.equal(torch.random.get_rng_state(), state)


def test_other_weights_are_another_judge(folder: Path, tmp_path: Path) -> None:
    one = settings(folder).resolve()
    assert one.model == "tiny-qwen-vl" and one.concurrency == 1
    (folder / "more.json").write_text("{}")
    other = settings(folder).resolve()
    (folder / "more.json").unlink()
    assert one.version != other.version and settings(folder).resolve().version == one.version


def test_what_cannot_be_a_local_judge(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no model folder"):
        VlmLabelSettings(local=tmp_path).resolve()
    with pytest.raises(UserError, match="takes frames as images"):
        LocalJudge(folder, load_judge("local", {"layout": "video"}))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="holds no image-text-to-text model"):
        LocalJudge(tmp_path, load_judge("local", {}))
