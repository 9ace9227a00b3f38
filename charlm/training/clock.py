"""The time of a training: what the user has waited for, and what of it is left.

``--minutes`` is a budget for all that a command takes: the set-up (reading the text, building the
model), the training, and its end (the last scores and samples, the last checkpoint). The learning
rate follows the training alone. docs/time.md describes the rules.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from charlm.errors import counted
from charlm.processes import world
from charlm.report.words import duration

# Shares of the budget
ALL_SCORES = 0.1  # for the scores before the end
ONE_SCORE = ALL_SCORES / 4  # for one of them
LAST_SCORE = 0.1  # for the score of the best weights on more of the validation split
TEST_SCORE = 0.25  # for the score of the test split
SAMPLES = 0.02  # for one set of samples

LONG = 600  # seconds; a longer training by epochs is announced
MEASURED = 5  # seconds of training after which its speed is known


def without_measurement() -> str:
    """What is known of the time of a training by epochs before its first step."""
    return (
        f"time: unknown until the speed is measured; if it is more than {duration(LONG)}, a line "
        f"says so {MEASURED} seconds after the first step"
    )


class Clock:
    """The time of one training; that of rank 0, where several processes train together.

    Args:
        minutes: the budget; None: there is none.
        begun: when the user began to wait, by `time.monotonic`; None: now.
    """

    def __init__(self, minutes: float | None, begun: float | None = None) -> None:
        self.budget = math.inf if minutes is None else 60 * minutes  # seconds
        self.now = world().now
        self._begun = self.now() if begun is None else begun
        names = ("score", "samples", "save", "report")
        self.costs = dict.fromkeys(names, 0.0)  # seconds of the last one each
        self.scoring = 0.0  # seconds of all scores
        self.items = self.steps = 0  # of the steps here
        self.step_seconds = 0.0  # of the last step
        self._stepping = 0.0  # of all steps but the first, which is often slow
        self._first = 0  # items of the first step
        self.start()

    def start(self, before: float = 0.0) -> None:
        """Training begins now, after ``before`` seconds of training in the parts before."""
        self._marked = self.now()
        self.set_up = self._marked - self._begun
        self._training_since = self._marked - before

    @property
    def limited(self) -> bool:
        """Whether there is a budget."""
        return self.budget < math.inf

    @property
    def seconds(self) -> float:
        """Seconds of training since the start, of all parts."""
        return self.now() - self._training_since

    @property
    def waited(self) -> float:
        """Seconds of set-up and training: this part of the budget is over."""
        return self.seconds + self.set_up

    def step_done(self, items: int) -> float:
        """Note that a step ended, with its items; return the seconds of training."""
        now = self.now()
        self.step_seconds = now - self._marked
        self._marked = now
        if self.steps:
            self._stepping += self.step_seconds
        else:
            self._first = items
        self.steps += 1
        self.items += items
        return now - self._training_since

    @contextmanager
    def timing(self, what: str) -> Iterator[None]:
        """Time the block as one of ``costs``; its time belongs to no step."""
        before = self.now()
        try:
            yield
        finally:
            self._marked = self.now()
            self.costs[what] = self._marked - before
            if what == "score":
                self.scoring += self.costs[what]

    @property
    def speed(self) -> float:
        """Items per second of the steps here; 0 before the first one."""
        if self._stepping:
            return (self.items - self._first) / self._stepping
        return self.items / self.step_seconds if self.step_seconds else 0.0

    def share(self, seconds: float, end: float) -> float:
        """The share of the training that is done after ``seconds`` of it, by the clock.

        ``end`` is the expected time of the end. A step that does not fit any more is not begun.
        """
        whole = self.budget - self.set_up - end
        return 1.0 if seconds + self.step_seconds > whole else seconds / whole

    def left(self, seconds: float, by_epochs: float) -> float:
        """Seconds until the end, after ``seconds`` of training, a share ``by_epochs`` of it."""
        by_clock = max(0.0, self.budget - self.set_up - seconds)
        return min(by_clock, seconds / by_epochs - seconds if by_epochs else math.inf)

    @property
    def left_for_scores(self) -> float:
        """Seconds of the budget that are left, without the last checkpoint."""
        return self.budget - self.waited - self.costs["save"]

    def may_score(self, share: float) -> bool:
        """Whether one more score before the end fits into ``ALL_SCORES`` of the budget."""
        return self.scoring + self.costs["score"] <= ALL_SCORES * self.budget * (share + 0.2)

    def forecast(self, epochs: float, size: int, unit: str) -> str | None:
        """A sentence on the time of these epochs of ``size`` items, where it is long.

        To be asked once the speed is `measured`.
        """
        seconds = epochs * size / self.speed
        if seconds <= LONG:
            return None
        number = math.ceil(epochs)
        return (
            f"{counted(number, 'epoch')} of {size:,} {unit} take{'s' * (number == 1)} about "
            f"{duration(seconds)} at {self.speed:,.0f} {unit}/s; --minutes 30 would stop sooner"
        )

    @property
    def measured(self) -> bool:
        """Whether the speed of the steps is known well enough for a forecast."""
        return self.steps >= 3 and self._stepping >= MEASURED
