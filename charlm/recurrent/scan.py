"""The parallel scan of the minimal cells, for processors with thousands of lanes.

`charlm.recurrent.minimal` has the equations: k and the candidates n of all steps are known before
the first step. On the CPU `charlm.recurrent.minimal_kernel` is faster.

Symbols: T steps, B rows, N rows of all steps together, H units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def scanned(
    projected: Tensor, sizes: Sequence[int], state: Sequence[Tensor], cell: Any
) -> tuple[Tensor, list[Tensor]]:
    """All steps of a minimal cell; arguments and results are those of a `Kernel`."""
    (first,) = state
    keep, candidate = cell.keep_and_candidate(projected.to(first.dtype))
    if sizes[-1] == sizes[0]:
        whole = (len(sizes), *first.shape)
        hidden = parallel(keep.view(whole), candidate.view(whole), first)
        return hidden.flatten(0, 1), [hidden[-1]]
    # A row that has ended keeps its state.
    rows = torch.tensor(sizes, device=first.device).unsqueeze(1)
    valid = torch.arange(len(first), device=first.device) < rows  # (T, B)
    padded = (*valid.shape, first.shape[1])
    hidden = parallel(
        keep.new_ones(padded).index_put((valid,), keep),
        candidate.new_zeros(padded).index_put((valid,), candidate),
        first,
    )
    return hidden[valid], [hidden[-1]]


def parallel(keep: Tensor, candidate: Tensor, first: Tensor) -> Tensor:
    """h_t = k_t * h_(t-1) + (1 - k_t) * n_t for all steps, by doubling.

    After the round with distance d, ``kept`` and ``added`` take h_(t-2d) to h_t. All factors are
    in (0, 1), so nothing overflows and no logarithm is needed. Hillis and Steele (1986), "Data
    parallel algorithms"; Blelloch (1990), "Prefix sums and their applications".

    Args:
        keep: k, (T, B, H).
        candidate: n, (T, B, H).
        first: the state before the first step, (B, H).

    Returns:
        (T, B, H) states.
    """
    kept, added = keep, candidate - keep * candidate
    distance = 1
    while distance < len(kept):
        added = torch.cat(
            [added[:distance], torch.addcmul(added[distance:], kept[distance:], added[:-distance])]
        )
        kept = torch.cat([kept[:distance], kept[distance:] * kept[:-distance]])
        distance *= 2
    return torch.addcmul(added, kept, first)
