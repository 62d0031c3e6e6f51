"""What a judge is: where it is reached, what it is shown and asked, and how much of it one can pay."""

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import Field, JsonValue

from densedpo.config import Settings, load_settings
from densedpo.errors import UserError
from densedpo.judges.vlm.instruction import TEMPLATE_VERSION
from densedpo.store.schema import content_id

Aspect = Literal["overall", "visual_quality", "text_alignment", "temporal_consistency", "motion"]
Layout = Literal["frames", "side_by_side", "grid", "video"]
Mode = Literal["segments", "whole", "both"]

ASPECTS: tuple[str, ...] = get_args(Aspect)
_FOLDER = files("densedpo.judges.vlm") / "presets"
PRESETS = tuple(sorted(each.name.removesuffix(".yaml") for each in _FOLDER.iterdir() if each.name.endswith(".yaml")))
# Of the settings, those that decide an answer to one question; a change of any makes another judge.
_ANSWER = ("model", "revision", "temperature", "max_tokens", "structured", "extra")
_LOOK = ("fps", "layout", "max_image_side", "jpeg_quality")


class JudgeSettings(Settings):
    """One judge. What decides its labels is hashed into `version`; how it is reached and paid is not."""

    base_url: str = Field(description="Where the chat API is, up to /v1.")
    model: str = Field(min_length=1, description="The model's name there; also the annotator's name.")
    revision: str = Field("", description="Which state of that model, for example a hash or a date.")
    api_key_env: str | None = Field(None, description="Name of the environment variable that holds the key.")
    fps: float = Field(8.0, gt=0, description="Frames shown of each second; at most the video's own.")
    layout: Layout = Field("frames", description="One picture a frame, both clips beside each other, grids, or video.")
    max_image_side: int = Field(768, ge=16, description="Larger pictures are scaled down to this; in pixels.")
    jpeg_quality: int = Field(92, ge=1, le=100, description="JPEG quality of the pictures.")
    mode: Mode = Field("segments", description="Judge every segment, the whole video at once, or both.")
    aspects: tuple[Aspect, ...] = Field(
        ("overall",), min_length=1, description="One question each; overall: artifacts."
    )
    both_orders: bool = Field(True, description="Ask in both orders; where they disagree it is a tie.")
    votes: int = Field(1, ge=1, le=99, description="Questions in each order; the majority counts.")
    temperature: float | None = Field(None, ge=0, le=2, description="Not sent if not given.")
    max_tokens: int = Field(1000, ge=1, description="Longest answer; an answer that is cut off is an abstention.")
    max_tokens_name: Literal["max_completion_tokens", "max_tokens"] = Field(
        "max_completion_tokens", description="What the server calls that limit."
    )
    structured: Literal["json_schema", "json_object", "none"] = Field(
        "json_schema", description="How the server is made to answer in JSON."
    )
    extra: dict[str, JsonValue] = Field(default_factory=dict, description="Further fields of the request.")
    concurrency: int = Field(8, ge=1, le=1024, description="Requests at a time.")
    requests_per_minute: float | None = Field(None, gt=0, description="Rate limit; none if not given.")
    tokens_per_minute: float | None = Field(None, gt=0, description="Rate limit; none if not given.")
    timeout: float = Field(120.0, gt=0, description="Seconds until a request is given up and sent again.")
    retries: int = Field(8, ge=0, description="How often a request that failed is sent again.")
    price_in: float | None = Field(None, ge=0, description="Money for a million tokens asked.")
    price_out: float | None = Field(None, ge=0, description="Money for a million tokens answered.")
    budget_money: float | None = Field(None, gt=0, description="Most that this model may cost in this project.")
    budget_tokens: int | None = Field(None, gt=0, description="Most tokens for this model in this project.")
    image_token_pixels: float = Field(784.0, gt=0, description="Pixels that one token holds, for estimates.")

    @property
    def judge_version(self) -> str:
        """12 hex characters over what decides an answer to one question."""
        return content_id("judge", TEMPLATE_VERSION, self.model_dump(mode="json", include={*_ANSWER, *_LOOK}))[:12]

    @property
    def version(self) -> str:
        """The annotator's version: `judge_version`, and how many answers make one label."""
        return content_id("vlm", self.judge_version, self.votes, self.both_orders)[:12]

    @property
    def sampling(self) -> dict[str, Any]:
        """The settings, beside what is shown and said, by which one answer differs from another."""
        return self.model_dump(mode="json", include=set(_ANSWER))


def load_judge(judge: str, overrides: Mapping[str, Any]) -> JudgeSettings:
    """The settings of a preset (its name) or of a YAML file (its path), with `overrides` on top.

    Raises UserError with all mistakes at once, and if there is no such preset or file.
    """
    if judge in PRESETS:
        settings = load_settings(JudgeSettings, Path(str(_FOLDER / f"{judge}.yaml")), overrides)
    elif Path(judge).suffix in (".yaml", ".yml") or Path(judge).exists():
        settings = load_settings(JudgeSettings, Path(judge), overrides)
    else:
        near = difflib.get_close_matches(judge, PRESETS, n=1, cutoff=0.0)[0]
        raise UserError(
            f"there is no judge {judge!r}; did you mean {near}? Presets are {', '.join(PRESETS)}; or give a YAML file"
        )
    if mistakes := list(_contradictions(settings)):
        raise UserError(f"mistakes in the settings of judge {judge}:\n" + "\n".join(f"  - {each}" for each in mistakes))
    return settings


def api_key(settings: JudgeSettings) -> str | None:
    """The key, from the environment only; None if the judge needs none. Raises UserError if it is not there."""
    if settings.api_key_env is None:
        return None
    key = os.environ.get(settings.api_key_env, "").strip()
    if not key:
        raise UserError(
            f"the environment variable {settings.api_key_env} is not set, and it should hold the key for "
            f"{settings.base_url}; export it and run again"
        )
    return key


def _contradictions(settings: JudgeSettings) -> Iterator[str]:
    """What is wrong between settings. Values that may hold a secret are not repeated."""
    if settings.api_key_env is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", settings.api_key_env):
        yield "api_key_env must be the NAME of an environment variable, in capitals, never the key itself"
    url = urlsplit(settings.base_url)
    if url.username or url.password or url.query:
        yield "base_url holds a name, a password or a query; give the key through api_key_env instead"
    elif settings.base_url != "local" and url.scheme not in ("http", "https"):
        yield f"base_url {settings.base_url} should begin with http:// or https://"
    if settings.votes > 1 and settings.temperature == 0:
        yield "votes above 1 ask the same again, and at temperature 0 the answer is the same; raise the temperature"
    if settings.budget_money is not None and None in (settings.price_in, settings.price_out):
        yield "budget_money needs price_in and price_out, in the same money for a million tokens"
    if own := {"model", "messages", "response_format", "n", "stream"} & settings.extra.keys():
        yield f"extra may not hold {', '.join(sorted(own))}; there are settings for what the judge is asked"
    if len(set(settings.aspects)) < len(settings.aspects):
        yield "aspects names one twice"
