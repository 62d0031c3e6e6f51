"""The command by which people and machines compare what two contestants of an evaluation made."""

import itertools
from typing import Annotated, Any

from cyclopts import Parameter

from densedpo.annotate.arena import open_arena
from densedpo.cli.command import ProjectFolder, Result, command, console
from densedpo.store.project import Project

Between = Annotated[
    tuple[str, ...],
    Parameter(
        help="Only these contestants, as A,B, one or several times; every two if not given.",
        consume_multiple=True,
        negative_iterable="",
    ),
]


@command
def arena(
    project: ProjectFolder,
    *,
    evaluation: Annotated[str, Parameter(help="Name of the evaluation.")] = "evaluation",
    between: Between = (),
) -> Result:
    """Pair the contestants' videos for people and machines to judge, and count what they have said so far."""
    from densedpo.evaluation.judged import results_of, take_in_judgements  # numerical libraries

    opened = Project.open(project)
    every_two = itertools.combinations(results_of(opened, evaluation)["contestants"], 2)
    places = []
    for two in between or [",".join(two) for two in every_two]:
        pairs = open_arena(opened, evaluation, two)
        places.append(str(pairs.root))
        console.print(f"{pairs.root}: {sum(1 for _ in pairs.pairs())} pairs", markup=False)
    found = take_in_judgements(opened, evaluation)
    for kind, aspects in found.items():
        for aspect, contest in aspects.items():
            _tell_contest(f"{kind}, {aspect}", contest)
    if places:
        console.print(f"next: densedpo label vlm {places[0]} --mode whole --judge JUDGE", markup=False)
        console.print("then: the same command counts what the judge said, for the evaluation's results", markup=False)
    return {"arenas": places, "head_to_head": found}


def _tell_contest(judge: str, contest: dict[str, Any]) -> None:
    console.print(f"{judge}: {contest['videos']} pairs of videos by {contest['annotators']} annotators", markup=False)
    for two, of in contest["pairs"].items():
        told = f"{of['wins']} prompts won, {of['ties']} tied, {of['losses']} lost (p {of['p']:.3f})"
        console.print(f"  {two}: {told}", markup=False)
    if contest["outdated"]:
        console.print(f"  {contest['outdated']} more are on videos that were made anew since", markup=False)
