"""The command line. Thin: parse, call a stage, print.

A command's file is imported when that command runs, so `densedpo --help` is quick and loads no torch.
Exit codes: 0 done, 1 our fault, 2 the user's mistake, 130 stopped (the same command goes on from there).
"""

import logging
import re
import sys
import traceback
from collections.abc import Sequence

from cyclopts import App, CycloptsError
from rich.console import Console

import densedpo
from densedpo.errors import UserError

# Command: the file of this folder that holds the function of that name (`label oracle`: label_oracle), what it does,
# an example of its use.
COMMANDS = {
    "demo": ("demo_command", "Show the whole loop on the embedded tiny world.", "densedpo demo --out demo --quick"),
    "models": ("families_command", "List the models that can be trained.", "densedpo models --json"),
    "init": ("project_commands", "Make a project: one folder, one database.", "densedpo init my-project"),
    "ingest": ("project_commands", "Take real, captioned clips into a project.", "densedpo ingest my-project my-clips"),
    "encode": ("model_commands", "Encode clips and captions ahead.", "densedpo encode my-project"),
    "preview-eta": (
        "model_commands",
        "Show what noise levels do, before making pairs.",
        "densedpo preview-eta my-project --clips 2",
    ),
    "pairs": ("model_commands", "Make aligned pairs from real clips.", "densedpo pairs my-project --count 500"),
    "train": ("model_commands", "Train a LoRA adapter on the labels.", "densedpo train my-project --steps 300"),
    "reference": (
        "model_commands",
        "Compute the reference's errors ahead, for a sweep.",
        "densedpo reference my-project --reference-draws 8",
    ),
    "validate": ("project_commands", "Check that a project is whole.", "densedpo validate my-project"),
    "merge": ("project_commands", "Take what another project holds.", "densedpo merge my-project its-second-part"),
    "label oracle": (
        "label_commands",
        "Let the tiny world's simulated annotator label the pairs.",
        "densedpo label oracle my-project",
    ),
    "label vlm": (
        "vlm_commands",
        "Let a vision-language model label the pairs.",
        "densedpo label vlm my-project --judge openai --dry-run",
    ),
    "label reward": (
        "reward_commands",
        "Let a scorer or a reward model label the pairs.",
        "densedpo label reward my-project --scorer flicker",
    ),
    "label suggest": (
        "reward_commands",
        "Say which segments a person should label next.",
        "densedpo label suggest my-project --count 100",
    ),
    "label export": (
        "exchange_commands",
        "Write labels to a file for other programs.",
        "densedpo label export my-project --to labels.parquet",
    ),
    "label import": (
        "exchange_commands",
        "Take labels from a file.",
        "densedpo label import my-project labels.parquet",
    ),
    "agreement": (
        "agreement_command",
        "Say how far labellers agree, on one page.",
        "densedpo agreement my-project --reference consensus",
    ),
    "annotate": (
        "annotate_commands",
        "Let people label pairs in the browser.",
        "densedpo annotate my-project",
    ),
    "evaluate": (
        "result_commands",
        "Compare tuned models, or finished clips from anywhere.",
        "densedpo evaluate my-project",
    ),
    "sweep": (
        "sweep_command",
        "Choose which checkpoint to ship, and how strong.",
        "densedpo sweep my-project --run dense --dry-run",
    ),
    "remake": (
        "remake_command",
        "Make one clip of an evaluation again.",
        "densedpo remake my-project base/0003-1",
    ),
    "arena": (
        "arena_command",
        "Pair two models' videos, for people and machines to judge.",
        "densedpo arena my-project",
    ),
    "report": ("result_commands", "Write pages about all of it.", "densedpo report my-project"),
    "export": (
        "export_command",
        "Take an adapter to diffusers or ComfyUI.",
        "densedpo export my-project --run dense --to my-adapter --format comfyui",
    ),
    "plan": (
        "plan_command",
        "Say what pairs and training will cost, before paying.",
        "densedpo plan wan2.1-1.3b --gpus 8 --gpu-rate 2.5",
    ),
    "doctor": ("doctor_command", "Say what is installed, what is missing, how to get it.", "densedpo doctor"),
}
# Where torchao is installed, they warn at every import of diffusers of CUDA libraries that no command needs.
CHATTERS = ("torchao", "torch.utils._pytree", "diffusers.quantizers.torchao")
# The first word of commands that have two.
GROUPS = {"label": "Get labels of pairs: from machines, from files, and out again."}

app = App(
    name="densedpo",
    help="Makes video diffusion models better from fine-grained preferences (DenseDPO).\n\n"
    "Start with `densedpo demo --out demo`, or with `densedpo init` for clips of your own.",
    help_format="plaintext",
    version=densedpo.__version__,
    suppress_keyboard_interrupt=False,
)


def _add_commands() -> None:
    for order, (name, (file, summary, example)) in enumerate(COMMANDS.items()):
        *group, last = name.split()
        if group and group[0] not in list(app):
            app.command(App(name=group[0], help=GROUPS[group[0]], sort_key=order))
        place = f"densedpo.cli.{file}:{re.sub('[ -]', '_', name)}"
        parent = app[group[0]] if group else app
        parent.command(place, name=last, help=summary, help_epilogue=f"Example: {example}", sort_key=order)


_add_commands()


def main() -> None:
    """The console script `densedpo`."""
    for name in CHATTERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    sys.exit(run(sys.argv[1:]))


def run(tokens: Sequence[str]) -> int:
    """Run one command and return its exit code; errors are told on stderr."""
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        code = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except (CycloptsError, UserError) as error:
        errors.print("[bold red]error:[/]", end=" ")
        errors.print(str(error), markup=False)
        return 2
    except KeyboardInterrupt:
        errors.print("stopped; run the same command again to go on")
        return 130
    except Exception:
        traceback.print_exc()
        errors.print("This is our fault, not yours: please report the lines above and what `densedpo doctor` says.")
        errors.print("Finished work is kept; the same command goes on from there.")
        return 1
    return code or 0  # None after --help and --version
