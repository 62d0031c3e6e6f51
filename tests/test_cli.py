"""The command line as a user meets it: help, messages, exit codes, and the JSON line."""

import functools
import json
import subprocess
import sys
from pathlib import Path

import cyclopts
import numpy as np
import pydantic
import pytest

from densedpo import __version__, cli, doctor
from densedpo.cli.command import command
from densedpo.config import Settings
from densedpo.errors import UserError
from densedpo.store.project import Project
from densedpo.video.io import write_video


class Recipe(Settings):
    """A settings class with every kind of field."""

    steps: int = pydantic.Field(default=300, gt=0, description="How many steps.")
    rate: float = pydantic.Field(description="The learning rate.")
    frozen: bool = pydantic.Field(default=True, description="Leave the rest as it is.")
    layers: tuple[str, ...] = pydantic.Field(default=("to_q", "to_k"), description="Which layers.")


@command
def cook(project: Path, recipe: Recipe, *, name: str = "first") -> dict[str, object]:
    return {"project": project, "name": name, **recipe.model_dump()}


@pytest.fixture
def kitchen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command line with the one command `cook`."""
    app = cyclopts.App(name="densedpo", help_format="plaintext")
    app.command(cook)
    monkeypatch.setattr(cli, "app", app)


def last_json(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert isinstance(result, dict)
    return result


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_command_explains_itself_with_an_example_that_parses(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = name.split()
    assert cli.run([*words, "--help"]) == 0
    text = capsys.readouterr().out
    example = text.split("Example: ")[1].split()
    assert "--json" in text
    assert example[: len(words) + 1] == ["densedpo", *words]
    cli.app.parse_args(example[1:], exit_on_error=False, print_error=False)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_argument_and_flag_says_what_it_is(name: str) -> None:
    command_app = functools.reduce(lambda app, word: app[word], name.split(), cli.app)
    arguments = command_app.assemble_argument_collection()
    assert [argument.name for argument in arguments if not argument.parameter.help] == []


def test_the_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--help"]) == 0
    text = capsys.readouterr().out
    assert [name for name in cli.COMMANDS if name.split()[0] not in text] == []


def test_a_command_that_loads_diffusers_complains_of_nothing() -> None:
    program = Path(sys.executable).with_name("densedpo")
    done = subprocess.run([program, "models", "--json"], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_help_loads_neither_torch_nor_the_database() -> None:
    code = "import sys; from densedpo import cli; cli.run(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "sqlalchemy", "numpy"} & set(done.stdout.split()) == set()


def test_settings_become_flags_with_their_help_and_default(kitchen: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["cook", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--steps INT How many steps. [default: 300]" in text
    assert "--rate FLOAT The learning rate. Required, here or in the file." in text
    assert "Which layers. [default: to_q to_k]" in text
    assert "--frozen --no-frozen" in text
    assert "--config" in text


def test_flags_win_over_the_file_and_the_file_over_defaults(
    kitchen: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("steps: 20\nrate: 1e-4\nfrozen: false\n")
    assert cli.run(["cook", "p", "--config", str(file), "--steps", "7", "--layers", "a", "b", "--json"]) == 0
    expected = {"project": "p", "name": "first", "steps": 7, "rate": 1e-4, "frozen": False, "layers": ["a", "b"]}
    assert last_json(capsys) == expected


def test_a_flag_may_be_false_or_zero(kitchen: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["cook", "p", "--rate", "0", "--no-frozen", "--json"]) == 0
    result = last_json(capsys)
    assert (result["rate"], result["frozen"]) == (0.0, False)


def test_all_mistakes_in_a_file_are_told_at_once_with_the_nearest_key(
    kitchen: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("stepz: 20\n")
    assert cli.run(["cook", "p", "--config", str(file)]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert "stepz; did you mean steps?" in message
    assert "rate is missing" in message


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["cook", "p", "--stepz", "20"], "Unknown option: --stepz. Did you mean --steps?"),
        (["cook", "p", "--steps", "many"], '--steps: unable to convert "many" into int'),
        (["cook"], "requires an argument"),
        (["bake"], 'Unknown command "bake"'),
    ],
)
def test_mistakes_on_the_command_line(
    kitchen: None, tokens: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(tokens) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "told", "traceback"),
    [
        (UserError("there is no [bold] folder; make it"), 2, "error: there is no [bold] folder; make it", False),
        (KeyboardInterrupt(), 130, "stopped; run the same command again to go on", False),
        (ZeroDivisionError("ours"), 1, "please report", True),
    ],
)
def test_how_a_command_ends(
    error: BaseException,
    code: int,
    told: str,
    traceback: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    app = cyclopts.App(suppress_keyboard_interrupt=cli.app.suppress_keyboard_interrupt)

    @app.command
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "app", app)
    assert cli.run(["fail"]) == code
    captured = capsys.readouterr()
    assert told in captured.err
    assert ("Traceback" in captured.err) is traceback
    assert captured.out == ""


def test_init_makes_a_project_for_the_embedded_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "p"
    assert cli.run(["init", str(root), "--frames", "17", "--json"]) == 0
    settings = Project.open(root).settings
    assert last_json(capsys) == {"project": str(root), "settings": settings.model_dump()}
    assert (settings.model, settings.width, settings.height) == ("tinyworld", 48, 48)
    assert (settings.frames, settings.fps, settings.segment_seconds) == (17, 8, 1)


def test_init_again_is_fine_but_with_other_settings_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(tmp_path / "p")
    assert cli.run(["init", root]) == 0
    assert cli.run(["init", root]) == 0
    assert cli.run(["init", root, "--frames", "17"]) == 2
    assert "frames" in capsys.readouterr().err


def test_init_asks_for_what_another_model_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "p"
    tokens = ["init", str(root), "--model", "models/wan", "--width", "480", "--frames", "81"]
    assert cli.run(tokens) == 2
    assert "give --height, --fps as the model models/wan wants them" in capsys.readouterr().err
    assert not root.exists()
    assert cli.run([*tokens, "--height", "272", "--fps", "16"]) == 0
    assert Project.open(root).settings.height == 272


def test_init_names_the_nearest_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "project.yaml"
    file.write_text("segment_second: 1\n")
    assert cli.run(["init", str(tmp_path / "p"), "--config", str(file)]) == 2
    assert "did you mean segment_seconds?" in capsys.readouterr().err


@pytest.mark.parametrize("tokens", [["validate", "nowhere"], ["merge", "nowhere", "other"], ["ingest", "nowhere", "."]])
def test_a_missing_project_is_the_users_mistake(tokens: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(tokens) == 2
    assert "nowhere is no densedpo project" in capsys.readouterr().err


def test_ingest_takes_captioned_clips_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, clips = tmp_path / "p", tmp_path / "clips"
    clips.mkdir()
    frames = np.random.default_rng(0).integers(0, 255, (9, 32, 32, 3), dtype=np.uint8)
    write_video(clips / "noise.mp4", frames, 8)
    (clips / "noise.txt").write_text("noise")
    (clips / "bad.mp4").write_text("no video")
    (clips / "bad.txt").write_text("bad")
    cli.run(["init", str(root), "--width", "32", "--height", "32", "--frames", "9"])
    tokens = ["ingest", str(root), str(clips), "--licence", "CC0-1.0", "--json"]
    for added, known in ((1, 0), (0, 1)):
        assert cli.run(tokens) == 0
        result = last_json(capsys)
        assert (result["added"], result["known"]) == (added, known)
        assert "bad.mp4" in str(result["rejected"])
    (clip,) = Project.open(root).clips()
    assert (clip.caption, clip.licence) == ("noise", "CC0-1.0")


def test_ingest_from_a_missing_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.run(["init", str(tmp_path / "p")])
    assert cli.run(["ingest", str(tmp_path / "p"), str(tmp_path / "clips")]) == 2
    assert str(tmp_path / "clips") in capsys.readouterr().err


def test_validate_ends_with_2_when_there_is_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "p"
    cli.run(["init", str(root)])
    assert cli.run(["validate", str(root), "--json"]) == 0
    assert last_json(capsys) == {"ok": True, "problems": []}
    stray = root / "media" / "ab" / f"{'ab' * 32}.mp4"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"nobody's")
    assert cli.run(["validate", str(root), "--json"]) == 2
    captured = capsys.readouterr().out.splitlines()
    (problem,) = json.loads(captured[-1])["problems"]
    assert problem["kind"] == "orphan-file"
    assert captured[0] == problem["message"]


def test_merge_takes_what_is_new(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for root in (here, there):
        cli.run(["init", str(root)])
    Project.open(there).record("note", text="from there")
    before = sum(1 for _ in Project.open(here).events())
    assert cli.run(["merge", str(here), str(there), "--json"]) == 0
    result = last_json(capsys)
    assert (result["ok"], result["conflicts"]) == (True, [])
    assert sum(1 for _ in Project.open(here).events()) > before
    assert cli.run(["merge", str(here), str(tmp_path / "nowhere")]) == 2


def test_doctor_tells_what_is_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["doctor", "--folder", str(tmp_path), "--json"]) == 0
    result = last_json(capsys)
    checks = result["checks"]
    assert isinstance(checks, dict)
    assert checks["av"]["found"]
    assert checks["free disk"]["found"].endswith("GB")
    assert all(bool(check["found"]) != bool(check["remedy"]) for check in checks.values())


def test_doctor_tells_how_to_get_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", (("no-such-package", "nothing", "pip install 'densedpo[train]'"),))
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setitem(sys.modules, "torch", None)
    checks = {check.name: check for check in doctor.examine(tmp_path / "not" / "yet")}
    missing = {name: check.remedy for name, check in checks.items() if check.found is None}
    assert missing["no-such-package"] == missing["torch device"] == "pip install 'densedpo[train]'"
    assert "chromium" in missing["browser"]
    assert checks["free disk"].purpose == f"at {tmp_path}"


def test_python_m_densedpo_is_the_same_program(tmp_path: Path) -> None:
    tokens = [sys.executable, "-m", "densedpo", "validate", str(tmp_path / "none")]
    done = subprocess.run(tokens, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
