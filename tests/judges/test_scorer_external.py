"""The contract of scorers in environments of their own, with real processes and a real scorer behind the skeleton."""

import math
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from densedpo.errors import UserError
from densedpo.judges.scorers import ScorerError, Shown, channels, find_scorer
from densedpo.judges.scorers.channels import HttpChannel, ProcessChannel
from densedpo.judges.scorers.external import ExternalScorer
from densedpo.tinyworld.world import FPS, Attributes, render, sample_scene
from densedpo.video.io import read_video, write_video

SERVERS = Path(__file__).parents[2] / "scripts" / "reward_servers"
CLIP = render(sample_scene(np.random.default_rng(3), Attributes("red", "star", "navy"), 9)).copy()
# A server without the skeleton, as somebody's own may be. `turn` counts the starts of the process over its life.
MISBEHAVING = """
import json, os, sys, time
turns = os.path.join(os.path.dirname(os.path.abspath(__file__)), "turns")
open(turns, "a").write("x")
turn = len(open(turns).read())
def say(value): print(value if isinstance(value, str) else json.dumps(value), flush=True)
say({"ready": True, "scores": ["overall", "other"]})
for line in sys.stdin:
    request = json.loads(line)
    good = {"id": request["id"], "scores": {"overall": request["first_frame"] + 0.5, "other": -1}}
    BEHAVIOUR
"""


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    write_video(tmp_path / "clip.mp4", CLIP, FPS)
    return tmp_path / "clip.mp4"


def shown(clip: Path, first: int = 2, end: int = 6, id: str = "one") -> Shown:
    return Shown(id, clip, "a red star ‚äöü‘ \n {}", first, end, FPS)


def command(*parts: str | Path) -> str:
    return shlex.join([sys.executable, *map(str, parts)])


def misbehaving(folder: Path, behaviour: str, timeout: float = 20.0, score: str = "overall") -> ExternalScorer:
    (folder / "server.py").write_text(MISBEHAVING.replace("BEHAVIOUR", behaviour.replace("\n", "\n    ")))
    return ExternalScorer("mine", ProcessChannel(command(folder / "server.py"), timeout, 20.0), score)


def starts(folder: Path) -> int:
    return len((folder / "turns").read_text())


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "STOP_SECONDS", 0.2)


def test_a_real_scorer_in_a_process_gives_what_it_gives_here(clip: Path) -> None:
    scorer = ExternalScorer("s", ProcessChannel(command(SERVERS / "weights_free.py", "--scorer", "freeze"), 60, 60))
    try:
        for first, end in ((0, 4), (4, 9)):
            assert scorer.score(shown(clip, first, end)) == -find_scorer("freeze").score(shown(clip, first, end))
        with pytest.raises(ScorerError, match=r"s cannot score this: UserError: .*gone\.mp4"):
            scorer.score(shown(clip.with_name("gone.mp4")))
        assert math.isfinite(scorer.score(shown(clip)))  # the process is still there
    finally:
        scorer.close()


@pytest.fixture
def server() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, SERVERS / "weights_free.py", "--http", "0"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stderr.readline())
        assert found
        yield found[0]
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_a_real_scorer_over_http_gives_what_it_gives_here(clip: Path, server: str) -> None:
    scorer = ExternalScorer("s", HttpChannel(server, 60))
    assert scorer.score(shown(clip)) == find_scorer("sharpness").score(shown(clip))
    with pytest.raises(ScorerError, match="cannot score this"):
        scorer.score(shown(clip.with_name("gone.mp4")))


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match=r"the scorer s did not start: it could not be reached \(.*refused"):
        ExternalScorer("s", HttpChannel("http://127.0.0.1:9", 5)).score(shown(Path("clip.mp4")))
    with pytest.raises(UserError, match="must begin with http"):
        HttpChannel("file:///etc/passwd", 5)
    with pytest.raises(UserError, match=r"could not be reached \(nonnumeric port"):
        ExternalScorer("s", HttpChannel("http://127.0.0.1:80a", 5)).score(shown(Path("clip.mp4")))


def test_a_command_with_an_open_quote_is_refused() -> None:
    with pytest.raises(UserError, match=r"is no command line \(No closing quotation\); mend its quotes"):
        ProcessChannel("python 'scorer.py", 5, 5)


@pytest.mark.parametrize(
    "behaviour",
    [
        "os._exit(3) if turn == 1 else say(good)",
        "time.sleep(1000) if turn == 1 else say(good)",
        "say('Loading checkpoint shards') if turn == 1 else say(good)",
        "say({**good, 'id': 'another'} if turn == 1 else good)",
        "say({'id': good['id'], 'scores': {'overall': float('nan') if turn == 1 else 2.5}})",
        "say({'id': good['id'], 'scores': {'overall': '8/10'}} if turn == 1 else good)",
        "say({'id': good['id'], 'scores': {'overall': True}} if turn == 1 else good)",
        "say([1, 2] if turn == 1 else good)",
    ],
    ids=["crash", "hang", "print", "another id", "nan", "text", "boolean", "list"],
)
def test_a_stumble_costs_a_new_start_and_nothing_else(tmp_path: Path, behaviour: str) -> None:
    scorer = misbehaving(tmp_path, behaviour, timeout=2.0 if "sleep" in behaviour else 20.0)
    try:
        assert scorer.score(shown(tmp_path)) == 2.5
        assert scorer.score(shown(tmp_path)) == 2.5
        assert starts(tmp_path) == 2
    finally:
        scorer.close()


def test_one_video_that_always_breaks_it_is_given_up_and_the_next_is_scored(tmp_path: Path) -> None:
    behaviour = "if request['first_frame'] == 7:\n    sys.stderr.write('CUDA out of memory\\n'); os._exit(1)\nsay(good)"
    scorer = misbehaving(tmp_path, behaviour)
    try:
        assert scorer.score(shown(tmp_path, 1)) == 1.5
        with pytest.raises(ScorerError, match=r"mine ended \(it last said: CUDA out of memory\), 2 times"):
            scorer.score(shown(tmp_path, 7))
        assert scorer.score(shown(tmp_path, 3)) == 3.5
        assert starts(tmp_path) == 3
    finally:
        scorer.close()


def test_the_other_number_can_be_asked_for_and_a_missing_one_is_told(tmp_path: Path) -> None:
    scorer = misbehaving(tmp_path, "say(good)", score="other")
    assert scorer.score(shown(tmp_path)) == -1
    scorer.close()
    with pytest.raises(UserError, match="gives no beauty; choose one with --score: overall, other"):
        misbehaving(tmp_path, "say(good)", score="beauty").score(shown(tmp_path))


def test_a_server_that_does_not_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise ImportError('no flash_attn')")
    scorer = ExternalScorer("mine", ProcessChannel(command(tmp_path / "broken.py"), 5, 20))
    with pytest.raises(UserError, match=r"did not start: it ended .*ImportError: no flash_attn"):
        scorer.score(shown(tmp_path))
    with pytest.raises(UserError, match=r"did not start: it could not be started .*no-such-program"):
        ExternalScorer("mine", ProcessChannel("no-such-program", 5, 5)).score(shown(tmp_path))
    (tmp_path / "greeting.py").write_text("print('\"hello\"', flush=True)\ninput()")
    with pytest.raises(UserError, match=r'said hello first, but must say \{"ready": true'):
        ExternalScorer("mine", ProcessChannel(command(tmp_path / "greeting.py"), 5, 20)).score(shown(tmp_path))


def test_closing_ends_the_process_and_what_it_started(tmp_path: Path) -> None:
    behaviour = (
        "import subprocess\nchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])\n"
        "open(turns + '.pids', 'w').write(f'{os.getpid()} {child.pid}')\nsay(good)\ntime.sleep(1000)"
    )
    scorer = misbehaving(tmp_path, behaviour)
    scorer.score(shown(tmp_path))
    scorer.close()
    for pid in (tmp_path / "turns.pids").read_text().split():
        deadline = time.monotonic() + 60
        while alive(int(pid)):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_the_skeleton_keeps_prints_away_from_the_answers_and_cuts_segments(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(
        f"import os, sys\nsys.path.insert(0, {str(SERVERS)!r})\nfrom serve import segment_file, serve\nimport av\n"
        "def load(options):\n"
        "    print('loading'); os.system('echo from below')\n"
        "    def score(request):\n"
        "        print('scoring')\n"
        "        with segment_file(request) as path, av.open(path) as file:\n"
        "            first, *others = [frame.to_ndarray(format='rgb24') for frame in file.decode(video=0)]\n"
        "        caption = 1 / (request.caption != '0')\n"
        "        return {'overall': 1 + len(others), 'mean': first.mean()}\n"
        "    return score\n"
        "serve('noisy', ['overall', 'mean'], load)\n"
    )
    for score, expected in (("overall", 5), ("mean", read_video(clip)[0][3].mean())):
        scorer = ExternalScorer("noisy", ProcessChannel(command(tmp_path / "noisy.py"), 60, 60), score)
        assert scorer.score(shown(clip, 3, 8)) == pytest.approx(expected, abs=2)
        with pytest.raises(ScorerError, match="ZeroDivisionError"):
            scorer.score(Shown("two", clip, "0", 0, 4, FPS))
        scorer.close()


def test_the_servers_of_learned_models_know_their_options_without_their_models() -> None:
    for name in ("videoreward", "videoscore2", "visionreward"):
        done = subprocess.run(
            [sys.executable, SERVERS / f"{name}.py", "--help"], capture_output=True, text=True, check=True
        )
        assert "--repo" in done.stdout and "--http" in done.stdout
        assert "NEVER RUN WITH REAL WEIGHTS" in (SERVERS / f"{name}.py").read_text()
        assert (SERVERS / f"{name}.requirements.txt").exists()
