"""When a mean of the weights begins, and the share of the new weights in it."""

import pytest

from charlm.config import TrainingSection
from charlm.task import Metric
from charlm.training.averaging import begun, has_mean, is_triggered, new_share
from charlm.training.progress import Progress

LOWER, HIGHER = Metric(name="perplexity"), Metric(name="accuracy", higher_is_better=True)


def test_mean_of_the_last_part_begins_anew_in_a_longer_training():
    config, progress = TrainingSection(swa=0.25), Progress(averaged=7)
    assert [new_share(config, progress, share) for share in (0.5, 0.75, 0.8, 1.0)] == [
        *(None, 1.0, 0.5),
        pytest.approx(1 / 3),
    ]
    assert (progress.averaged, begun(config, progress)) == (3, True)
    assert new_share(config, progress, 0.4) is None
    assert not begun(config, progress)


@pytest.mark.parametrize(
    ("values", "reports", "metric", "triggered"),
    [
        ([3.0, 2.0, 2.5], 1, LOWER, False),  # 2.0 is too young
        ([2.0, 3.0, 2.5], 1, LOWER, True),
        ([2.0, 3.0, 2.5], 2, LOWER, False),
        ([2.0, 1.0, 1.5, 2.1], 2, LOWER, True),
        ([80.0, 90.0, 85.0], 1, HIGHER, False),
        ([90.0, 70.0, 85.0], 1, HIGHER, True),
        ([2.0, None, 3.0, 2.5], 1, LOWER, True),
        ([2.0], 1, LOWER, False),
    ],
)
def test_what_begins_the_mean_of_nt_asgd(values, reports, metric, triggered):
    assert is_triggered(values, metric, reports) == triggered


def test_a_training_has_no_mean_unless_it_is_asked_for():
    assert not has_mean(TrainingSection())
    for settings in ({"averaging": 0.9}, {"averaging": None, "swa": 0.1}, {"nt_asgd": 3}):
        assert has_mean(TrainingSection(**settings))
