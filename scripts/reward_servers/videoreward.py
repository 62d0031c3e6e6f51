"""Serve VideoReward (VideoAlign, arXiv 2501.13918). NEVER RUN WITH REAL WEIGHTS HERE: written from its published code.

    git clone https://github.com/KwaiVGI/VideoAlign && pip install -r videoreward.requirements.txt
    huggingface-cli download KwaiVGI/VideoReward --local-dir VideoAlign/checkpoints
    densedpo label reward PROJECT --scorer videoreward --start-timeout 900 \
        --command "/path/to/its/python scripts/reward_servers/videoreward.py --repo VideoAlign"

Calls `VideoVLMRewardInference.reward` of the repository's `inference.py`, which gives normalised VQ, MQ, TA and their
sum. Frames are taken at the rate of the checkpoint's configuration unless `--fps` says otherwise; on segments of one
second a higher rate, such as 8, shows it more than a frame or two.
"""

from __future__ import annotations

import argparse
import os
import sys

from serve import Request, Score, segment_file, serve

NAMES = {"Overall": "overall", "VQ": "visual_quality", "MQ": "motion_quality", "TA": "text_alignment"}


def load(options: argparse.Namespace) -> Score:
    """Load the model as the makers' script does."""
    repo = os.path.abspath(options.repo)
    checkpoint = os.path.abspath(options.checkpoint or os.path.join(repo, "checkpoints"))
    sys.path.insert(0, repo)
    import torch
    from inference import VideoVLMRewardInference

    model = VideoVLMRewardInference(checkpoint, device=options.device, dtype=torch.bfloat16)

    def score(request: Request) -> dict[str, float]:
        with segment_file(request) as path, torch.no_grad():
            rewards = model.reward([path], [request.caption], fps=options.fps, use_norm=True)
        return {ours: rewards[0][theirs] for theirs, ours in NAMES.items()}

    return score


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve VideoReward to densedpo.")
    parser.add_argument("--repo", required=True, help="the cloned repository")
    parser.add_argument("--checkpoint", help="folder of the weights; checkpoints in the repository if not given")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--fps", type=float, help="frames a second that the model looks at")
    serve("videoreward", list(NAMES.values()), load, parser)
