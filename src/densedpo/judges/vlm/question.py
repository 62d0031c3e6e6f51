"""One request to a judge: its body, its identity, its size."""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from densedpo.judges.vlm import instruction
from densedpo.judges.vlm.answer import SCHEMA
from densedpo.judges.vlm.frames import Part
from densedpo.judges.vlm.settings import JudgeSettings
from densedpo.store.schema import content_id

CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked once: two clips, `order` ab or ba, for the `vote`-th time. `id` hashes what decides the answer."""

    id: str
    aspect: str
    order: Literal["ab", "ba"]
    vote: int
    texts: tuple[str, str, str]  # instruction, before the pictures, after them
    parts: tuple[Part, ...]

    @classmethod
    def make(
        cls,
        settings: JudgeSettings,
        *,
        aspect: str,
        order: Literal["ab", "ba"],
        vote: int,
        caption: str,
        times: Sequence[float],
        whole: bool,
        parts: tuple[Part, ...],
    ) -> "Question":
        """The question about the clips in `parts`, whose frames are from `times` seconds."""
        before = instruction.question(caption, settings.layout, times, whole)
        texts = (instruction.system(aspect), before, instruction.closing())
        pictures = [
            [part.text, part.video, [hashlib.sha256(jpeg).hexdigest() for jpeg in part.jpegs]] for part in parts
        ]
        what = (instruction.TEMPLATE_VERSION, texts, pictures, aspect, order, settings.sampling, vote)
        return cls(content_id("judgement", *what), aspect, order, vote, texts, parts)

    def body(self, settings: JudgeSettings) -> dict[str, Any]:
        """The request's body for POST /chat/completions."""
        content = [
            _text(self.texts[1]),
            *(each for part in self.parts for each in _content(part)),
            _text(self.texts[2]),
        ]
        body: dict[str, Any] = {
            "model": settings.model,
            "messages": [{"role": "system", "content": self.texts[0]}, {"role": "user", "content": content}],
            settings.max_tokens_name: settings.max_tokens,
        }
        if settings.temperature is not None:
            body["temperature"] = settings.temperature
        if settings.structured == "json_schema":
            schema = {"name": "verdict", "strict": True, "schema": SCHEMA}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif settings.structured == "json_object":
            body["response_format"] = {"type": "json_object"}
        return body | settings.extra

    def tokens_in(self, settings: JudgeSettings) -> int:
        """About how many tokens it asks."""
        text = sum(len(each) for each in (*self.texts, *(part.text for part in self.parts)))
        return estimated_tokens(text, sum(part.pixels for part in self.parts), settings)


def estimated_tokens(characters: int, pixels: float, settings: JudgeSettings) -> int:
    """About how many tokens a text and pictures of so many pixels are."""
    return round(characters / CHARACTERS_PER_TOKEN + pixels / settings.image_token_pixels)


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _content(part: Part) -> Iterator[dict[str, Any]]:
    yield _text(part.text)
    encoded = [base64.b64encode(jpeg).decode("ascii") for jpeg in part.jpegs]
    if part.video:  # how vLLM takes a video as its frames
        yield {"type": "video_url", "video_url": {"url": f"data:video/jpeg;base64,{','.join(encoded)}"}}
    else:
        for each in encoded:
            yield {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{each}"}}
