"""VBench's dynamic degree: RAFT flow between frames sampled eight times a second."""

from __future__ import annotations

from densedpo.judges.scorers.motion import sampling_interval
from densedpo.metrics.footage import Footage
from densedpo.metrics.protocol import Metric
from densedpo.metrics.tools import Need, Tools
from densedpo.metrics.vbench import is_dynamic, top_magnitude

RAFT = Need(
    "raft-things",
    "RAFT's raft-things weights as torchvision has them (raft_large_C_T_V1-22a6c225.pth)",
    cached=(("torch", "raft_large_C_T_V1-22a6c225.pth"),),
)


class DynamicDegree(Metric):
    """1 for a clip that moves, 0 for one that does not; its mean is the share of dynamic clips."""

    name = "vbench_dynamic_degree"
    title = "Dynamic degree (VBench)"
    aspect = "motion"
    amount = True
    low, high, better = 0.0, 1.0, "neither"
    source = "VBench dynamic_degree.py; torchvision's RAFT, whose C_T_V1 weights were ported from raft-things"
    blind_spot = "Any motion counts, a camera shake or flicker too; above the threshold it cannot tell more from less."
    packages = ("torch", "torchvision")
    needs = (RAFT,)

    def measure(self, clip: Footage, tools: Tools) -> float:
        from densedpo.metrics.networks.features import raft_flows

        frames = clip.frames[:: sampling_interval(clip.fps)]
        flows = raft_flows(frames, tools, tools.required(RAFT))
        return float(is_dynamic([top_magnitude(flow) for flow in flows], len(frames), min(frames.shape[1:3])))


METRICS = (DynamicDegree(),)
