"""Finding files and captions: every form that is taken, and the message of every one that is not."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from densedpo.errors import UserError
from densedpo.ingest.folder import find_sources
from densedpo.ingest.settings import IngestSettings

ROWS = [
    {"file_name": "a.mp4", "caption": "a ball, red", "source": "web", "license": "CC-BY"},
    {"file_name": "sub/b.MOV", "caption": "a blue box", "source": "", "license": ""},
]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def captions(folder: Path, **settings: Any) -> dict[str, str]:
    """Captions by file name; nothing may have been refused."""
    sources, rejected = find_sources(folder, IngestSettings(**settings))
    assert rejected == []
    return {source.name: source.caption for source in sources}


def refused(folder: Path, **settings: Any) -> dict[str, str]:
    """Reasons by file name."""
    return {each.file: each.reason for each in find_sources(folder, IngestSettings(**settings))[1]}


def write_csv(folder: Path) -> None:
    text = 'file_name,caption,source,license\na.mp4,"a ball, red",web,CC-BY\nsub/b.MOV,a blue box,,\n'
    (folder / "metadata.csv").write_text(text, encoding="utf-8-sig")  # as spreadsheets save it


def write_jsonl(folder: Path) -> None:
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS) + "\n")


def write_parquet(folder: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "metadata.parquet")


@pytest.mark.parametrize("write", [write_csv, write_jsonl, write_parquet])
def test_every_kind_of_metadata(folder: Path, write: Callable[[Path], None]) -> None:
    touch(folder, "a.mp4", "sub/b.MOV")
    write(folder)
    sources, rejected = find_sources(folder, IngestSettings(source="mine", licence="CC0"))
    assert rejected == []
    assert [(each.name, each.caption, each.source, each.licence) for each in sources] == [
        ("a.mp4", "a ball, red", "web", "CC-BY"),
        ("sub/b.MOV", "a blue box", "mine", "CC0"),
    ]


@pytest.mark.parametrize("column", ["caption", "text", "prompt"])
def test_captions_by_any_of_three_names(folder: Path, column: str) -> None:
    touch(folder, "a.mp4")
    (folder / "metadata.csv").write_text(f"file_name,{column}\na.mp4,a red ball\n")
    assert captions(folder) == {"a.mp4": "a red ball"}


def test_rows_may_name_files_from_the_folder_videos(folder: Path) -> None:
    touch(folder, "videos/a.mp4", "videos/b.mp4")
    (folder / "metadata.csv").write_text("file_name,text\na.mp4,one\n./videos/b.mp4,two\n")
    assert captions(folder) == {"videos/a.mp4": "one", "videos/b.mp4": "two"}


def test_a_row_goes_before_the_text_beside_and_that_before_the_default(folder: Path) -> None:
    touch(folder, "a.mp4", "b.webm", "c.mkv", "d.avi", "e.ogv")
    (folder / "metadata.csv").write_text("file_name,text\na.mp4,row\nc.mkv,  \n")
    for name in "abc":
        (folder / f"{name}.txt").write_text(f" beside {name} \n")
    (folder / "d.txt").write_text("\n")
    expected = {"a.mp4": "row", "b.webm": "beside b", "c.mkv": "beside c", "d.avi": "all", "e.ogv": "all"}
    assert captions(folder, caption="all") == expected


def test_no_caption(folder: Path) -> None:
    touch(folder, "a.mp4")
    assert refused(folder) == {
        "a.mp4": "has no caption; add a row to metadata.csv, a file a.txt beside it, "
        "or set caption for all files without one"
    }


def test_a_caption_that_is_no_text(folder: Path) -> None:
    touch(folder, "a.mp4")
    (folder / "a.txt").write_bytes(b"\xff\xfe\x00")
    assert refused(folder)["a.mp4"].startswith("its caption file a.txt cannot be read (")


def test_hidden_files_and_folders_and_other_files_are_passed_over(folder: Path) -> None:
    touch(folder, "a.mp4", "._a.mp4", ".cache/b.mp4", "c.mp3", "mp4")
    assert captions(folder, caption="all") == {"a.mp4": "all"}


def test_no_folder_and_no_video(folder: Path) -> None:
    with pytest.raises(UserError, match=r"none: there is no such folder; give the folder that holds the video files"):
        find_sources(folder / "none", IngestSettings())
    touch(folder, "a.txt")
    with pytest.raises(UserError, match=r"holds no video file \(\.mp4, \.mov, .*\); check the folder"):
        find_sources(folder, IngestSettings())


def test_rows_that_name_no_file_of_the_folder(folder: Path) -> None:
    touch(folder, "a.mp4")
    touch(folder.parent, "secret.mp4")
    names = ["a.mp4", "b.mp4", "../secret.mp4", str(folder.parent / "secret.mp4"), "sub/../../secret.mp4"]
    (folder / "metadata.csv").write_text("file_name,text\n" + "".join(f"{name},x\n" for name in names))
    outside = "names it, but it lies outside the folder"
    assert refused(folder) == {
        "b.mp4": "metadata.csv line 3 names it, but there is no such video file",
        names[2]: f"metadata.csv line 4 {outside}",
        names[3]: f"metadata.csv line 5 {outside}",
        names[4]: f"metadata.csv line 6 {outside}",
    }


def test_two_rows_for_one_file(folder: Path) -> None:
    touch(folder, "a.mp4", "b.mp4")
    (folder / "metadata.csv").write_text("file_name,text\na.mp4,one\nb.mp4,two\n./a.mp4,three\n")
    assert refused(folder) == {
        "a.mp4": "is named more than once (metadata.csv line 2, metadata.csv line 4); keep one row"
    }


def test_links_out_of_the_folder_are_refused_and_links_inside_followed(folder: Path) -> None:
    outside = folder.parent / "outside"
    touch(outside, "a.mp4", "b.txt")
    touch(folder, "b.mp4", "c.mp4")
    os.symlink(outside / "a.mp4", folder / "a.mp4")
    os.symlink(outside / "b.txt", folder / "b.txt")
    os.symlink(folder / "c.mp4", folder / "d.mp4")
    os.symlink(outside, folder / "sub")
    sources, _ = find_sources(folder, IngestSettings(caption="all"))
    assert [source.name for source in sources] == ["c.mp4", "d.mp4"]
    assert refused(folder, caption="all") == {
        "a.mp4": "a.mp4 is a link out of the folder; copy the file into it",
        "b.mp4": "b.txt is a link out of the folder; copy the file into it",
        "sub": "is a link to a folder; copy the folder here instead",
    }


def test_metadata_that_is_a_link_out_of_the_folder(folder: Path) -> None:
    touch(folder, "a.mp4")
    touch(folder.parent, "metadata.csv")
    os.symlink(folder.parent / "metadata.csv", folder / "metadata.csv")
    with pytest.raises(UserError, match=r"metadata\.csv is a link out of the folder; copy the file into it"):
        find_sources(folder, IngestSettings())


def test_a_subfolder_that_cannot_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(folder, "a.mp4", "sub/b.mp4")
    genuine = os.scandir

    def forbidding(path: Any) -> Any:
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return genuine(path)

    monkeypatch.setattr(os, "scandir", forbidding)
    with pytest.raises(
        UserError, match=r"sub cannot be read \(Permission denied\); change its permissions or remove it"
    ):
        find_sources(folder, IngestSettings(caption="all"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metadata.csv", "name,text\na.mp4,x\n", r"metadata\.csv line 2 has no file_name; give the file's path"),
        ("metadata.csv", "file_name,text\na.mp4,a ball, red\n", r"line 2 has more values than the header has columns"),
        (
            "metadata.csv",
            "file_name,text,prompt\na.mp4,x,y\n",
            r"columns text and prompt, which mean the same; keep one",
        ),
        ("metadata.csv", 'file_name,text\na.mp4,"x', r"metadata\.csv cannot be read: unexpected end of data"),
        (
            "metadata.csv",
            b"file_name,text\na.mp4,\xff\n",
            r"metadata\.csv cannot be read: .* write it again as UTF-8 csv",
        ),
        ("metadata.jsonl", '{"file_name": "a.mp4"\n', r"metadata\.jsonl line 1 is not JSON: "),
        ("metadata.jsonl", '\n["a.mp4"]\n', r"metadata\.jsonl line 2 must be an object such as \{\"file_name\""),
        ("metadata.jsonl", '{"file_name": "a.mp4", "text": 7}\n', r"line 1: text must be text, got 7"),
        ("metadata.parquet", b"PAR1 no table", r"metadata\.parquet cannot be read: "),
    ],
)
def test_broken_metadata(folder: Path, name: str, content: str | bytes, message: str) -> None:
    touch(folder, "a.mp4")
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message):
        find_sources(folder, IngestSettings())


def test_two_metadata_files(folder: Path) -> None:
    touch(folder, "a.mp4")
    write_csv(folder)
    write_jsonl(folder)
    with pytest.raises(UserError, match=r"holds metadata\.csv and metadata\.jsonl; keep one of them"):
        find_sources(folder, IngestSettings())
