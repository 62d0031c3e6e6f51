"""The commands by which pairs get labels."""

from dataclasses import asdict

from densedpo.cli.command import ProjectFolder, Result, command, console
from densedpo.labels import OracleLabelSettings
from densedpo.labels import label_oracle as label_with_oracle
from densedpo.store.project import Project


@command
def label_oracle(project: ProjectFolder, settings: OracleLabelSettings) -> Result:
    """Let the simulated annotator of the tiny world judge the pairs that lack its labels."""
    report = label_with_oracle(Project.open(project), settings)
    if report.pairs:
        done = f"{report.labels} labels added to {report.pairs} pairs, {report.ties} of them ties"
    else:
        done = "nothing to label"
    passed = f"{report.known} pairs had theirs, {report.near_identical} near-identical pairs were passed over"
    console.print(f"{project}: {done}; {passed}", markup=False)
    return asdict(report)
