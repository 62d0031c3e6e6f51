#!/usr/bin/env bash
# All GPUs of one machine: each takes a part of every batch. Stopped, the same command goes on.
#
#     PROJECT=my-project bash examples/launch/one-node.sh --steps 1000
set -euo pipefail

torchrun --standalone --nproc-per-node "${GPUS:-gpu}" \
    -m densedpo train "${PROJECT:?the project folder}" --name dense --batch 64 --micro-batch 1 --checkpointing \
    --autocast bfloat16 --sharding full "$@"
