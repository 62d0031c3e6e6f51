"""The command by which a vision-language model labels pairs."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from densedpo.cli.command import ProjectFolder, Result, command, console
from densedpo.errors import UserError
from densedpo.labels import (
    VlmLabelReport,
    VlmLabelSettings,
    VlmPlan,
    VlmStaticReport,
    plan_vlm,
    static_test_vlm,
    write_vlm_batch,
)
from densedpo.labels import label_vlm as label_with_vlm
from densedpo.store.project import Project

DryRun = Annotated[bool, Parameter(negative="", help="Only say how many questions it takes and what they cost.")]
BatchOut = Annotated[Path | None, Parameter(help="Write the questions as batch file(s) instead of asking them.")]
BatchIn = Annotated[
    tuple[Path, ...],
    Parameter(help="Take the answers from these results of a batch.", consume_multiple=True, negative_iterable=""),
]
StaticTest = Annotated[
    int | None,
    Parameter(help="Label nothing; let it choose between so many clips and frozen copies of them."),
]


@command
def label_vlm(
    project: ProjectFolder,
    settings: VlmLabelSettings,
    *,
    dry_run: DryRun = False,
    batch_out: BatchOut = None,
    batch_in: BatchIn = (),
    static_test: StaticTest = None,
) -> Result:
    """Let a vision-language model judge the segments that lack its labels."""
    if sum([dry_run, batch_out is not None, bool(batch_in), static_test is not None]) > 1:
        raise UserError("--dry-run, --batch-out, --batch-in and --static-test are different things to do; choose one")
    if static_test is not None and static_test < 1:
        raise UserError(f"--static-test is a number of clips, 1 or more, got {static_test}")
    if settings.local is not None and (batch_out or batch_in):
        raise UserError("batch files are for servers; leave out --local, or the batch file")
    place = Project.open(project)
    if dry_run:
        plan = plan_vlm(place, settings)
        console.print(f"{project}: {_told_plan(plan)}", markup=False)
        return asdict(plan)
    if batch_out is not None:
        written = write_vlm_batch(place, settings, batch_out)
        names = ", ".join(map(str, written.files)) or "no file"
        console.print(
            f"{project}: {written.requests} questions written to {names}; {written.answered} were answered before. "
            "Send them off, then take the results in with --batch-in",
            markup=False,
        )
        return asdict(written)
    if static_test is not None:
        tested = static_test_vlm(place, settings, static_test)
        console.print(f"{project}: {_told_static(tested)}", markup=False)
        return asdict(tested)
    report = label_with_vlm(place, settings, batch_in)
    console.print(f"{project}: {_told_report(report)}", markup=False)
    return asdict(report)


def _told_plan(plan: VlmPlan) -> str:
    if not plan.calls:
        return f"{plan.annotator} has nothing to be asked; {plan.units} labels follow from answers that are there"
    money = (
        f"at most {plan.money:.2f}" if plan.money is not None else "unknown, since price_in and price_out are not set"
    )
    return (
        f"{plan.annotator} would be asked {plan.calls} questions for {plan.units} labels, with about {plan.tokens_in} "
        f"tokens in and at most {plan.tokens_out} out; cost {money}. {plan.answered} questions were answered before, "
        f"{plan.known} of {plan.pairs} pairs have all their labels, {plan.near_identical} near-identical ones are "
        "passed over"
    )


def _told_report(report: VlmLabelReport) -> str:
    money = "" if report.money is None else f", {report.money:.2f} spent on it in this project"
    told = (
        f"{report.labels} labels added by {report.annotator}, {report.ties} of them ties and {report.abstained} "
        f"abstentions{money}; {report.known} of {report.pairs} pairs had theirs, {report.near_identical} "
        "near-identical ones were passed over"
    )
    if report.stopped:
        told += (
            f". Stopped by {report.stopped}; {report.unanswered} labels are missing. What is done is kept: raise the "
            "budget and run the same command to go on"
        )
    elif report.unanswered:
        told += (
            f". {report.unanswered} labels are missing ({report.why_unanswered}); run the same command to ask for "
            "these again"
        )
    return told


def _told_static(report: VlmStaticReport) -> str:
    found = report.outcome
    told = (
        f"{report.annotator} chose the frozen copy {found.frozen} times of {found.decisive} ({found.ties} ties, "
        f"{found.failed} failed); nothing was labelled"
    )
    return f"{told}. Stopped by {report.stopped}, so this is not recorded" if report.stopped else told
