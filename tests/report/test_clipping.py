"""What the gradient norms of a training say about clipping."""

import pytest

from charlm.report.clipping import gradient_summary, gradient_words, share_text


def row(step, *gradients):
    keys = ("gradient_norm", "largest_gradient_norm", "clipped_share")
    return {"step": step, **dict(zip(keys, gradients or (None,) * 3, strict=True))}


def test_a_line_counts_by_its_steps():
    rows = [row(0), row(10, 1.0, 3.0, 0.0), row(40, 2.0, 2.5, 0.2), row(50)]
    summary = gradient_summary(rows)
    assert summary["gradient_norm"] == pytest.approx((10 * 1 + 30 * 2) / 40)
    assert summary["largest_gradient_norm"] == 3.0
    assert summary["clipped_share"] == pytest.approx(0.15)


@pytest.mark.parametrize("rows", [[], [row(5)], [row(0)]])
def test_older_runs_have_no_norms(rows):
    summary = gradient_summary(rows)
    assert [*summary.values()] == [None] * 3
    assert gradient_words(summary, 1.0) == []


@pytest.mark.parametrize(
    ("largest", "share", "clip_norm", "first", "second"),
    [
        (0.657, 0.0, 1.0, "0% of the steps clipped", "never exceeded 0.657: clipping at 1 changed"),
        (0.657, 0.0, 1e9, "0% of", "never exceeded 0.657: clipping at 1e+09 changed nothing"),
        (0.657, 0.0, 0.0, "0.657; no clipping", None),
        (3.0, 0.12, 1.0, "largest 3; 12% of the steps clipped", None),
        (3.0, 0.0004, 1.0, "under 0.1% of", "few norms were above 1: clipping changed little"),
        (3.0, 1.0, 0.01, "100% of", "every gradient was scaled down to the norm 0.01"),
        (3.0, 0.0, 1.0, "0% of", None),  # clipping was turned on at the end
        (3.0, 0.5, 0.0, "50% of the steps clipped", None),  # clipping was turned off at the end
    ],
)
def test_words(largest, share, clip_norm, first, second):
    values = {"gradient_norm": 0.5, "largest_gradient_norm": largest, "clipped_share": share}
    norms, *more = gradient_words(values, clip_norm)
    assert norms.startswith(f"gradient norm 0.5, largest {largest:g}; ")
    assert first in norms
    assert len(more) == (second is not None)
    assert second is None or second in more[0]


def test_shares():
    shares = (None, 0, 0.0004, 0.0123, 0.5, 1)
    assert [*map(share_text, shares)] == ["-", "0%", "under 0.1%", "1.2%", "50%", "100%"]
