"""Times and numbers of epochs as text."""

import pytest

from charlm.report.words import clock, duration, epochs_text


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (3599.9, "1:00:00"), (360_723, "100:12:03")],
)
def test_clock(seconds, shown):
    assert clock(seconds) == shown


@pytest.mark.parametrize(
    ("minutes", "shown"),
    [(10.2, "10 minutes"), (95, "2 hours"), (1080, "18 hours"), (4320, "3 days")],
)
def test_long_times_are_rounded(minutes, shown):
    assert duration(60 * minutes) == shown


@pytest.mark.parametrize(
    ("epochs", "shown"), [(0.5, "0.5 epochs"), (1, "1 epoch"), (7.58333, "7.583 epochs")]
)
def test_one_epoch_is_not_plural(epochs, shown):
    assert epochs_text(epochs) == shown
