"""What the documentation shows exists: commands with these flags, make targets, files, rooms."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import densedpo
from densedpo import cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PACKAGE = Path(densedpo.__file__).parent


def code_lines(page: Path) -> Iterator[str]:
    """The lines of all code blocks, fenced or indented."""
    fenced = False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line.strip()


def shown_commands() -> list[str]:
    return sorted({line for page in PAGES for line in code_lines(page) if line.startswith("densedpo ")})


def test_the_readme_shows_the_whole_loop() -> None:
    shown = {line.split()[1] for line in shown_commands()}
    assert {"init", "ingest", "pairs", "label", "train", "evaluate", "report"} <= shown


@pytest.mark.parametrize("line", shown_commands())
def test_each_shown_command_parses(line: str) -> None:
    cli.app.parse_args(shlex.split(line, comments=True)[1:], exit_on_error=False, print_error=False)


def test_each_named_make_target_exists() -> None:
    named = {target for page in PAGES for target in re.findall(r"(?:`|^    )make ([a-z-]+)", page.read_text(), re.M)}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {"demo", "test"} <= named <= targets


def test_each_link_to_a_file_leads_somewhere() -> None:
    links = [(page, link) for page in PAGES for link in re.findall(r"\]\((?!http)([^)#]+)", page.read_text())]
    assert (ROOT / "README.md", "docs/architecture.md") in links
    assert [link for page, link in links if not (page.parent / link).exists()] == []


def test_the_readmes_tree_is_the_package() -> None:
    shown = set(re.findall(r"^ {6}([a-z_]+(?:/|\.py))  ", (ROOT / "README.md").read_text(), re.M))
    there = {path.name for path in PACKAGE.glob("[a-z]*.py")}
    there |= {f"{path.name}/" for path in PACKAGE.iterdir() if any(path.glob("*.py"))}
    assert shown == there
