import pytest

from charlm.optimisation.schedules import SCHEDULES, learning_rate_factor


@pytest.mark.parametrize(
    ("schedule", "progress", "warmup", "factor"),
    [
        ("constant", 0.0, 0.0, 1.0),
        ("constant", 1.0, 0.0, 1.0),
        ("constant", 0.05, 0.1, 0.505),
        ("cosine", 0.0, 0.0, 1.0),
        ("cosine", 0.5, 0.0, 0.5),
        ("cosine", 1.0, 0.0, 0.0),
        ("cosine", 1.5, 0.0, 0.0),
        ("cosine", 0.0, 0.1, 0.01),
        ("cosine", 0.1, 0.1, 1.0),
        ("cosine", 0.55, 0.1, 0.5),
        ("linear", 0.55, 0.1, 0.5),
        ("linear", 1.0, 0.0, 0.0),
        ("trapezoid", 0.8, 0.0, 1.0),
        ("trapezoid", 0.95, 0.0, 0.25),
        ("trapezoid", 0.05, 0.1, 0.505),
        ("plateau", 1.0, 0.0, 1.0),
    ],
)
def test_factor_of_the_learning_rate(schedule, progress, warmup, factor):
    assert learning_rate_factor(schedule, progress, warmup) == pytest.approx(factor)


def test_new_schedule_is_one_entry_and_an_unknown_one_is_refused(monkeypatch):
    monkeypatch.setitem(SCHEDULES, "root", lambda progress: (1 - progress) ** 0.5)
    assert learning_rate_factor("root", 0.75, 0.0) == 0.5
    with pytest.raises(ValueError, match="unknown schedule 'cosin'; known: constant, cosine"):
        learning_rate_factor("cosin", 0.5, 0.0)
