"""Too little memory, told as what can be done about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from densedpo.errors import UserError

CPU_MESSAGE = "can't allocate memory"  # of torch's CPU allocator, which raises a plain RuntimeError


@contextmanager
def memory_is_clear(doing: str) -> Iterator[None]:
    """Turn running out of memory, on a GPU or not, into a UserError that names the ways out.

    `doing` completes "too little memory for ...", such as "sampling 8 clips".
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and CPU_MESSAGE not in str(error):
            raise
        raise UserError(
            f"too little memory for {doing}: try a smaller --batch (--micro-batch in training), fewer frames or a "
            "smaller size, --offload model, --quantise nf4, or --tiled-vae"
        ) from error
