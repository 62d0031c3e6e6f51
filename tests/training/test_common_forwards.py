"""Where every forward is common work, processes with less to do run along, and nothing that they do there counts."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from densedpo.models.lora import fresh_adapter
from densedpo.store.project import Project
from densedpo.training import TrainSettings
from densedpo.training.data import slots_of
from densedpo.training.processes import Processes
from densedpo.training.reference import ReferenceTable, reference_errors
from densedpo.training.selection import load_dataset
from densedpo.training.step import Engine, accumulate, validation_loss
from small_projects import empty_project, give_labels, model_at, plant_pair


@pytest.fixture
def project(random_wan_folder: Path, tmp_path: Path) -> Project:
    project = empty_project(tmp_path / "project", random_wan_folder)
    for number, (first, second) in enumerate([("a", "b"), ("b", "b"), ("tie", "a"), ("a", "")]):
        give_labels(project, plant_pair(project, number), first, second)
    return project


class Second(Processes):
    """The second of two that share weights, of which nobody else is there: only what it decides is looked at."""

    def __init__(self, others_need: bool = False) -> None:
        super().__init__(torch.device("cpu"))
        self.count, self.rank, self.sharded = 2, 1, True
        self.others_need = others_need

    def gather(self, value: Any) -> list[Any]:
        return [self.others_need, value] if isinstance(value, bool) else [value]


def engine_of(project: Project, processes: Processes, table: bool = False, **settings: Any) -> Engine:
    chosen, model = TrainSettings(rank=2, beta=20.0, batch=3, **settings), model_at(Path(project.settings.model))
    kept = ReferenceTable(project, model, chosen) if table else None
    return Engine(project, model, chosen, kept, processes)


def test_the_second_of_two_makes_as_many_forwards_as_the_first(project: Project) -> None:
    engine = engine_of(project, Second(), micro_batch=1)
    slots = slots_of(load_dataset(project, engine.model, engine.settings), 0, engine.settings)
    for count, expected in ((3, [True, False]), (2, [True]), (1, [False])):
        batches = engine.load(slots[:count])
        assert [batch.counts for batch in batches] == expected
        assert [batch.slots[0].place for batch in batches if batch.counts] == [1][: sum(expected)]


@pytest.mark.parametrize("options", [{}, {"two_pass": True}, {"method": "sft", "sft_on": "winners"}])
def test_what_counts_for_nothing_changes_nothing(project: Project, options: dict[str, Any]) -> None:
    alone = engine_of(project, Processes(torch.device("cpu")), video_labels="majority", **options)
    second = engine_of(project, Second(), video_labels="majority", micro_batch=1, **options)
    slots = slots_of(load_dataset(project, alone.model, alone.settings), 0, alone.settings)
    seen: list[tuple[float, float, list[Tensor], dict[str, Any]]] = []
    for batches in (alone.load([slots[1]]), second.load(slots)):
        with fresh_adapter(alone.model.denoiser, alone.model.lora_targets, 2, 2.0, seed=0) as parameters:
            for parameter in parameters:
                parameter.data += 0.02
            validated = validation_loss(alone, batches)
            loss, measured = accumulate(alone, batches)
            gradients = [p.grad.clone() for p in parameters if p.grad is not None]
            seen.append((loss, validated, gradients, measured.joined([]).summary()))
    assert len(second.load(slots)) == 2
    assert seen[0][:2] == seen[1][:2]
    assert seen[0][3] == seen[1][3]
    assert max(gradient.abs().max().item() for gradient in seen[0][2]) > 0
    assert all(torch.equal(one, other) for one, other in zip(seen[0][2], seen[1][2], strict=True))


def test_one_who_lacks_no_entry_runs_the_reference_for_those_who_do(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos: list[int] = []
    monkeypatch.setattr(
        "densedpo.training.reference.reference_errors",
        lambda model, inputs, settings: videos.append(len(inputs.sigma_N)) or reference_errors(model, inputs, settings),
    )
    alone = engine_of(project, Processes(torch.device("cpu")), table=True, reference_draws=1)
    slots = slots_of(load_dataset(project, alone.model, alone.settings), 0, alone.settings)
    (batch,) = alone.load(slots)
    with fresh_adapter(alone.model.denoiser, alone.model.lora_targets, 2, 2.0, seed=0):
        inputs = alone.inputs(batch, alone.sigmas(batch))
        first = alone.reference(batch, inputs)
        for others_need, ran in ((False, [6]), (True, [6, 2])):  # two members of the three pairs, then of one
            second = engine_of(project, Second(others_need), table=True, reference_draws=1)
            again = second.reference(batch, inputs)
            assert videos == ran
            assert first is not None
            assert again is not None
            assert torch.equal(first, again)
            assert second.table is not None
            assert second.table.computed == 0


def test_an_entry_that_a_batch_needs_twice_is_computed_once(project: Project) -> None:
    """Five slots, four pairs, one draw: two slots of the batch are the same, and so are the bits of their errors."""
    engine = engine_of(project, Processes(torch.device("cpu")), table=True, reference_draws=1)
    data = load_dataset(project, engine.model, engine.settings)
    slots = [slot for step in (0, 1) for slot in slots_of(data, step, engine.settings)][:5]
    assert len({slot.key for slot in slots}) == 4
    (batch,) = engine.load(slots)
    with fresh_adapter(engine.model.denoiser, engine.model.lora_targets, 2, 2.0, seed=0):
        inputs = engine.inputs(batch, engine.sigmas(batch))
        fresh, read = engine.reference(batch, inputs), engine.reference(batch, inputs)
    assert fresh is not None
    assert read is not None
    assert torch.equal(fresh, read)
    assert engine.table is not None
    assert (engine.table.computed, engine.table.used) == (4, 10)
