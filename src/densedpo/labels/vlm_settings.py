"""Which pairs a vision-language judge labels, and what is changed of its settings for this run."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from densedpo.config import Settings
from densedpo.errors import UserError
from densedpo.files import file_digest
from densedpo.judges.vlm.settings import Aspect, JudgeSettings, Layout, Mode, load_judge
from densedpo.store.schema import Split, content_id

# Of the fields below, those that are not the judge's own.
_NOT_THE_JUDGES = ("judge", "local", "split", "pair_mode", "include_near_identical", "count")


class VlmLabelSettings(Settings):
    """A judge and the pairs for it. What is None here stays as the judge's preset or file has it."""

    judge: str | None = Field(None, description="A preset's name, or a YAML file of judge settings.")
    local: Path | None = Field(None, description="A model folder to judge with in this process, without a server.")
    split: Split | None = Field(None, description="Pairs of this split only; all if not given.")
    pair_mode: Literal["guided", "independent", "imported"] | None = Field(
        None, description="Pairs of this mode only; all if not given."
    )
    include_near_identical: bool = Field(
        False, description="Also judge pairs whose members hardly differ; they say next to nothing."
    )
    count: int | None = Field(None, ge=1, description="The first so many pairs only: a trial before paying for all.")
    base_url: str | None = Field(None, description="Instead of the judge's: where the chat API is, up to /v1.")
    model: str | None = Field(None, description="Instead of the judge's: the model's name there.")
    mode: Mode | None = Field(None, description="Instead of the judge's: segments, whole videos, or both.")
    aspects: tuple[Aspect, ...] | None = Field(None, description="Instead of the judge's: what is asked about.")
    layout: Layout | None = Field(None, description="Instead of the judge's: how frames are shown.")
    votes: int | None = Field(None, ge=1, description="Instead of the judge's: questions in each order.")
    concurrency: int | None = Field(None, ge=1, description="Instead of the judge's: requests at a time.")
    budget_money: float | None = Field(None, gt=0, description="Most that the model may cost in this project, in all.")
    budget_tokens: int | None = Field(None, gt=0, description="Most tokens for the model in this project, in all.")

    def resolve(self) -> JudgeSettings:
        """The judge's settings with what is changed here. Raises UserError for mistakes in them."""
        changed: dict[str, Any] = self.model_dump(mode="json", exclude=set(_NOT_THE_JUDGES), exclude_none=True)
        if self.local is not None:
            name = {"model": self.local.resolve().name, "revision": weights_revision(self.local)}
            return load_judge(self.judge or "local", changed | name | {"base_url": "local", "concurrency": 1})
        if self.judge in (None, "local"):
            raise UserError("say who judges: --judge PRESET (or a YAML file), or --local MODEL_FOLDER")
        return load_judge(str(self.judge), changed)


def weights_revision(folder: Path) -> str:
    """12 hex characters over the configuration and weights of a model folder. Raises UserError if it is none."""
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} is no model folder (it has no config.json); download the model's files to it")
    decide = [path for path in sorted(folder.iterdir()) if path.suffix in (".json", ".safetensors", ".jinja")]
    return content_id([(path.name, file_digest(path)) for path in decide])[:12]
