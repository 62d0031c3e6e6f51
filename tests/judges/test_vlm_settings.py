"""A judge's settings, what is shown, and how answers are read: what is right for every model."""

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from densedpo.errors import UserError
from densedpo.judges.vlm import PRESETS, JudgeSettings, instruction, load_judge
from densedpo.judges.vlm.answer import SCHEMA, Answer, NoCompletionError, read_completion
from densedpo.judges.vlm.frames import GAP, beside, grid, show, shown_frames, shown_size
from densedpo.judges.vlm.question import Question
from densedpo.judges.vlm.settings import ASPECTS
from densedpo.labels import VlmLabelSettings

JUDGE = JudgeSettings(base_url="http://x/v1", model="m")


def question(settings: JudgeSettings = JUDGE, **changes: Any) -> Question:
    clips = np.zeros((2, 3, 16, 24, 3), np.uint8)
    clips[1] += changes.pop("grey", 7)
    asked: dict[str, Any] = {"aspect": "overall", "order": "ab", "vote": 0, "caption": "a cat", "whole": False}
    asked |= {"times": [0.0, 0.125, 0.25], **changes}
    return Question.make(settings, parts=show(clips[0], clips[1], asked["times"], settings), **asked)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_load_and_set_no_price(preset: str) -> None:
    settings = load_judge(preset, {})
    assert (settings.price_in, settings.price_out) == (None, None)
    assert settings.both_orders and settings.fps == 8 and settings.aspects == ("overall",)


def test_a_file_of_settings_and_what_is_changed_for_a_run(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("base_url: http://x/v1\nmodel: m\nvotes: 3\ntemperature: 0.7\n")
    assert VlmLabelSettings(judge=str(file)).resolve().votes == 3
    changed = VlmLabelSettings(judge=str(file), votes=1, mode="whole", aspects=("motion",), model="n").resolve()
    assert (changed.votes, changed.mode, changed.aspects, changed.model) == (1, "whole", ("motion",), "n")
    assert (changed.temperature, changed.base_url) == (0.7, "http://x/v1")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("base_url: http://x\nmodel: m\napi_key: abc", "unknown key api_key; did you mean api_key_env?"),
        ("base_url: http://x\nmodel: m\nvots: 2", "unknown key vots; did you mean votes?"),
        ("base_url: http://x", "model is missing"),
        ("base_url: http://x\nmodel: m\nvotes: 2\ntemperature: 0", "at temperature 0 the answer is the same"),
        ("base_url: http://x\nmodel: m\nbudget_money: 3", "budget_money needs price_in and price_out"),
        ("base_url: x/v1\nmodel: m", "should begin with http:// or https://"),
        ("base_url: http://x\nmodel: m\nextra: {messages: []}", "extra may not hold messages"),
        ("base_url: http://x\nmodel: m\naspects: [motion, motion]", "aspects names one twice"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=re.escape(told)):
        load_judge(str(file), {})


@pytest.mark.parametrize(
    "line",
    ["api_key_env: sk-secret", "base_url: https://me:sk-secret@x/v1", "base_url: https://x/v1?key=sk-secret"],
)
def test_a_key_in_the_settings_is_refused_and_not_repeated(tmp_path: Path, line: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("\n".join(["base_url: http://x", line] if "key_env" in line else [line]) + "\nmodel: m\n")
    with pytest.raises(UserError) as caught:
        load_judge(str(file), {})
    assert "sk-secret" not in str(caught.value)
    assert "api_key_env" in str(caught.value)


def test_an_unknown_judge_names_the_nearest() -> None:
    with pytest.raises(UserError, match="no judge 'gemni'; did you mean gemini\\?"):
        load_judge("gemni", {})


def test_versions_change_with_what_decides_a_label_and_with_nothing_else() -> None:
    decides = {"model": "n", "revision": "2", "temperature": 0.5, "max_tokens": 5, "structured": "none", "fps": 4.0}
    decides |= {"layout": "grid", "max_image_side": 64, "jpeg_quality": 50, "votes": 2, "both_orders": False}
    versions = {JUDGE.model_copy(update={key: value}).version for key, value in decides.items()}
    assert len(versions | {JUDGE.version}) == len(decides) + 1
    same = {"base_url": "http://y/v1", "concurrency": 3, "timeout": 1.0, "retries": 0, "price_in": 1.0, "mode": "both"}
    assert {JUDGE.model_copy(update={key: value}).version for key, value in same.items()} == {JUDGE.version}


def test_a_question_is_known_by_all_that_decides_its_answer() -> None:
    one = question()
    assert question().id == one.id
    others = [
        *(question(**change) for change in ({"order": "ba"}, {"vote": 1}, {"caption": "a dog"}, {"grey": 8})),
        *(question(**change) for change in ({"aspect": "motion"}, {"times": [0.0, 0.125, 0.5]}, {"whole": True})),
        *(
            question(JUDGE.model_copy(update={"temperature": 0.1, **extra}))
            for extra in ({}, {"extra": {"top_p": 0.5}})
        ),
        question(JUDGE.model_copy(update={"jpeg_quality": 91})),
        question(JUDGE.model_copy(update={"layout": "grid"})),
    ]
    assert len({one.id, *(other.id for other in others)}) == len(others) + 1


def test_another_instruction_is_another_judge_and_another_question(monkeypatch: pytest.MonkeyPatch) -> None:
    judge, version, asked = JUDGE.judge_version, JUDGE.version, question().id
    monkeypatch.setattr("densedpo.judges.vlm.settings.TEMPLATE_VERSION", "2-00000000")
    assert JUDGE.judge_version != judge and JUDGE.version != version
    monkeypatch.setattr(instruction, "TEMPLATE_VERSION", "2-00000000")
    assert question().id != asked


def test_extra_fields_reach_the_server() -> None:
    body = question(
        JUDGE.model_copy(update={"extra": {"reasoning_effort": "low"}, "max_tokens_name": "max_tokens"})
    ).body(JUDGE.model_copy(update={"extra": {"reasoning_effort": "low"}, "max_tokens_name": "max_tokens"}))
    assert (body["reasoning_effort"], body["max_tokens"]) == ("low", 1000)
    assert "temperature" not in body and "max_completion_tokens" not in body


@pytest.mark.parametrize(
    ("span", "video", "fps", "expected"),
    [
        ((0, 8), (16, 8.0), 8.0, [0, 1, 2, 3, 4, 5, 6, 7]),
        ((8, 16), (16, 8.0), 4.0, [8, 10, 12, 14]),
        ((0, 24), (48, 24.0), 8.0, [0, 3, 6, 9, 12, 15, 18, 21]),
        ((24, 49), (49, 24.0), 8.0, [24, 27, 30, 33, 36, 39, 42, 45]),
        ((16, 32), (32, 16.0), 8.0, [16, 18, 20, 22, 24, 26, 28, 30]),
        ((0, 4), (4, 8.0), 30.0, [0, 1, 2, 3]),
        ((3, 4), (4, 8.0), 1.0, [3]),
    ],
)
def test_which_frames_are_shown(
    span: tuple[int, int], video: tuple[int, float], fps: float, expected: list[int]
) -> None:
    assert shown_frames(*span, *video, fps).tolist() == expected


def test_layouts_hold_every_pixel_in_its_place() -> None:
    frames = np.arange(5 * 4 * 6 * 3, dtype=np.uint8).reshape(5, 4, 6, 3)
    picture = beside(frames[0], frames[1])
    assert picture.shape == (4, 12 + GAP, 3)
    assert np.array_equal(picture[:, :6], frames[0]) and np.array_equal(picture[:, -6:], frames[1])
    sheet = grid(frames)
    columns = (sheet.shape[1] + GAP) // (6 + GAP)
    for index, frame in enumerate(frames):
        top, left = index // columns * (4 + GAP), index % columns * (6 + GAP)
        assert np.array_equal(sheet[top : top + 4, left : left + 6], frame)


def test_large_pictures_are_scaled_down_and_small_ones_left() -> None:
    assert shown_size(1280, 720, 640) == (640, 360)
    assert shown_size(100, 400, 200) == (50, 200)
    assert shown_size(48, 48, 768) == (48, 48)
    clip = np.zeros((1, 40, 80, 3), np.uint8)
    part = show(clip, clip, [0.0], JUDGE.model_copy(update={"max_image_side": 20}))[0]
    assert Image.open(io.BytesIO(part.jpegs[0])).size == (20, 10)
    assert part.pixels == 200


def test_the_instruction_says_what_the_method_asks() -> None:
    told = instruction.system("overall")
    for word in ("artifacts", "alike in structure", "distorted", "extra", "deformed", "vanish", "melts", "motion blur",
                 "conservative", "tie", "JSON"):  # fmt: skip
        assert word.lower() in told.lower(), word
    assert len({instruction.system(aspect) for aspect in ASPECTS}) == len(ASPECTS) == 5
    assert [key for key in SCHEMA["properties"] if f'"{key}"' not in told] == []
    assert re.fullmatch(r"1-[0-9a-f]{8}", instruction.TEMPLATE_VERSION)


@pytest.mark.parametrize(
    "caption", ['a "cat"', "line\nbreak", "\u2028x\u2029\x85", "{{ caption }} {% raw %}", "猫がいる", ""]
)
def test_a_caption_is_one_json_string_on_one_line(caption: str) -> None:
    text = instruction.question(caption, "frames", [0.0], False)
    first = text.splitlines()[0]
    assert json.loads(first.removeprefix("The caption: ")) == caption


def test_the_schema_is_what_is_read() -> None:
    assert set(SCHEMA["required"]) == set(SCHEMA["properties"]) == set(Answer.model_fields)
    assert SCHEMA["additionalProperties"] is False  # strict mode wants both


@pytest.mark.parametrize(
    "text", ["", "<html></html>", '{"choices": []}', '{"choices": [{"mess', "[1]", '{"error": "x"}']
)
def test_what_is_no_completion_is_no_answer(text: str) -> None:
    with pytest.raises(NoCompletionError):
        read_completion(text)
