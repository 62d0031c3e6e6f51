"""One verdict for a pair, by hand; and everything that such a file cannot hold is counted."""

import csv
import json
from pathlib import Path

from store_rows import label, pair

from densedpo.store.exchange import export_rewardbench, export_trl
from densedpo.store.project import Project


def fill(project: Project) -> None:
    """Pairs 0 to 5: a by two of three; a tie; b by segments; segments that balance; skips only; no label."""
    pairs = [pair(number, prompt=f"prompt {number}") for number in range(6)]
    models = {"prompt": "p", "models": {"A": "one", "B": "two"}}
    pairs[2] = pair(2, prompt='a "quoted", prompt', mode="imported", recipe=models)
    project.add_pairs(pairs)
    wrong = label(pairs[0], None, "b", "ann")
    project.add_labels(
        [
            wrong,
            label(pairs[0], None, "a", "ann", supersedes=wrong.id),
            label(pairs[0], None, "a", "bob"),
            label(pairs[0], None, "b", "cid"),
            label(pairs[0], 0, "b", "cid"),  # the whole video was judged, so this does not count
            label(pairs[0], None, "b", "ann", aspect="visual_quality"),
            label(pairs[0], None, "a", "ann", aspect="temporal_consistency"),
            label(pairs[1], None, "tie"),
            *(label(pairs[2], segment, choice) for segment, choice in enumerate(["b", "b", "a", "tie"])),
            *(label(pairs[3], segment, choice) for segment, choice in enumerate(["a", "b", "tie"])),
            label(pairs[4], None, "skip"),
            label(pairs[4], 1, "skip"),
        ]
    )


def media(of: int, side: str) -> str:
    digest = getattr(pair(of), f"media_{side}")
    return f"media/{digest[:2]}/{digest}.mp4"


def test_prompt_chosen_rejected(project: Project, tmp_path: Path) -> None:
    fill(project)
    report = export_trl(project, tmp_path / "file")
    rows = [json.loads(line) for line in (tmp_path / "file").read_text().splitlines()]
    expected = [
        {"prompt": "prompt 0", "chosen": media(0, "a"), "rejected": media(0, "b")},
        {"prompt": 'a "quoted", prompt', "chosen": media(2, "b"), "rejected": media(2, "a")},
    ]
    assert sorted(rows, key=lambda row: row["prompt"]) == sorted(expected, key=lambda row: row["prompt"])
    assert report.pairs == 2
    assert report.lost == [
        "2 pairs are ties and are not in the file",
        "9 labels are on segments; the file has one verdict for the whole video",
        "2 verdicts are the majority of segments, as nobody judged the whole video",
        "2 of these differ from segment to segment",
        "2 labels are on aspects that the format has no place for",
        "16 labels became 2 lines: who gave them and how sure is not told",
    ]


def test_videogen_rewardbench(project: Project, tmp_path: Path) -> None:
    fill(project)
    report = export_rewardbench(project, tmp_path / "file.csv")
    with (tmp_path / "file.csv").open(newline="") as file:
        rows = {row["prompt"]: row for row in csv.DictReader(file)}
    verdicts = {prompt: [row[name] for name in ("VQ", "MQ", "TA", "Overall")] for prompt, row in rows.items()}
    assert verdicts == {
        "prompt 0": ["B", "", "", "A"],
        "prompt 1": ["", "", "", "same"],
        'a "quoted", prompt': ["", "", "", "B"],
        "prompt 3": ["", "", "", "same"],
    }
    first, imported = rows["prompt 0"], rows['a "quoted", prompt']
    assert (first["path_A"], first["path_B"], first["A_model"]) == (media(0, "a"), media(0, "b"), "m")
    assert (first["fps_A"], first["num_frames_B"]) == ("8.0", "33")
    assert (imported["A_model"], imported["B_model"]) == ("one", "two")
    assert report.pairs == 4
    assert "1 labels are on aspects that the format has no place for" in report.lost
    assert not [line for line in report.lost if "ties" in line]
