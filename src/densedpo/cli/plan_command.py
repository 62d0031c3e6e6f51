"""The command `plan`: what pairs and training will cost, before anything is downloaded or rented."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.table import Table

from densedpo.cli.command import Result, command, console
from densedpo.plan.settings import PlanSettings

if TYPE_CHECKING:
    from densedpo.plan.estimate import Plan

Model = Annotated[str, Parameter(help="A published model's short name, tinyworld, a diffusers folder, or a hub id.")]
GIB = 2**30
LESS_MEMORY = "try --offload model, --sharding fsdp with more --gpus, fewer --frames, or a smaller size"


@command
def plan(model: Model, settings: PlanSettings) -> Result:
    """Say what making pairs and training will cost, from a checkpoint's config files alone."""
    from densedpo.plan.estimate import WITH, make_plan  # loads torch

    found = make_plan(model, settings)
    shape = f"{found.frames} frames of {found.width} x {found.height}: {found.tokens} tokens a clip"
    console.print(f"{model}: {shape}", markup=False)
    for table in (_parameters(found), _work(found, settings), _memory(found), _time(found, settings)):
        console.print(table)
    if not any(found.fits[WITH].values()):
        console.print(f"fits none of these cards: {LESS_MEMORY}", markup=False)
    console.print("estimates from shapes, not measurements: see docs/plan.md for what is counted", markup=False)
    return {"settings": settings.model_dump(), **asdict(found)}


def _parameters(found: "Plan") -> Table:
    table = Table("part", "parameters", title="parameters", title_justify="left")
    for part, count in found.parameters.items():
        table.add_row(part, f"{count:,}")
    return table


def _work(found: "Plan", settings: PlanSettings) -> Table:
    table = Table("work", "TFLOPs", title="floating-point operations", title_justify="left")
    clip = found.clip_flops
    rows = {
        "one forward of one clip": clip.forward,
        "the same with the adapter": clip.policy_forward,
        "its backward": clip.policy_backward,
        "encode a clip": clip.encode,
        "decode a clip": clip.decode,
        f"make a pair ({found.sampling_calls} forwards, encode 1, decode 2)": found.pair_flops,
    }
    rows |= {f"a training step of {settings.batch} pairs {how}": each for how, each in found.step_flops.items()}
    for what, flops in rows.items():
        table.add_row(what, _digits(flops / 1e12))
    return table


def _memory(found: "Plan") -> Table:
    title = "memory of one GPU in training, GiB, with and without checkpointing of activations"
    table = Table("part", *found.memory, title=title, title_justify="left")
    for part in next(iter(found.memory.values())):
        table.add_row(part, *(f"{parts[part] / GIB:.2f}" for parts in found.memory.values()))
    table.add_row("sum", *(f"{sum(parts.values()) / GIB:.2f}" for parts in found.memory.values()), style="bold")
    for card in next(iter(found.fits.values())):
        table.add_row(f"fits on {card}", *("yes" if fits[card] else "no" for fits in found.fits.values()))
    return table


def _time(found: "Plan", settings: PlanSettings) -> Table:
    gpus = f"{settings.gpus} GPU" + ("s" if settings.gpus > 1 else "")
    speed = f"{settings.gpu_tflops:g} TFLOP/s at {settings.efficiency:.0%}"
    names = {"pairs": f"{settings.pairs:,} pairs"}
    table = Table("work", "hours", "cost", title=f"time on {gpus} of {speed}", title_justify="left")
    for what, hours in found.hours.items():
        cost = "give --gpu-rate" if found.cost is None else f"{found.cost[what]:,.2f}"
        table.add_row(names.get(what, f"{settings.steps:,} steps, {what}"), _digits(hours), cost)
    return table


def _digits(value: float) -> str:
    """Four significant digits; a large number with all that stand before its point."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
