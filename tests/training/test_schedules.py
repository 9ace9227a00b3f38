import pytest

from charlm.training.schedules import learning_rate_factor


@pytest.mark.parametrize(
    ("schedule", "progress", "warmup", "factor"),
    [
        ("constant", 0.0, 0.0, 1.0),
        ("constant", 1.0, 0.0, 1.0),
        ("constant", 0.05, 0.1, 0.5),
        ("cosine", 0.0, 0.0, 1.0),
        ("cosine", 0.5, 0.0, 0.5),
        ("cosine", 1.0, 0.0, 0.0),
        ("cosine", 1.5, 0.0, 0.0),
        ("cosine", 0.0, 0.1, 0.0),
        ("cosine", 0.1, 0.1, 1.0),
        ("cosine", 0.55, 0.1, 0.5),
    ],
)
def test_factor(schedule, progress, warmup, factor):
    assert learning_rate_factor(schedule, progress, warmup) == pytest.approx(factor)
