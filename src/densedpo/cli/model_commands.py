"""The commands that run a model: encode, preview-eta, pairs, train."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from densedpo.cli.command import ProjectFolder, Result, command, console
from densedpo.cli.shapes import listed_shapes, tell_shapes
from densedpo.errors import UserError
from densedpo.models.settings import LoadSettings
from densedpo.pairs.settings import PairSettings, PreviewSettings
from densedpo.store.project import Project
from densedpo.store.shapes import Shape
from densedpo.training.settings import TrainSettings

if TYPE_CHECKING:
    from densedpo.diffusion.protocol import VideoModel
    from densedpo.training.data import Dataset

DryRun = Annotated[bool, Parameter(negative="", help="Say what would be done and what it would cost; do nothing.")]
Loading = Annotated[LoadSettings, Parameter(name="*", group="Loading the model", help="How the model is loaded.")]
AS_PUBLISHED = LoadSettings()


@command
def encode(project: ProjectFolder, *, loading: Loading = AS_PUBLISHED) -> Result:
    """Encode all clips and captions into the project's cache."""
    from densedpo.models import load_model
    from densedpo.pairs.encode import encode as run

    opened = Project.open(project)
    clips, prompts = run(opened, load_model(opened.settings.model, loading))
    console.print(f"{project}: {clips} clips and {prompts} prompts encoded", markup=False)
    return {"clips": clips, "prompts": prompts}


@command
def preview_eta(
    project: ProjectFolder,
    settings: PreviewSettings,
    *,
    out: Annotated[Path | None, Parameter(help="The PNG to write; PROJECT/preview-eta.png if not given.")] = None,
    loading: Loading = AS_PUBLISHED,
) -> Result:
    """Show what different noise levels do to a few clips, before thousands of pairs are paid for."""
    from densedpo.models import load_model
    from densedpo.pairs.preview import preview_eta as run

    opened = Project.open(project)
    path = out or opened.root / "preview-eta.png"
    cells = run(opened, load_model(opened.settings.model, loading), settings, path)
    for eta in sorted(settings.etas):
        row = [cell for cell in cells if cell.eta == eta]
        apart = sum(cell.distance for cell in row) / len(row)
        calls = row[0].model_calls
        console.print(f"eta {eta:.3g}: {calls} sampling steps, a and b {apart:.3f} apart on average", markup=False)
    console.print(f"written: {path}", markup=False)
    return {"image": path, "cells": [vars(cell) for cell in cells]}


@command
def pairs(
    project: ProjectFolder, settings: PairSettings, *, dry_run: DryRun = False, loading: Loading = AS_PUBLISHED
) -> Result:
    """Make aligned pairs from the project's clips."""
    from densedpo.models import load_model
    from densedpo.pairs.make import make_pairs, remaining
    from densedpo.pairs.recipe import schedule

    opened = Project.open(project)
    model = load_model(opened.settings.model, loading)
    if dry_run:
        recipes = [recipe for batch in remaining(opened, model, settings) for _, recipe in batch]
        branches = [2 if recipe["guidance"] > 1 else 1 for recipe in recipes]
        steps = [len(schedule(recipe, model)) - 1 for recipe in recipes]
        calls = sum(2 * each * count for each, count in zip(branches, steps, strict=True))
        console.print(f"{project}: {len(recipes)} pairs, {calls} denoiser forwards of one clip each", markup=False)
        shapes = Counter(Shape(recipe["frames"], recipe["width"], recipe["height"]) for recipe in recipes)
        tell_shapes(project, shapes, "pairs")
        return {"pairs": len(recipes), "denoiser_forwards": calls, "shapes": listed_shapes(shapes)}
    report = make_pairs(opened, model, settings)
    console.print(
        f"{project}: {report.made} pairs made of {report.planned} planned; {report.near_identical} near-identical",
        markup=False,
    )
    return vars(report)


@command
def train(
    project: ProjectFolder,
    settings: TrainSettings,
    *,
    name: Annotated[str | None, Parameter(help="The run's name; the method if not given.")] = None,
    dry_run: DryRun = False,
    loading: Loading = AS_PUBLISHED,
) -> Result:
    """Train a LoRA adapter from the labels into runs/NAME."""
    from densedpo.models import load_model
    from densedpo.training.loop import train as run
    from densedpo.training.selection import load_dataset

    opened = Project.open(project)
    model = load_model(opened.settings.model, loading)
    chosen = name or settings.method
    if chosen == "base":
        raise UserError("a run cannot be named base: that is what the evaluation calls the model without an adapter")
    dataset = load_dataset(opened, model, settings)
    if dataset.foreign:
        console.print(
            f"warning: {dataset.foreign} pairs were made by other weights than those being trained; expect a weaker "
            "effect",
            markup=False,
        )
    _tell_expert(model, loading.expert, dataset.etas.tolist())
    left_out = "".join(f"; {count} left out {reason}" for reason, count in dataset.left_out.items())
    kind = "clips" if dataset.clips else "pairs"
    console.print(f"{chosen}: {settings.method} on {len(dataset)} {kind}{left_out}", markup=False)
    if dry_run or len(dataset.counts) > 1:
        tell_shapes(project, dataset.counts, kind)
    if settings.method != "sft":
        _tell_beta(dataset)
    if dry_run:
        shapes = listed_shapes(dataset.counts)
        return {"run": chosen, "pairs": len(dataset), "left_out": dataset.left_out, "shapes": shapes}
    report = run(opened, model, settings, chosen, dataset)
    console.print(
        f"{chosen}: {report.steps} steps in {report.seconds:.0f} s; adapter in {report.adapter}", markup=False
    )
    if settings.reference_draws:
        _tell_reuse(report.reference_forwards, report.reference_forwards_saved)
    return {**vars(report), "run": chosen}


@command
def reference(
    project: ProjectFolder,
    settings: TrainSettings,
    *,
    part: Annotated[int, Parameter(help="Which part of the work this process does, from 1.")] = 1,
    parts: Annotated[int, Parameter(help="In how many parts the work is done.")] = 1,
    loading: Loading = AS_PUBLISHED,
) -> Result:
    """Compute the reference's errors ahead, for all runs that draw alike; a run computes what is missing by itself."""
    from densedpo.models import load_model
    from densedpo.training.precompute import precompute

    opened = Project.open(project)
    computed, total = precompute(opened, load_model(opened.settings.model, loading), settings, part, parts)
    console.print(f"{project}: {computed} entries computed of {total}", markup=False)
    return {"computed": computed, "entries": total}


def _tell_beta(dataset: "Dataset") -> None:
    """The strength of the preference in the unit that other projects' values can be compared in."""
    settings, beta = dataset.settings, dataset.beta_mean
    given = f" (beta {settings.beta:g} on sums of squared errors)" if settings.beta_unit == "sum" else ""
    console.print(
        f"beta {beta:g} on mean squared errors{given}: -log sigmoid(-{0.5 * beta:g} (Delta_w - Delta_l))", markup=False
    )


def _tell_reuse(computed: int, saved: int) -> None:
    """What the reference table was good for."""
    reuse = f"each of the {computed} computed was used {(computed + saved) / computed:.1f} times; " if computed else ""
    console.print(f"reference table: {reuse}{saved} reference forwards (of a pair each) saved", markup=False)


def _tell_expert(model: "VideoModel", expert: str, etas: Sequence[float | None]) -> None:
    """Of a model with two experts, say which is trained, and warn of guided pairs that it never shaped."""
    from densedpo.diffusion.protocol import served_sigmas

    if model.defaults.boundary is None:
        return
    low, high = served_sigmas(model)
    levels = f"noise levels from {low:g} to {min(high, 1.0):g}"
    console.print(f"this model has two experts: training the {expert}-noise one, of {levels} (--expert)", markup=False)
    untouched = sum(eta is not None and eta < low for eta in etas)
    if untouched:
        console.print(
            f"warning: {untouched} guided pairs start below {low:g}, where the {expert}-noise expert never works: they "
            "teach it little; train the other with --expert low",
            markup=False,
        )
