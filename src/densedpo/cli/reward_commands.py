"""Labels by scorers, and what people should label next."""

from dataclasses import asdict

from densedpo.cli.command import ProjectFolder, Result, command, console
from densedpo.labels.reward import RewardLabelSettings, calibrate_reward, static_test_reward
from densedpo.labels.reward import label_reward as label_with_scorer
from densedpo.labels.suggest import SuggestSettings, suggest
from densedpo.store.project import Project


@command
def label_reward(project: ProjectFolder, settings: RewardLabelSettings) -> Result:
    """Let a scorer score both sides of each segment; the difference is the label."""
    if settings.calibrate is not None:
        band = calibrate_reward(Project.open(project), settings)
        console.print(
            f"{project}: with --tie-band {band.tie_band:g}, {band.ties} of {band.segments} would be ties (the median "
            f"difference is {band.median:.4g}, the largest {band.largest:.4g}); nothing was labelled",
            markup=False,
        )
        return asdict(band)
    if settings.static_test is not None:
        outcome = static_test_reward(Project.open(project), settings)
        console.print(
            f"{project}: {settings.scorer} chose the frozen copy {outcome.frozen} times of {outcome.decisive} "
            f"({outcome.ties} ties, {outcome.failed} failed); nothing was labelled",
            markup=False,
        )
        return asdict(outcome)
    report = label_with_scorer(Project.open(project), settings)
    if report.labels:
        done = f"{report.labels} labels added to {report.pairs} pairs, {report.ties} of them ties"
    else:
        done = "no label added"
    passed = f"{report.known} pairs had theirs, {report.near_identical} near-identical pairs were passed over"
    console.print(f"{project}: {done}; {passed}", markup=False)
    if report.failed:
        console.print(f"{report.failed} could not be scored, the first: {report.failure}", markup=False)
    return asdict(report)


@command
def label_suggest(project: ProjectFolder, settings: SuggestSettings) -> Result:
    """Say which segments a person should label next, the most useful first."""
    found = suggest(Project.open(project), settings)
    for row in found.rows[:10]:
        console.print(f"{row.score:.3f}  {row.pair}  segment {row.segment}  {row.reason}", markup=False)
    more = f", the first 10 of {len(found.rows)} above" if len(found.rows) > 10 else ""
    console.print(f"{project}: {len(found.rows)} segments in {found.file}{more}", markup=False)
    return {"file": str(found.file), "segments": len(found.rows), "undecided": found.undecided}
