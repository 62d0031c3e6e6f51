"""What processes do that tests start: train the runs that are described to them, one after the other, by the real loop.

Leaves beside each run, for each process, how many bytes of the denoiser's weights it had before and holds afterwards.
"""

import json
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor

from densedpo.models import load_model
from densedpo.store.project import Project
from densedpo.training import TrainSettings
from densedpo.training.loop import train


def held(denoiser: torch.nn.Module) -> int:
    """Bytes of storage behind all parameters."""
    tensors = [p.to_local() if isinstance(p, DTensor) else p for p in denoiser.parameters()]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


def train_runs(runs: list[tuple[str, str, dict[str, object]]], rank: str) -> None:
    torch.accelerator.device_count = lambda: 2  # diffusers divides by it, and it is 0 on a CPU
    for root, name, settings in runs:
        project = Project.open(Path(root))
        model = load_model(project.settings.model, device="cpu")  # anew: a sharded one stays so
        whole = held(model.denoiser)
        run = train(project, model, TrainSettings(**settings), name).run
        (run / f"held-{rank}.json").write_text(json.dumps({"whole": whole, "held": held(model.denoiser)}))
