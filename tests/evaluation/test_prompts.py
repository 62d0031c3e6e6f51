"""Prompts: from files of three kinds, or the tiny world's own."""

import json
from pathlib import Path

import pytest

from densedpo.errors import UserError
from densedpo.evaluation.prompts import held_out, read_prompts
from densedpo.tinyworld.world import parse_caption

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
        ("p.yaml", "one\n", "is no .txt, .jsonl, .csv or .json file"),
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


def test_the_motion_set_comes_along() -> None:
    prompts = read_prompts(Path("motion"), "owner/wan", None)
    assert len(prompts) == len(set(prompts)) == 60
    assert all(20 < len(prompt) < 120 and prompt[0].isupper() for prompt in prompts)
    assert read_prompts(Path("motion"), "owner/wan", 5) == prompts[:5]


def test_a_users_file_wins_over_a_set_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("motion").write_text("a dog\n")
    with pytest.raises(UserError, match=r"motion is no \.txt.* no set that comes along \(motion\)"):
        read_prompts(Path("motion"), "tinyworld", None)


VBENCH = [
    {"prompt_en": "a cat runs", "dimension": ["subject_consistency", "dynamic_degree"]},
    {"prompt_en": "a toilet, frozen in time", "dimension": ["temporal_flickering"]},
    {"prompt_en": "a dog and a cat", "dimension": ["multiple_objects"], "auxiliary_info": {"multiple_objects": {}}},
    {"prompt_en": "a cat runs", "dimension": ["motion_smoothness"]},
]


def test_vbenchs_file(tmp_path: Path) -> None:
    file = tmp_path / "VBench_full_info.json"
    file.write_text(json.dumps(VBENCH))
    assert read_prompts(file, "a", None) == ["a cat runs", "a toilet, frozen in time", "a dog and a cat"]
    assert read_prompts(file, "a", None, "motion_smoothness") == ["a cat runs"]
    with pytest.raises(UserError, match="has no dimension motion; its dimensions are dynamic_degree, motion_smooth"):
        read_prompts(file, "a", None, "motion")
    file.write_text('{"prompts": 1}')
    with pytest.raises(UserError, match=r"not of the form of VBench_full_info\.json"):
        read_prompts(file, "a", None)
    with pytest.raises(UserError, match=r"only VBench's \.json file has dimensions"):
        read_prompts(Path("motion"), "a", None, "dynamic_degree")


def test_the_files_of_videojam_bench_and_movie_gen_bench(tmp_path: Path) -> None:
    """One prompt a line, long ones with commas and signs; and MovieGenBench's table with concept and motion level."""
    text = "A panda breakdances in a neon-lit alley.\nDrone view of Big Sur\u2019s waves, golden light; 35mm.\n"
    (tmp_path / "MovieGenVideoBench.txt").write_text(text, encoding="utf-8")
    table = 'prompt,concept,motion_level\n"Drone view, waves.","physics - fluid dynamics,scene",low\n'
    (tmp_path / "MovieGenVideoBenchWithTag.csv").write_text(table)
    assert read_prompts(tmp_path / "MovieGenVideoBench.txt", "a", None) == text.splitlines()
    assert read_prompts(tmp_path / "MovieGenVideoBenchWithTag.csv", "a", None) == ["Drone view, waves."]
