"""What the gradient norms of a training say about clipping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_RARE = 0.01  # a smaller share of clipped steps hardly matters


def gradient_summary(metrics: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """The gradients of a whole training, under the keys of metrics.jsonl; None: not measured.

    Args:
        metrics: the lines of metrics.jsonl. A line counts by its number of steps.
    """
    befores = [0, *(row["step"] for row in metrics)]
    measured = [
        (row["step"] - before, row)
        for before, row in zip(befores, metrics, strict=False)
        if row["gradient_norm"] is not None and row["step"] > before
    ]
    steps = sum(count for count, _ in measured)

    def mean(key: str) -> float | None:
        return sum(count * row[key] for count, row in measured) / steps if steps else None

    return {
        "gradient_norm": mean("gradient_norm"),
        "largest_gradient_norm": max(
            (row["largest_gradient_norm"] for _, row in measured), default=None
        ),
        "clipped_share": mean("clipped_share"),
    }


def gradient_words(summary: Mapping[str, float | None], clip_norm: float) -> list[str]:
    """One line on the gradient norms, and one on what clipping did where that is remarkable.

    Args:
        summary: from `gradient_summary`.
        clip_norm: the setting at the end of the training; 0: no clipping.
    """
    norm, largest, share = (
        summary[key] for key in ("gradient_norm", "largest_gradient_norm", "clipped_share")
    )
    if norm is None or largest is None or share is None:
        return []
    clipped = f"{share_text(share)} of the steps clipped"
    if share == 0 and not clip_norm:
        clipped = "no clipping"
    words = [f"gradient norm {norm:.3g}, largest {largest:.3g}; {clipped}"]
    if clip_norm and share == 0 and largest <= clip_norm:
        words.append(
            f"the gradient norm never exceeded {largest:.3g}: clipping at {clip_norm:g} changed "
            "nothing"
        )
    elif clip_norm and 0 < share < _RARE:
        words.append(f"few norms were above {clip_norm:g}: clipping changed little")
    elif clip_norm and share == 1:
        words.append(
            f"every gradient was scaled down to the norm {clip_norm:g}: only its direction counted"
        )
    return words


def share_text(share: float | None) -> str:
    """A share of steps in percent; a small one is not rounded to none."""
    if share is None:
        return "-"
    return "under 0.1%" if 0 < share < 0.001 else f"{share:.1%}".replace(".0%", "%")
