"""What a training run leaves to be read: curves, a card, clips of held-out prompts. None of it touches the training."""

import html
import json
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from densedpo.errors import UserError
from densedpo.models.card import Figures, licence_of
from densedpo.models.lora import adapter_on
from densedpo.store.labellers import labels_by_kind
from densedpo.store.project import Project
from densedpo.training import TrainSettings
from densedpo.training.guard import Alarm
from densedpo.training.loop import train
from densedpo.training.papers import smooth
from densedpo.training.samples import Samples, strip
from densedpo.training.trackers import show
from densedpo.video.io import read_video
from small_projects import CAPTIONS, give_labels, log_of, model_at, plant_pair, project_with_clips, weights_of

SHORT: dict[str, Any] = {"steps": 4, "rank": 2, "lr": 3e-3, "warmup": 0, "batch": 3, "save_every": 2, "beta": 2000.0}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DENSEDPO_QUIET", "1")


@pytest.fixture(scope="module")
def project(random_wan_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = project_with_clips(tmp_path_factory.mktemp("folder") / "project", random_wan_folder)
    for number, (first, second) in enumerate([("a", "b"), ("b", "b"), ("tie", "a"), ("a", "")]):
        give_labels(project, plant_pair(project, number), first, second)
    give_labels(project, plant_pair(project, 4), "a", annotator_kind="vlm", annotator="judge")
    for number in (5, 6, 8):  # 5 and 8 have one caption
        give_labels(project, plant_pair(project, number, split="validation"), "a", "b")
    return project


@pytest.fixture(scope="module")
def sampled(project: Project) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DENSEDPO_QUIET", "1")
        return run(project, "sampled", sample_every=2, validate_every=2)


def run(project: Project, name: str, **changes: Any) -> Path:
    return train(project, model_at(Path(project.settings.model)), TrainSettings(**{**SHORT, **changes}), name).run


def test_the_card_says_what_the_run_was_and_how_it_ended(project: Project, sampled: Path) -> None:
    card, facts, rows = (
        (sampled / "README.md").read_text(),
        json.loads((sampled / "run.json").read_text()),
        log_of(sampled),
    )
    assert facts["labels"] == {"human": {"labels": 7, "annotators": 1}, "vlm": {"labels": 1, "annotators": 1}}
    assert isinstance(yaml.safe_load(card.split("---\n")[1]), dict)
    loss = sum(row["loss"] for row in rows) / 4
    for text in (
        "# project sampled\n",
        "| beta | 2000.0 (on mean squared errors) |\n| effective k | 1000.0 (half of beta, on mean squared errors) |\n",
        f"| hash of the base weights | `{facts['base_model_hash']}` |\n",
        "![Curves of the training](curves.svg)\n",
        "Means over the last 4 of 4 steps.\n",
        f"| loss | {loss:.4g} |\n",
        f"| last validation loss | {rows[3]['validation_loss']:.4g} |\n",
        "\nThe guard raised no alarm.\n",
        "- 5 labelled pairs\n- labels by human: 7, of 1 annotator\n- labels by vlm: 1, of 1 annotator\n- videos of 9",
        "- clips of the project, by licence: CC0 (3)\n",
        f"- fingerprint of the data: `{facts['dataset']}`\n",
        "- of the base model: its folder does not say; ask whoever made it\n- of the clips: as listed",
        'pipe.load_lora_weights("adapter", weight_name="pytorch_lora_weights.safetensors")\n',
    ):
        assert text in card, text
    assert not re.search(r"\n{3,}", card)
    assert str(project.root.parent) not in card


def test_the_card_of_plain_training_speaks_of_clips_and_of_no_preference(project: Project) -> None:
    folder = run(project, "plain", method="sft", steps=2, batch=1)
    card = (folder / "README.md").read_text()
    assert "Flow matching on chosen videos, without preferences." in card
    assert "| steps | 2 of 1 clips |" in card and "- 3 clips\n" in card
    assert not [word for word in ("beta", "labels by", "from preferences", "sigmoid") if word in card]
    assert titles(folder / "curves.svg") == ["Loss", "Gradient norm"]


def test_final_figures_are_means_of_the_last_twenty_steps_and_name_every_alarm(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"step": step, "loss": float(step), "lr": 1.0} for step in range(1, 31)]
    rows[9] |= {"alarms": [asdict(Alarm("displacement", "x", "y"))], "validation_loss": 0.5}
    rows[29]["alarms"] = [asdict(Alarm(name, "x", "y")) for name in ("saturation", "divergence")]
    log = tmp_path / "log.jsonl"
    assert Figures.of(log) is None
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = Figures.of(log)
    assert found == Figures(30, 20, {"loss": 20.5}, 0.5, [(10, "displacement"), (30, "saturation"), (30, "divergence")])


def test_labels_that_were_taken_back_do_not_count(project: Project, tmp_path: Path, random_wan_folder: Path) -> None:
    other = project_with_clips(tmp_path / "other", random_wan_folder, clips=1)
    pair = plant_pair(other, 0)
    give_labels(other, pair, "a", "b")
    first = next(label for label in other.labels() if label.segment == 0)
    give_labels(other, pair, "b", supersedes=first.id, seen="again")
    give_labels(other, pair, "b", annotator="another")
    give_labels(other, plant_pair(other, 1, "independent"), "b")
    assert labels_by_kind(other, "train", ("guided",)) == {"human": {"labels": 3, "annotators": 2}}
    assert labels_by_kind(other, "test", ("guided",)) == {}


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"README.md": "---\nlicense: apache-2.0\ntags: [a]\n---\n# Model\n"}, "apache-2.0"),
        ({"README.md": "# Model\n---\nlicense: mit\n---\n", "LICENSE.txt": "…"}, "LICENSE.txt"),
        ({"README.md": "---\nlicense: [unclosed\n---\n"}, None),
        ({}, None),
    ],
)
def test_the_licence_of_a_base_model(tmp_path: Path, files: dict[str, str], licence: str | None) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert licence_of(tmp_path) == licence


def titles(file: Path) -> list[str]:
    return [text.text or "" for text in ElementTree.parse(file).iter(f"{SVG}text") if text.get("class") == "title"]


def test_the_curves_show_the_log(sampled: Path) -> None:
    names = ["Loss", "Accuracy", "Argument of the sigmoid", "Error", "Loser-dominated", "Gradient norm"]
    assert titles(sampled / "curves.svg") == names
    panels = ElementTree.parse(sampled / "curves.svg").getroot().findall(f"{SVG}g")
    loss, validation = (path.get("d") or "" for path in panels[0].findall(f"{SVG}path") if path.get("class") != "rule")
    heights = [float(point.split()[1]) for point in loss[1:].split("L")]
    values = [row["loss"] for row in log_of(sampled)]
    assert np.corrcoef(heights, values)[0, 1] == pytest.approx(-1, abs=1e-3)  # upwards is less in an SVG
    assert len(validation.split("L")) == 2
    assert [t.text for t in panels[0].iter(f"{SVG}tspan")] == ["loss", "validation"]


def test_the_curves_are_drawn_at_every_checkpoint(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from densedpo.training import loop

    real, seen = loop.draw_curves, []
    monkeypatch.setattr(loop, "draw_curves", lambda folder: seen.append(len(log_of(folder))) or real(folder))
    run(project, "drawn", steps=5)
    assert seen == [2, 4, 5]


def test_smoothing_is_a_mean_of_what_is_near() -> None:
    points = [(1.0, 0.0), (2.0, 3.0), (3.0, 6.0), (4.0, 0.0)]
    assert smooth(points, 1) == points
    assert smooth(points, 3) == [(1.0, 1.5), (2.0, 3.0), (3.0, 3.0), (4.0, 3.0)]


def test_clips_on_the_way_change_no_bit_of_the_adapter(project: Project, sampled: Path) -> None:
    plain = run(project, "unsampled", validate_every=2)
    assert weights_of(plain).keys() == weights_of(sampled).keys()
    assert all(torch.equal(weights_of(sampled)[name], weight) for name, weight in weights_of(plain).items())
    assert log_of(plain) == log_of(sampled)
    assert not (plain / "samples").exists()


def test_clips_are_the_adapters_at_that_step_from_one_noise(project: Project, sampled: Path) -> None:
    """Held-out prompts once each; step 0 is the base; the last step is what the finished adapter makes."""
    steps = sorted((sampled / "samples").iterdir())
    assert [folder.name for folder in steps] == ["step-000000", "step-000002", "step-000004"]
    names = [sorted(file.name for file in folder.iterdir()) for folder in steps]
    assert names[0] == names[1] == names[2] and len(names[0]) == 2
    model = model_at(Path(project.settings.model))
    again = Samples(project, model, TrainSettings(**SHORT, sample_every=2), sampled)
    assert {held.prompt for held in again.held} == {CAPTIONS[2], CAPTIONS[0]}
    for held in again.held:
        base, _, last = (read_video(folder / f"{held.name}.mp4")[0].astype(int) for folder in steps)
        assert np.abs(base - model.decode(again._draw(held))[0]).max() <= 12  # what the encoding loses
        with adapter_on(model.denoiser, sampled / "adapter"):
            tuned = model.decode(again._draw(held))[0].astype(int)
        assert np.abs(last - tuned).max() <= 12
        assert np.abs(last - base).max() > 0


def test_the_contact_sheet_has_a_row_a_prompt_and_a_column_a_step(sampled: Path) -> None:
    page = (sampled / "samples.html").read_text()
    assert re.findall(r'<th scope="col">(.*?)</th>', page) == ["prompt", "0", "2", "4"]
    assert page.count('<th scope="row">') == 2
    for place in re.findall(r'src="(.*?)"', page):
        assert (sampled / html.unescape(place)).exists()
    assert page.count("<video") == 6


def test_a_stopped_run_goes_on_with_the_same_clips(project: Project, sampled: Path) -> None:
    """A run of 2 steps made longer, with a clip lost on the way, ends as the one that was left alone."""
    folder = run(project, "resumed", sample_every=2, validate_every=2, steps=2)
    lost = next((folder / "samples" / "step-000002").iterdir())
    lost.unlink()
    run(project, "resumed", sample_every=2, validate_every=2)
    for file in sampled.glob("samples/*/*"):
        assert (folder / file.relative_to(sampled)).read_bytes() == file.read_bytes()
    assert all(torch.equal(weights_of(folder)[name], weight) for name, weight in weights_of(sampled).items())


def test_tensorboard_gets_a_strip_of_every_clip(sampled: Path) -> None:
    found: dict[str, list[int]] = {}
    for file in (sampled / "tensorboard").rglob("events*"):
        reader = EventAccumulator(str(file), size_guidance={"images": 0})
        reader.Reload()
        for tag in reader.Tags()["images"]:
            found.setdefault(tag.removesuffix("/image/0"), []).extend(event.step for event in reader.Images(tag))
            assert {(each.width, each.height) for each in reader.Images(tag)} == {(5 * 48, 48)}
    assert len(found) == 2
    assert all(steps == [0, 2, 4] for steps in found.values())


def test_other_trackers_get_the_pictures_in_their_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """wandb through Accelerate's log_images; trackio, whose tracker has none, as a value of its log."""

    class Tracker:
        def __init__(self, name: str) -> None:
            self.name, self.said = name, []

        def log_images(self, values: dict[str, Any], step: int) -> None:
            self.said.append((step, values))

        def log(self, values: dict[str, Any], step: int) -> None:
            self.said.append((step, values))

    class Trackio:
        Image: Callable[..., tuple[str, Any]] = staticmethod(lambda value: ("picture", value))

    monkeypatch.setitem(__import__("sys").modules, "trackio", Trackio)  # not installed here
    picture = np.zeros((2, 3, 3), np.uint8)
    wandb, trackio = Tracker("wandb"), Tracker("trackio")
    for each in (wandb, trackio):
        show(each, {"samples/x": picture}, 7)
    assert wandb.said == [(7, {"samples/x": [picture]})]
    assert trackio.said == [(7, {"samples/x": ("picture", picture)})]


def test_a_strip_shows_the_clip_from_first_to_last_frame() -> None:
    frames = np.arange(9, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 1, 3), np.uint8)
    assert strip(frames)[0, :, 0].tolist() == [0, 2, 4, 6, 8]
    assert strip(frames[:2]).shape == (2, 2, 3)


def test_prompts_of_a_file_are_shown_as_text(project: Project, tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text('\ufeff a red circle moves left \n\n<b>a blue square</b> "moves" down\n')
    folder = run(project, "named", sample_every=3, sample_prompts=file, steps=3)
    page = (folder / "samples.html").read_text()
    assert "<b>" not in page and "&lt;b&gt;a blue square&lt;/b&gt;" in page
    assert len(list(folder.glob("samples/step-000003/*.mp4"))) == 2


def test_without_held_out_prompts_the_error_says_how_to_go_on(random_wan_folder: Path, tmp_path: Path) -> None:
    project = project_with_clips(tmp_path / "project", random_wan_folder, clips=1)
    give_labels(project, plant_pair(project, 0), "a", "b")
    with pytest.raises(UserError, match=r"has no held-out prompts to render, .*--sample-prompts FILE, or leave"):
        run(project, "none", sample_every=1)
    with pytest.raises(UserError, match=r"nowhere\.txt cannot be read: .*; write one prompt a line"):
        run(project, "none", sample_every=1, sample_prompts=tmp_path / "nowhere.txt")
    assert math.isfinite(log_of(run(project, "none"))[0]["loss"])
