"""The commands encode, preview-eta and pairs, as a user runs them."""

import json
from pathlib import Path

import pytest
from PIL import Image

from densedpo import cli
from densedpo.models.wan import WanModel
from densedpo.store.project import Project
from small_projects import model_at, project_with_clips


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DENSEDPO_QUIET", "1")


@pytest.fixture(scope="module")
def project(random_wan_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return project_with_clips(tmp_path_factory.mktemp("commands") / "project", random_wan_folder)


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many clips each call of a denoiser was given."""
    seen: list[int] = []
    start = WanModel.__init__

    def watched(self: WanModel, *arguments: object) -> None:
        start(self, *arguments)  # type: ignore[arg-type]
        self.denoiser.register_forward_pre_hook(
            lambda _, __, given: seen.append(len(given["hidden_states"])), with_kwargs=True
        )

    monkeypatch.setattr(WanModel, "__init__", watched)
    return seen


def result(capsys: pytest.CaptureFixture[str], *tokens: str) -> dict[str, object]:
    assert cli.run([*tokens, "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def test_encode_encodes_once(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert result(capsys, "encode", str(project.root)) == {"clips": 3, "prompts": 4}  # three captions, one negative
    assert result(capsys, "encode", str(project.root)) == {"clips": 0, "prompts": 0}


@pytest.mark.parametrize("guidance", ["3", "1"])
def test_a_dry_run_tells_the_forwards_that_the_run_then_takes(
    random_wan_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], forwards: list[int], guidance: str
) -> None:
    project = project_with_clips(tmp_path / "project", random_wan_folder)
    tokens = ["pairs", str(project.root), "--steps", "6", "--batch", "2", "--guidance", guidance]
    told = result(capsys, *tokens, "--count", "4", "--dry-run")
    assert (forwards, list(project.pairs())) == ([], [])
    result(capsys, *tokens, "--count", "4")
    assert (told["pairs"], told["denoiser_forwards"]) == (4, sum(forwards))
    assert sum(forwards) > 4 * 2 * 2
    forwards.clear()
    rest = result(capsys, *tokens, "--count", "5", "--dry-run")
    assert result(capsys, *tokens, "--count", "5")["made"] == rest["pairs"] == 1
    assert rest["denoiser_forwards"] == sum(forwards)


def test_preview_eta_draws_a_row_for_each_clip_and_each_member(
    project: Project, random_wan_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "new folder" / "preview.png"
    tokens = ["preview-eta", str(project.root), "--clips", "2", "--steps", "4", "--out", str(image)]
    found = result(capsys, *tokens, "--etas", "0.9", "0.3", "0.6")
    rows, columns = 2 * (1 + 2 * 3), 6
    with Image.open(image) as sheet:
        assert (sheet.format, sheet.size) == ("PNG", (columns * 52 - 4, rows * 52 - 4))
    cells = found["cells"]
    assert isinstance(cells, list)
    assert [cell["eta"] for cell in cells] == [0.3, 0.3, 0.6, 0.6, 0.9, 0.9]
    means = [cells[i]["distance"] + cells[i + 1]["distance"] for i in (0, 2, 4)]
    assert means == sorted(means)  # more noise, less in common
    sigmas = model_at(random_wan_folder).sigmas(4)[:-1]
    assert [cell["model_calls"] for cell in cells[::2]] == [1 + int((sigmas < eta).sum()) for eta in (0.3, 0.6, 0.9)]
    assert list(project.pairs()) == []


def test_preview_eta_refuses_what_is_no_noise_level(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["preview-eta", str(project.root), "--etas", "0.5", "1.5"]) == 2
    assert "etas: value error, give noise levels above 0 and at most 1, got [0.5, 1.5]" in capsys.readouterr().err
