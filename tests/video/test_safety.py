"""Files that are not what they say: each is refused with one sentence that says what to do."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from footage import encode, real, shapes

from densedpo.errors import UserError
from densedpo.video.io import Limits, iter_frames, probe, read_video, write_video


def refusal(path: Path, limits: Limits = Limits()) -> str:  # noqa: B008 (frozen)
    """What `probe` and `read_video` both say of a file, without its path."""
    said = []
    for function in (probe, read_video):
        with pytest.raises(UserError) as caught:
            function(path, limits)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert said[0].startswith(f"{path}: ")
    assert "\n" not in said[0]
    return said[0].removeprefix(f"{path}: ")


@pytest.mark.parametrize("name", ["cat.mp4", "cat.m3u8"])
def test_a_playlist_is_not_followed(tmp_path: Path, name: str) -> None:
    encode(tmp_path / "part.ts", shapes(9))
    path = tmp_path / name
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\npart.ts\n#EXT-X-ENDLIST\n")
    assert refusal(path) == "is a playlist, not a video; give the video files themselves"


def test_a_list_of_other_files_is_not_followed(tmp_path: Path) -> None:
    encode(tmp_path / "part.ts", shapes(9))
    path = tmp_path / "cat.mp4"
    path.write_text("ffconcat version 1.0\nfile part.ts\n")
    assert refusal(path) == "is a playlist, not a video; give the video files themselves"


def test_nothing_but_local_files_may_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, str]] = []
    genuine = av.open

    def spy(*arguments: Any, **keywords: Any) -> Any:
        seen.append(keywords["options"])
        return genuine(*arguments, **keywords)

    monkeypatch.setattr(av, "open", spy)
    probe(real("carphone_distorted.mp4"))
    assert [options["protocol_whitelist"] for options in seen] == ["file"]


def test_text_named_mp4(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_text("404: not found\n")
    assert refusal(path) == "is text, not a video; replace it by a real video file"


def test_picture_sequences_are_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "%d.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\0")
    assert refusal(path).startswith("is damaged, cut short, or not a video (mp4, mov, mkv")


def test_missing_empty_and_folder(tmp_path: Path) -> None:
    empty = tmp_path / "empty.mp4"
    empty.touch()
    assert refusal(empty) == "the file is empty (0 bytes); copy or download it again"
    assert refusal(tmp_path / "no.mp4") == "there is no such video file; check the path"
    assert refusal(tmp_path) == "there is no such video file; check the path"


def test_sound_only(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=44100, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate, sound.pts = 44100, 0
        file.mux(stream.encode(sound))
        file.mux(stream.encode(None))
    assert refusal(path) == "has no video stream (sound only?); replace it by a file with pictures"


@pytest.mark.parametrize("part", [0.01, 0.3, 0.6, 0.99])
def test_cut_short(tmp_path: Path, part: float) -> None:
    whole, path = tmp_path / "whole.mp4", tmp_path / "a.mp4"
    write_video(whole, np.random.default_rng(0).integers(0, 256, (33, 48, 48, 3), dtype=np.uint8), 8)
    content = whole.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    assert "cut short" in refusal(path)


def test_index_at_the_end_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    content = real("carphone_pristine.mp4").read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "cut short" in refusal(path)


def test_damage_in_the_middle(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), dtype=np.uint8))
    content = bytearray(path.read_bytes())
    middle = content.index(b"mdat") + 3000
    content[middle : middle + 4000] = b"\xff" * 4000
    path.write_bytes(content)
    assert "damaged" in refusal(path)


def test_too_many_pixels_are_refused_from_the_header() -> None:
    said = refusal(real("bigbuckbunny.mp4"), Limits(pixels=640 * 480))
    assert said == "frames of 1280x720, at most 307200 pixels are allowed; scale it down first"


def test_too_many_frames_seconds_and_bytes_are_refused_from_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("densedpo.video.io._decoded", lambda *_: pytest.fail("decoded before the header was checked"))
    path = real("bikes.mp4")
    assert refusal(path, Limits(frames=249)) == "250 frames, at most 249 are allowed; cut it into shorter clips"
    assert refusal(path, Limits(seconds=9)) == "10 s long, at most 9 s are allowed; cut it into shorter clips"
    assert re.match(r"\d+ bytes, at most 1000 are allowed", refusal(path, Limits(file_bytes=1000)))


def test_too_many_frames_are_refused_on_the_way_where_no_header_counts_them(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.ts", shapes(20))
    assert refusal(path, Limits(frames=10)) == "more than 10 frames; cut it into shorter clips"


def test_frames_that_do_not_fit_in_memory_are_refused_before_the_first() -> None:
    path = real("bikes.mp4")
    whole = 250 * 640 * 272 * 3
    with pytest.raises(UserError, match=r"its frames need 0\.1 GiB of memory, at most 0\.1 GiB are allowed"):
        read_video(path, Limits(decoded_bytes=whole - 1))
    assert read_video(path, Limits(decoded_bytes=whole))[0].nbytes == whole


def test_a_small_file_that_demands_large_frames_is_refused_without_paying_for_them(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", np.zeros((3, 4096, 4096, 3), dtype=np.uint8))
    assert path.stat().st_size < 100_000
    cheap, dear = _memory_of_probe(path, pixels=1_000_000), _memory_of_probe(path, pixels=100_000_000)
    assert cheap < 8 < 50 < dear


def _memory_of_probe(path: Path, pixels: int) -> float:
    """By how many MB the peak memory of a new process rises when it probes a file."""
    program = (
        "import contextlib, sys; from densedpo.errors import UserError\n"
        "from densedpo.video.io import Limits, probe\n"
        "peak = lambda: int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
        "with contextlib.suppress(UserError): probe(sys.argv[2])\n"  # warm: a small file
        "before = peak()\n"
        "with contextlib.suppress(UserError): probe(sys.argv[1], Limits(pixels=int(sys.argv[3])))\n"
        "print((peak() - before) / 1024)\n"
    )
    arguments = [str(path), str(real("carphone_distorted.mp4")), str(pixels)]
    run = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    return float(run.stdout)


def test_a_stream_that_grows_on_the_way_is_stopped_by_the_decoder(tmp_path: Path) -> None:
    small, large, path = tmp_path / "s.ts", tmp_path / "l.ts", tmp_path / "a.ts"
    encode(small, np.random.default_rng(0).integers(0, 256, (400, 48, 48, 3), dtype=np.uint8))
    encode(large, np.zeros((2, 1080, 1920, 3), dtype=np.uint8))
    path.write_bytes(small.read_bytes() + large.read_bytes())
    seen = 0
    with pytest.raises(UserError, match="damaged"):
        for frame in iter_frames(path, Limits(pixels=100_000)):
            seen += 1
            assert frame.shape == (48, 48, 3)
    assert seen > 300
    with pytest.raises(UserError, match="its frame size changes on the way; re-encode it to one size"):
        probe(path)
