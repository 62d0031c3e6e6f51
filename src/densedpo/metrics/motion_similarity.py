"""How alike two clips from the same start move. No weights."""

from __future__ import annotations

from densedpo.judges.scorers.motion import Flow, opencv
from densedpo.metrics.flow import forward_flow
from densedpo.metrics.footage import Footage
from densedpo.metrics.protocol import Asked, Metric, UnmeasurableError
from densedpo.metrics.tools import Tools

STILL = 0.05  # pixels, root mean square; two clips below it have no motion to compare


class MotionSimilarity(Metric):
    """2 <u, v> / (|u|^2 + |v|^2) over the flows u, v of both clips: 1 for equal motion, 0 if one stands still."""

    name = "motion_similarity"
    title = "Motion similarity to the base's clip"
    aspect = "motion"
    low, high, better = -1.0, 1.0, "neither"
    source = "normalised inner product of both clips' DIS flow fields, so both direction and speed must agree"
    blind_spot = "Says nothing about which of the two motions is right, and little where both hardly move."
    packages = ("cv2",)

    def why_not(self, tools: Tools, asked: Asked) -> str | None:
        return super().why_not(tools, asked) if asked.partners else "needs two contestants or more"

    def measure(self, clip: Footage, tools: Tools) -> float:
        if clip.partner is None:
            raise UnmeasurableError("it has no partner: it is the first contestant, or the only one")
        u, v = forward_flow(clip), forward_flow(clip.partner)
        if u.shape != v.shape:
            raise UnmeasurableError(f"its partner has another size or length: flows of {u.shape} and {v.shape}")
        power = _power(u) + _power(v)
        if power < 2 * STILL**2 * u[..., 0].size:
            raise UnmeasurableError("both clips stand still")
        return 1 - _power(u - v) / power  # as |u - v|^2 = |u|^2 + |v|^2 - 2 <u, v>


def _power(flow: Flow) -> float:
    """The sum of squares, in double precision."""
    return float(opencv().norm(flow.reshape(-1), opencv().NORM_L2SQR))


METRICS = (MotionSimilarity(),)
