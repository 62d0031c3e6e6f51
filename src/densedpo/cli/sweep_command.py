"""The command `sweep`: which checkpoint of a run to ship, and how strong."""

from dataclasses import asdict

from densedpo.cli.command import ProjectFolder, Result, command, console
from densedpo.cli.model_commands import AS_PUBLISHED, DryRun, Loading
from densedpo.evaluation.sweep_settings import SweepSettings
from densedpo.store.project import Project


@command
def sweep(
    project: ProjectFolder, settings: SweepSettings, *, dry_run: DryRun = False, loading: Loading = AS_PUBLISHED
) -> Result:
    """Compare checkpoints and scales of a run's adapter with the base, and with how far each drifts elsewhere."""
    from densedpo.evaluation.sweep import plan_sweep  # loads torch
    from densedpo.evaluation.sweep import sweep as compare

    opened = Project.open(project)
    if dry_run:
        plan = plan_sweep(opened, settings, loading)
        console.print(
            f"{settings.folder}: {', '.join(plan.contestants)} on {plan.prompts} prompts; better by {plan.quality}, "
            f"motion by {plan.motion or '(none runs)'}",
            markup=False,
        )
        console.print(
            f"{plan.videos_to_make} videos to make of {plan.videos}: {plan.denoiser_forwards} denoiser forwards of one "
            f"clip each, and at most {plan.drift_forwards} for the drift on {plan.drift_prompts} unrelated prompts",
            markup=False,
        )
        return asdict(plan)
    result = compare(opened, settings, loading)
    console.print(f"{result.folder}: {result.sampled} videos made, {result.scored} scored", markup=False)
    for each in result.candidates:
        kept = "-" if each.motion is None else f"{each.motion:.2f}{'' if each.keeps_motion else ' (not shown)'}"
        front = "  on the front" if each.front else ""
        console.print(
            f"  step {each.step} x{each.scale:g}: quality {each.quality.mean:+.4f} [{each.quality.low:+.4f}, "
            f"{each.quality.high:+.4f}], motion kept {kept}, drift {each.drift.mean:.2%}{front}",
            markup=False,
        )
    console.print(result.words, markup=False)
    console.print(f"picture and table: {result.page}", markup=False)
    if result.adapter:
        console.print(f"its adapter: {result.adapter}", markup=False)
    return asdict(result)
