"""The floors of docs/architecture.md: a room imports only from lower floors, and light rooms load no torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import densedpo

PACKAGE = Path(densedpo.__file__).parent

FLOORS = (
    {"errors", "config", "files", "progress", "chunks", "svg"},
    {"store", "video", "stats"},
    {"tinyworld", "judges", "diffusion"},
    {"losses", "metrics", "models"},
    {"ingest", "pairs", "labels", "agreement", "annotate", "training", "evaluation", "export", "report"},
    {"cli", "demo", "doctor", "gates", "plan", "__main__"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# The arrows allowed between rooms of one floor. None may ever join two stages.
SIDEWAYS = {
    ("config", "errors"),
    ("files", "errors"),
    ("judges", "tinyworld"),
    ("store", "stats"),  # who is how reliable needs the statistics of annotators
    ("cli", "demo"),
    ("cli", "doctor"),
    ("cli", "gates"),
    ("cli", "plan"),
    ("__main__", "cli"),
}
# What annotators need installs without torch.
LIGHT = ("store", "video", "stats", "labels", "ingest", "annotate", "agreement")


def imported_modules(file: Path, package: Path) -> Iterator[tuple[int, str]]:
    """(line, absolute module name) of everything that `file` imports; `from a import b` counts as a.b."""
    inside = (package.name, *file.relative_to(package).parent.parts)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = inside[: len(inside) - node.level + 1] if node.level else ()
            origin = ".".join([*start, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)


def forbidden_imports(package: Path) -> list[str]:
    """One line for every import in `package` that the house does not allow."""
    problems = []
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package).with_suffix("").parts
        room = parts[0]
        for line, module in imported_modules(file, package):
            if not module.startswith(f"{package.name}."):
                continue
            target = module.split(".")[1]
            if target == room or target == "__version__":
                continue
            problem = why_forbidden(room, target)
            if problem:
                problems.append(f"{file.relative_to(package)}:{line}: {problem}")
    return problems


def why_forbidden(room: str, target: str) -> str | None:
    unknown = [each for each in (room, target) if each not in FLOOR]
    if unknown:
        return f"{unknown[0]} has no floor; give it one here and in docs/architecture.md"
    if FLOOR[target] > FLOOR[room]:
        return f"{room} (floor {FLOOR[room]}) imports upward from {target} (floor {FLOOR[target]})"
    if FLOOR[target] == FLOOR[room] and (room, target) not in SIDEWAYS:
        return f"{room} imports {target} on its own floor {FLOOR[room]}"
    return None


def test_every_import_points_downward() -> None:
    assert forbidden_imports(PACKAGE) == []


def test_every_room_has_a_floor() -> None:
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or any(path.glob("*.py"))}
    assert rooms - FLOOR.keys() - {"__init__"} == set()


def test_no_stage_may_import_another() -> None:
    assert not [arrow for arrow in SIDEWAYS if FLOOR[arrow[0]] == 4]


def test_the_checker_sees_every_kind_of_forbidden_import(tmp_path: Path) -> None:
    house = tmp_path / "densedpo"
    files = {
        "store/project.py": "from densedpo.errors import UserError\nimport densedpo.training.loop\n",
        "losses/dense.py": "from densedpo import cli\nfrom densedpo.stats import intervals\n",
        "pairs/make.py": "def late():\n    from densedpo.training.settings import TrainSettings\n",
        "video/io.py": "from ..store import schema\nfrom . import player\nfrom densedpo import __version__\n",
        "attic/box.py": "import densedpo.errors\n",
    }
    for name, text in files.items():
        path = house / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    assert forbidden_imports(house) == [
        "attic/box.py:1: attic has no floor; give it one here and in docs/architecture.md",
        "losses/dense.py:1: losses (floor 3) imports upward from cli (floor 5)",
        "pairs/make.py:2: pairs imports training on its own floor 4",
        "store/project.py:2: store (floor 1) imports upward from training (floor 4)",
        "video/io.py:1: video imports store on its own floor 1",
    ]


def test_light_rooms_load_no_torch() -> None:
    modules = [
        ".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        for room in LIGHT
        for path in sorted((PACKAGE / room).rglob("*.py"))
        if "migrations" not in path.parts
    ]
    assert "densedpo.store.project" in modules
    code = f"import sys, importlib\nfor name in {modules}:\n    importlib.import_module(name)\n"
    code += "assert 'torch' not in sys.modules, 'torch was loaded'"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
