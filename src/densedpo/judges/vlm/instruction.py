"""The words of the question, from the versioned template beside this file.

They ask, in our own words, what the judge of DenseDPO (arXiv 2506.03517) is asked: which of two clips that are alike in
structure has fewer artifacts, conservatively, with ties.
"""

import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

ARTIFACT_KINDS = (
    *("distortion", "extra parts", "missing parts", "deformed parts", "sudden appearance", "sudden disappearance"),
    *("melting", "flicker", "noise", "blocks", "blur", "smearing", "other"),
)
_FILE = files("densedpo.judges.vlm") / "instruction_v1.j2"
_TEXT = _FILE.read_text(encoding="utf-8")
# The number and the content, so that even a change that forgot to count up is another instruction.
TEMPLATE_VERSION = f"1-{hashlib.sha256(_TEXT.encode()).hexdigest()[:8]}"
_macros: Any = Environment(undefined=StrictUndefined).from_string(_TEXT, globals={"kinds": ARTIFACT_KINDS}).module


def system(aspect: str) -> str:
    """What the judge is and how it answers: the same text for every pair."""
    return str(_macros.system(aspect))


def question(caption: str, layout: str, times: Sequence[float], whole: bool) -> str:
    """What is shown now. The caption stands in it as one JSON string, so it cannot end its own quotation."""
    told = ", ".join(f"{time:.3f}" for time in times)
    return str(_macros.question(as_data(caption), layout, len(times), told, whole))


def closing() -> str:
    """What is said after the pictures."""
    return str(_macros.closing())


def as_data(caption: str) -> str:
    """A caption as one JSON string on one line; the line breaks that JSON allows are escaped too."""
    text = json.dumps(caption, ensure_ascii=False)
    return "".join(f"\\u{ord(sign):04x}" if sign in "\x7f\x85\u2028\u2029" else sign for sign in text)
