"""Train the embedded tiny text-to-video model on the procedural world, from nothing.

    python scripts/train_tinyworld.py all --out build/tinyworld --to src/densedpo/tinyworld/model

Five stages, each also to be run alone: `vae` (the autoencoder), `clips` (further, on fast clips), `decoder` (its
decoder alone, further), `denoiser` (text encoder and denoiser on the latents), `export` (the model folder). Every stage
is resumable: stopped at any moment and run again with the same arguments, it goes on from its last checkpoint, bit for
bit. Batches are pure functions of (seed, step). `warm-start` begins with the weights of a model folder instead of the
first stage. `clips` and `decoder` may be left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tinyworld_training import autoencoder, denoiser
from tinyworld_training.warm_start import warm_start

STEPS = {"vae": 7200, "clips": 3000, "decoder": 13100, "denoiser": 7720}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["all", "warm-start", "vae", "clips", "decoder", "denoiser", "export"])
    parser.add_argument("--out", type=Path, required=True, help="where checkpoints, latents and logs go")
    parser.add_argument("--steps", type=int, help=f"of this stage, if not {STEPS}")
    parser.add_argument("--until", type=int, help="stop this stage at a step, to go on later with the same arguments")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--to", type=Path, default=Path("src/densedpo/tinyworld/model"), help="export: the model folder"
    )
    parser.add_argument("--model", type=Path, help="warm-start: the model folder to begin with")
    args = parser.parse_args()
    if args.stage == "all" and (args.steps or args.until):
        parser.error("--steps and --until belong to one stage: say vae, clips, decoder or denoiser instead of all")
    if args.stage == "warm-start" and args.model is None:
        parser.error("warm-start begins with the weights of a model folder: name it by --model")
    if args.stage == "warm-start":
        warm_start(args.model, args.out)
    if args.stage in ("all", "vae"):
        autoencoder.train(args.out, args.steps or STEPS["vae"], args.seed, args.until)
    if args.stage in ("all", "clips"):
        autoencoder.train_clips(args.out, args.steps or STEPS["clips"], args.seed, args.until)
    if args.stage in ("all", "decoder"):
        autoencoder.train_decoder(args.out, args.steps or STEPS["decoder"], args.seed, args.until)
    if args.stage in ("all", "denoiser"):
        denoiser.train(args.out, args.steps or STEPS["denoiser"], args.seed, args.until)
    if args.stage in ("all", "export"):
        denoiser.export(args.out, args.to)


if __name__ == "__main__":
    main()
