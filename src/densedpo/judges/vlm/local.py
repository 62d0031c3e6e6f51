"""A judge in this process: a model folder through transformers' image-text-to-text classes, frames as images.

The only file of the judge that loads torch. Nothing makes the model answer in JSON here but the instruction, so a small
model abstains more often than behind a server with structured output.
"""

from __future__ import annotations

import asyncio
import importlib.util
import io
import json
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from densedpo.errors import UserError
from densedpo.judges.vlm.answer import Verdict, read_completion
from densedpo.judges.vlm.question import Question
from densedpo.judges.vlm.settings import JudgeSettings


class LocalJudge:
    """Answers questions with the model in `folder`, one at a time; on the first GPU if there is one."""

    def __init__(self, folder: Path, settings: JudgeSettings) -> None:
        """Load the model. Raises UserError if the folder holds no such model, or the layout is `video`."""
        if settings.layout == "video":
            raise UserError("a local judge takes frames as images; choose --layout frames, side_by_side or grid")
        self.settings = settings
        try:
            self._processor = processor(folder)
            model: Any = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True, dtype="auto")
        except (OSError, ValueError, KeyError, ImportError) as error:
            told = str(error).strip().splitlines()[0]
            raise UserError(f"{folder} holds no image-text-to-text model with its processor ({told})") from None
        self._model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()

    async def close(self) -> None:
        """Nothing to let go of."""

    async def ask(self, question: Question, tokens: int) -> Verdict:
        """As `Judge.ask`; the model always answers something."""
        return await asyncio.to_thread(self._answer, question)

    def _answer(self, question: Question) -> Verdict:
        started = time.monotonic()
        inputs = self._processor.apply_chat_template(
            messages(question), add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        ).to(self._model.device)
        sampling: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if self.settings.temperature:
            sampling = {"do_sample": True, "temperature": self.settings.temperature}
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(int(question.id[:15], 16))  # the draw belongs to the question
            output = self._model.generate(**inputs, max_new_tokens=self.settings.max_tokens, **sampling)
        asked = inputs["input_ids"].shape[1]
        text = self._processor.batch_decode(output[:, asked:], skip_special_tokens=True)[0]
        answered = output.shape[1] - asked
        ended = output[0, -1].item() in _ids(self._model.generation_config.eos_token_id)
        raw = completion(text, asked, answered, cut=answered >= self.settings.max_tokens and not ended)
        return read_completion(raw, round(1000 * (time.monotonic() - started)))


def processor(folder: Path) -> Any:
    """The model's processor; without its video half where torchvision, which only that half needs, is absent."""
    if importlib.util.find_spec("torchvision"):
        return AutoProcessor.from_pretrained(folder, local_files_only=True)
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    whole: Any = PROCESSOR_MAPPING[type(config)]
    if "video_processor" not in whole.get_attributes():
        return AutoProcessor.from_pretrained(folder, local_files_only=True)

    class PicturesOnly(whole):  # type: ignore[misc]
        def check_argument_for_proper_class(self, argument_name: str, argument: object) -> object:
            if argument_name == "video_processor":
                return None
            return super().check_argument_for_proper_class(argument_name, argument)

    words = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    pictures = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    return PicturesOnly(pictures, words, None, chat_template=words.chat_template)


def _ids(tokens: int | list[int] | None) -> list[int]:
    return tokens if isinstance(tokens, list) else [] if tokens is None else [tokens]


def messages(question: Question) -> list[dict[str, Any]]:
    """The question as transformers' chat templates take it, pictures decoded."""
    content: list[dict[str, Any]] = [{"type": "text", "text": question.texts[1]}]
    for part in question.parts:
        content.append({"type": "text", "text": part.text})
        content += [{"type": "image", "image": Image.open(io.BytesIO(jpeg)).convert("RGB")} for jpeg in part.jpegs]
    content.append({"type": "text", "text": question.texts[2]})
    system = [{"type": "text", "text": question.texts[0]}]
    return [{"role": "system", "content": system}, {"role": "user", "content": content}]


def completion(text: str, asked: int, answered: int, cut: bool) -> str:
    """What a server would have answered, so that both are read alike."""
    choice = {"finish_reason": "length" if cut else "stop", "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": asked, "completion_tokens": answered}
    return json.dumps({"choices": [choice], "usage": usage}, ensure_ascii=False)
