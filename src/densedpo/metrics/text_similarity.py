"""Text alignment by a CLIP or SigLIP of the user's choice."""

from __future__ import annotations

from densedpo.metrics.footage import Footage
from densedpo.metrics.protocol import Asked, Metric, UnmeasurableError
from densedpo.metrics.tools import Need, Tools

TOWERS = Need("text-image", "a CLIP or SigLIP (a folder in the layout of transformers)")


class TextSimilarity(Metric):
    """Mean over frames of the cosine between the caption's and the frame's features; comparable within one network."""

    name = "text_similarity"
    title = "Text similarity (CLIP or SigLIP)"
    aspect = "text"
    low, high, better = -1.0, 1.0, "higher"
    source = "CLIPScore (Hessel et al., EMNLP 2021) without its factor and clipping, averaged over frames"
    blind_spot = "Sees mostly which things are there, hardly verbs, directions and counts: stillness costs little."
    packages = ("torch", "transformers")
    needs = (TOWERS,)

    def why_not(self, tools: Tools, asked: Asked) -> str | None:
        if asked.captions and all(caption is None for caption in asked.captions):
            return "needs captions, give them with --prompts FILE"
        return super().why_not(tools, asked)

    def measure(self, clip: Footage, tools: Tools) -> float:
        from densedpo.metrics.networks.features import text_image_cosine

        if clip.caption is None:
            raise UnmeasurableError("its caption is unknown; give captions with --prompts FILE")
        return text_image_cosine(clip, clip.caption, tools, tools.required(TOWERS))


METRICS = (TextSimilarity(),)
