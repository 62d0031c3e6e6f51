"""Which prompts are still to be encoded: one walk over the prompts' column, one listing of the cache."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from densedpo.chunks import chunks
from densedpo.diffusion.protocol import VideoModel
from densedpo.models.encoded import prompt_name, prompts_folder
from densedpo.store.opinions import pair_columns
from densedpo.store.project import BATCH, Project
from densedpo.training.data import Dataset, mode_of


def prompts_of(dataset: Dataset) -> Iterator[str]:
    """Every example's prompt, in order."""
    if dataset.clips:
        for part in chunks(range(len(dataset)), BATCH):
            yield from (example.prompt for example in dataset.examples(part))
        return
    for rows in pair_columns(dataset.project, ("prompt",), dataset.split, mode_of(dataset.settings)):
        chosen = np.isin(np.array([row[0] for row in rows], "S32"), _between(dataset, rows[0][0], rows[-1][0]))
        yield from (row[1] for row, of_dataset in zip(rows, chosen, strict=True) if of_dataset)


def _between(dataset: Dataset, first: str, last: str) -> np.ndarray[tuple[int], np.dtype[np.bytes_]]:
    """The dataset's ids in this range: they are in order."""
    begin, end = np.searchsorted(dataset.id_N, np.array([first, last], "S32"))
    return dataset.id_N[begin : end + 1]


def unencoded(project: Project, model: VideoModel, *datasets: Dataset | None) -> list[str]:
    """The distinct prompts of these datasets that the cache lacks."""
    folder = prompts_folder(project, model)
    encoded = set(os.listdir(folder)) if folder.exists() else set()
    missing = (
        prompt
        for dataset in datasets
        if dataset is not None
        for prompt in prompts_of(dataset)
        if prompt_name(model, prompt) not in encoded
    )
    return list(dict.fromkeys(missing))
