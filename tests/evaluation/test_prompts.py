"""Prompts: from files of three kinds, or the tiny world's own."""

from pathlib import Path

import pytest

from densedpo.errors import UserError
from densedpo.evaluation.prompts import held_out, read_prompts
from densedpo.evaluation.scoring import check_prompts, score
from densedpo.tinyworld.world import draw_scene, parse_caption, render

FOUND = ["a red ball, rolling", "ein Stern"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.txt", "a red ball, rolling\n\n  ein Stern \r\n"),
        ("p.jsonl", '{"prompt": "a red ball, rolling"}\n\n{"id": 3, "prompt": "ein Stern"}\n'),
        ("p.csv", 'id,prompt\n1,"a red ball, rolling"\n2,\n3,ein Stern\n'),
    ],
)
def test_files_of_prompts(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    assert read_prompts(file, "a-model", None) == FOUND
    assert read_prompts(file, "tinyworld", 1) == FOUND[:1]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.txt", "one\ntwo\none\n", "has 'one' on line 1 and on line 3; keep one of them"),
        ("p.txt", "\n \n", "holds no prompts"),
        ("p.jsonl", '{"prompt": "one"}\n{"text": "two"}\n', "line 2 is not of the form"),
        ("p.jsonl", '["one"]\n', "line 1 is not of the form"),
        ("p.jsonl", '{"prompt": 1}\n', "line 1 is not of the form"),
        ("p.jsonl", "{\n", "line 1 is not of the form"),
        ("p.csv", "text\none\n", "has no column `prompt`"),
        ("p.yaml", "one\n", "is no .txt, .jsonl or .csv file"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, name: str, text: str, message: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        read_prompts(file, "tinyworld", None)


def test_a_missing_file_and_too_few_prompts_are_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.txt cannot be read"):
        read_prompts(tmp_path / "absent.txt", "tinyworld", None)
    with pytest.raises(UserError, match="count is 1000, but there are only"):
        read_prompts(None, "tinyworld", 1000)


def test_only_the_tiny_world_has_prompts_of_its_own() -> None:
    prompts = read_prompts(None, "tinyworld", 8)
    assert prompts == held_out()[:8]
    assert {parse_caption(prompt).split for prompt in held_out()} == {"test"}
    assert {parse_caption(prompt).speed_word for prompt in held_out()} == {""}
    # A fair sample, not the first rows of the grid of attributes, where all is red.
    assert len({parse_caption(prompt).colour for prompt in prompts}) > 2
    with pytest.raises(UserError, match="the model owner/wan needs --prompts FILE"):
        read_prompts(None, "owner/wan", None)


def test_scores_are_the_tiny_worlds_and_foreign_prompts_are_refused() -> None:
    scene = draw_scene(0, 0)
    found = score(render(scene), scene.attributes.caption)
    assert list(found) == ["visual_quality", "text_alignment", "temporal_consistency", "dynamic_degree"]
    assert found["visual_quality"] > 0.9
    check_prompts(held_out())
    for refused in (lambda: check_prompts([*held_out(), "a dog"]), lambda: score(render(scene), "a dog")):
        with pytest.raises(UserError, match="captions of the tiny world only: caption 'a dog' names no colour"):
            refused()
