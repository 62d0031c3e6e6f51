"""How far labellers agree."""

from densedpo.agreement import AgreementSettings, write_agreement
from densedpo.cli.command import ProjectFolder, Result, command, console
from densedpo.store.project import Project


@command
def agreement(project: ProjectFolder, settings: AgreementSettings) -> Result:
    """Compare labellers with each other, with a consensus or with gold labels, and write a page about it."""
    report = write_agreement(Project.open(project), settings)
    alpha = "unknown" if report.alpha is None else f"{round(report.alpha, 2) + 0.0:.2f}"
    console.print(
        f"{report.page}: {report.labellers} labellers, {report.labels} labels on {report.pairs} pairs; Krippendorff's "
        f"alpha {alpha}",
        markup=False,
    )
    return {
        "page": str(report.page),
        "numbers": str(report.numbers),
        "labellers": report.labellers,
        "labels": report.labels,
        "pairs": report.pairs,
        "alpha": report.alpha,
    }
