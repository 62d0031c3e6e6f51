"""The log in TensorBoard, wandb or trackio, through Accelerate's trackers; log.jsonl stays the one that counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from densedpo.errors import UserError
from densedpo.training.settings import TrainSettings

EXTRA = {"tensorboard": "densedpo[track]", "wandb": "wandb", "trackio": "trackio"}


class Tracker(Protocol):
    """As much of Accelerate's trackers as is used."""

    def log(self, values: dict[str, float], step: int | None) -> None:
        """Send numbers of one step."""
        ...


def wanted(settings: TrainSettings) -> tuple[str, ...]:
    """The trackers asked for; TensorBoard where it is installed, if nothing was asked.

    Raises:
        UserError: one that was asked for is not installed.
    """
    if settings.track is None:
        return ("tensorboard",) if find_spec("tensorboard") else ()
    for name in settings.track:
        if not find_spec(name):
            raise UserError(f"--track {name}: it is not installed; pip install '{EXTRA[name]}', or leave it out")
    return settings.track


@contextmanager
def trackers(settings: TrainSettings, run: Path, first: int) -> Iterator[list[Tracker]]:
    """The trackers, from step `first` on (a resumed run takes back what it had said beyond), closed at the end."""
    opened: list[Any] = []
    names = wanted(settings)
    if names:
        from accelerate.state import PartialState
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        PartialState()
        for name in names:
            kind = LOGGER_TYPE_TO_CLASS[name]
            if name == "tensorboard":
                opened.append(kind(run.name, logging_dir=run / "tensorboard", purge_step=first))
            else:
                opened.append(kind(run.name))
            opened[-1].start()
            if name != "tensorboard":
                opened[-1].store_init_configuration(settings.model_dump(mode="json"))
    try:
        yield opened
    finally:
        for each in opened:
            each.finish()


def show(tracker: Any, pictures: Mapping[str, NDArray[np.uint8]], step: int) -> None:
    """Send pictures, name → `[H, W, 3]`, to a tracker of `trackers`."""
    if tracker.name == "tensorboard":
        tracker.log_images({name: each[None] for name, each in pictures.items()}, step=step, dataformats="NHWC")
    elif tracker.name == "wandb":
        tracker.log_images({name: [each] for name, each in pictures.items()}, step=step)
    else:  # Accelerate's tracker of trackio has no pictures of its own
        trackio = import_module("trackio")
        tracker.log({name: trackio.Image(each) for name, each in pictures.items()}, step=step)


def flat(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a log row, nested ones under names like by_sigma/0.2/accuracy."""
    numbers: dict[str, float] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            numbers |= {f"{name}/{inner}": number for inner, number in flat(value).items()}
        elif isinstance(value, (int, float)) and name != "step":
            numbers[name] = float(value)
    return numbers
