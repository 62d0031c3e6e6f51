"""Progress goes to standard error, in the form that fits where it goes, and never changes the loop."""

from collections.abc import Iterator

import pytest

from densedpo import progress
from densedpo.progress import track


@pytest.fixture(autouse=True)
def loud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DENSEDPO_QUIET", raising=False)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock finds it four seconds later."""
    times: Iterator[float] = iter(range(0, 10_000, 4))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))


@pytest.mark.usefixtures("clock")
def test_a_line_every_ten_seconds_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(8), description="encode")) == list(range(8))
    out, err = capsys.readouterr()
    assert out == ""
    # Seconds 0 at the start, 4 at item 0, …: at item 2 twelve seconds have passed for two items.
    assert err.splitlines() == ["encode: 2/8, 0.167/s, 0:36 left", "encode: 5/8, 0.208/s, 0:14 left"]


@pytest.mark.usefixtures("clock")
def test_items_of_unknown_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track((item for item in "abc"), description="encode")) == ["a", "b", "c"]
    assert capsys.readouterr().err == "encode: 2, 0.167/s\n"


@pytest.mark.usefixtures("clock")
def test_quiet(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DENSEDPO_QUIET", "1")
    assert list(track(range(8), description="encode")) == list(range(8))
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    assert list(track(range(3), description="encode")) == [0, 1, 2]
    out, err = capsys.readouterr()
    assert out == ""
    assert "encode" in err
    assert "3/3" in err
