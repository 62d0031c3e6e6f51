"""Which prompts are still to be encoded: one listing of the cache, asked about each prompt on the way past."""

from __future__ import annotations

import os
from collections.abc import Iterable

from densedpo.diffusion.protocol import VideoModel
from densedpo.models.encoded import prompt_name, prompts_folder
from densedpo.store.project import Project


class Unencoded:
    """The distinct prompts, of those it was shown, that the cache lacked when this was made; in order."""

    def __init__(self, project: Project, model: VideoModel) -> None:
        self._model, self._found = model, dict[str, None]()
        folder = prompts_folder(project, model)
        self._encoded = set(os.listdir(folder)) if folder.exists() else set()

    def look(self, prompts: Iterable[str]) -> None:
        """Show it prompts."""
        for prompt in prompts:
            if prompt_name(self._model, prompt) not in self._encoded:
                self._found[prompt] = None

    @property
    def prompts(self) -> tuple[str, ...]:
        """Those that it found."""
        return tuple(self._found)
