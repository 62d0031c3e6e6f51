"""Settings: strict, merged in the right order, every mistake at once, and files written whole or not at all."""

import errno
import os
from pathlib import Path
from typing import Any

import pydantic
import pytest

from densedpo.config import Settings, dump_settings, load_settings
from densedpo.errors import UserError
from densedpo.files import copy_atomic, file_digest, write_text_atomic


class Inner(Settings):
    rank: int = 8
    targets: tuple[str, ...] = ("q", "k")


class Outer(Settings):
    learning_rate: float = 1e-4
    steps: int = pydantic.Field(default=10, gt=0)
    resume: bool = False
    folder: Path | None = None
    lora: Inner = Inner()


def test_flags_over_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("learning_rate: 3e-5\nsteps: 20\nlora: {rank: 4}\n")
    settings = load_settings(Outer, file, {"steps": 30, "folder": Path("x"), "lora": {"targets": ("v",)}})
    expected = Outer(learning_rate=3e-5, steps=30, folder=Path("x"), lora=Inner(rank=4, targets=("v",)))
    assert settings == expected


def test_dump_and_load_give_equal_settings(tmp_path: Path) -> None:
    settings = Outer(learning_rate=1e-7, folder=Path("ä b"), lora=Inner(rank=2, targets=()))
    file = tmp_path / "s.yaml"
    file.write_text(dump_settings(settings))
    assert load_settings(Outer, file, {}) == settings


def test_all_mistakes_at_once_and_the_nearest_key_named() -> None:
    with pytest.raises(UserError) as caught:
        load_settings(Outer, None, {"learing_rate": 1.0, "steps": 0, "lora": {"rnak": 3, "rank": "eight"}})
    message = str(caught.value)
    assert "unknown key learing_rate; did you mean learning_rate?" in message
    assert "unknown key lora.rnak; did you mean lora.rank?" in message
    assert "steps: input should be greater than 0, got 0" in message
    assert "lora.rank: input should be a valid integer, got 'eight'" in message


def test_a_missing_value_is_named() -> None:
    class Needs(Settings):
        prompt: str

    with pytest.raises(UserError, match="prompt is missing; give it a value"):
        load_settings(Needs, None, {})


@pytest.mark.parametrize(
    "values", [{"steps": "5"}, {"steps": True}, {"resume": 1}, {"steps": 1.5}, {"learning_rate": float("nan")}]
)
def test_values_keep_their_kind(values: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(values))):
        load_settings(Outer, None, values)


def test_settings_are_frozen() -> None:
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        Outer().steps = 3  # type: ignore[misc]


@pytest.mark.parametrize(("text", "message"), [("- a\n- b\n", "must hold `key: value`"), ("a: [", "cannot be read")])
def test_a_file_that_holds_no_settings(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        load_settings(Outer, file, {})


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no settings file"):
        load_settings(Outer, tmp_path / "none.yaml", {})


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("")
    assert load_settings(Outer, file, {}) == Outer()


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_disk_full_names_the_path_and_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    path = tmp_path / "s.yaml"
    write_text_atomic(path, "old")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, broken, full)
        with pytest.raises(UserError, match=f"disk is full, so {path} was not written"):
            write_text_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_other_disk_errors_pass_through(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").mkdir()
    with pytest.raises(IsADirectoryError):
        write_text_atomic(tmp_path / "s.yaml", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["s.yaml"]


def test_copy_where_hard_links_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"\x00" * 100)
    copy_atomic(source, tmp_path / "a" / "linked")
    assert (tmp_path / "a" / "linked").samefile(source)

    def refuse(*_: Any) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    copy_atomic(source, tmp_path / "b" / "copied")
    assert not (tmp_path / "b" / "copied").samefile(source)
    assert file_digest(tmp_path / "b" / "copied") == file_digest(source)
