import pytest

from densedpo.report import words


@pytest.mark.parametrize(
    "seconds, expected",
    [(None, "–"), (8.44, "8.4 s"), (59.97, "1 min 00 s"), (192, "3 min 12 s"), (7500, "2 h 05 min")],
)
def test_durations(seconds: float | None, expected: str) -> None:
    assert words.duration(seconds) == expected


def test_numbers() -> None:
    assert words.number(-0.5) == "−0.500"
    assert words.number(None) == "–"
    assert words.number(0.25, 1, signed=True) == "+0.2"
    assert words.percent(0.714) == "71%"


def test_what_was_done_counts_in_words() -> None:
    figures = {
        "pairs": 1,
        "labelled_segments": 1200,
        "labelled_pairs": 300,
        "training": {"steps": 250},
        "results": {"contestants": ["base", "dense"], "baseline": "base", "prompts": 64},
    }
    assert words.what_was_done(figures) == (
        "1 pair of clips, 1,200 segments labelled on 300 pairs, a LoRA trained for 250 steps, "
        "compared with “base” on 64 prompts."
    )
    alone = {"contestants": ["base"], "baseline": "base", "prompts": 64}
    nothing = {"pairs": 0, "labelled_segments": 0, "training": None, "results": alone}
    assert words.what_was_done(nothing) == "0 pairs of clips."


def test_lists() -> None:
    assert [words.listed(list(text)) for text in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]
