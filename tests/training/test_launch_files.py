"""The examples of how to start training: scripts that a shell and YAML that its reader accept, commands that exist."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from densedpo import cli

FOLDER = Path(__file__).parents[2] / "examples" / "launch"
SCRIPTS = sorted([*FOLDER.glob("*.sh"), *FOLDER.glob("*.sbatch")])
FILES = sorted(FOLDER.iterdir())


def commands(file: Path) -> list[list[str]]:
    """What comes after `-m densedpo` or `densedpo` in a file, as words; a variable is some text, "$@" nothing."""
    text = file.read_text(encoding="utf-8").replace("\\\n", " ").replace('"$@"', "")
    lines = re.findall(r"(?:-m densedpo|^# *.*?densedpo) ((?:train|init|reference)\b.*)$", text, re.M)
    return [shlex.split(re.sub(r'"?\$\{?\w+[^"}]*\}?"?', "variable", line)) for line in lines]


def test_each_way_to_start_has_an_example() -> None:
    assert {file.suffix for file in FILES} == {".sh", ".sbatch", ".yaml", ".json"}
    assert all(commands(file) for file in FILES if file.suffix != ".json")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_densedpo_command_in_the_examples_parses(file: Path) -> None:
    for words in commands(file):
        cli.app.parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda file: file.name)
def test_scripts_are_what_a_shell_accepts(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)


def test_the_sky_file_is_whole_and_its_scripts_are_what_a_shell_accepts() -> None:
    task = yaml.safe_load((FOLDER / "skypilot.yaml").read_text(encoding="utf-8"))
    assert set(task) == {"name", "num_nodes", "resources", "file_mounts", "setup", "run"}
    for script in (task["setup"], task["run"]):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize(("file", "kind"), [("accelerate.yaml", "MULTI_GPU"), ("deepspeed.yaml", "DEEPSPEED")])
def test_accelerate_reads_its_configurations(file: str, kind: str) -> None:
    from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file

    config = load_config_from_file(str(FOLDER / file))
    assert isinstance(config, ClusterConfig)
    assert config.distributed_type == kind
    assert config.num_processes == 8
    if kind == "DEEPSPEED":
        assert (FOLDER.parents[1] / config.deepspeed_config["deepspeed_config_file"]).exists()


def test_accelerates_plugin_reads_the_deepspeed_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as it goes without DeepSpeed."""
    from accelerate.utils import DeepSpeedPlugin

    plugin = DeepSpeedPlugin(hf_ds_config=str(FOLDER / "deepspeed.json"))
    assert plugin.zero_stage == 3
    assert plugin.hf_ds_config.is_zero3()
