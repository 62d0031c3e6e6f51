"""How close a clip stays to the real clip that guided it. No weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from densedpo.metrics.flow import grey
from densedpo.metrics.footage import Footage
from densedpo.metrics.protocol import Asked, Metric, UnmeasurableError
from densedpo.metrics.tools import Tools

C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


class ReferenceSsim(Metric):
    """Mean SSIM of sampled frames to the same frames of the reference clip."""

    name = "reference_ssim"
    title = "SSIM to the guide clip"
    aspect = "consistency"
    low, high, better = -1.0, 1.0, "neither"
    source = "Wang et al., Image Quality Assessment (2004): 11x11 Gaussian window of 1.5, grey, short side at most 256"
    blind_spot = "Penalises every deviation from the guide, improvements too; blur costs less than a shift."
    packages = ("cv2",)

    def why_not(self, tools: Tools, asked: Asked) -> str | None:
        return (
            super().why_not(tools, asked) if asked.references else "needs guide clips, give them with --reference DIR"
        )

    def measure(self, clip: Footage, tools: Tools) -> float:
        if clip.reference is None:
            raise UnmeasurableError("it has no reference clip; give them with --reference DIR")
        own, other = grey(clip), grey(clip.reference)
        if own.shape != other.shape:
            raise UnmeasurableError(f"its reference has another size or length: {own.shape} and {other.shape}")
        return float(np.mean([ssim(one, two) for one, two in zip(own, other, strict=True)]))


def ssim(one: NDArray[np.uint8], two: NDArray[np.uint8]) -> float:
    """Structural similarity of two grey images [h, w] in 0..255, over windows that lie inside, as the paper's code."""
    import cv2

    def blurred(image: NDArray[np.float32]) -> NDArray[np.float32]:
        smooth = cv2.GaussianBlur(image, (11, 11), 1.5)
        return np.asarray(smooth if min(image.shape) < 11 else smooth[5:-5, 5:-5], dtype=np.float32)

    x, y = one.astype(np.float32), two.astype(np.float32)
    mean_x, mean_y = blurred(x), blurred(y)
    square = mean_x**2 + mean_y**2
    variance = blurred(x * x + y * y) - square
    covariance = blurred(x * y) - mean_x * mean_y
    value = (2 * mean_x * mean_y + C1) * (2 * covariance + C2) / ((square + C1) * (variance + C2))
    return float(np.clip(value.mean(dtype=np.float64), -1, 1))


METRICS = (ReferenceSsim(),)
