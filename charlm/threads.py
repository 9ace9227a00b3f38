"""The number of threads of a training on a CPU.

The threads of a matrix product wait for each other, and they keep their cores busy while they wait.
If another program keeps a core busy, or the system puts two threads on one core, most of the time
goes into waiting: one thread can then be many times faster than two. docs/speed.md has
measurements.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

FASTER = 1.15  # times as many items per second make another number of threads better
NOTABLE = 1.5  # times as many are worth a notice
SLOWER = 0.6  # of the best speed with the same number: something has changed
WINDOW = 0.5  # seconds of steps that give a speed
TRIAL = 0.2  # the same for another number of threads
STEPS = 3  # the fewest steps of a trial
SHORTEST, LONGEST = 5.0, 160.0  # seconds between two trials
RARE = 20  # times as long as a trial takes is the time to the next one, at least


class Threads:
    """Finds the number of threads that is the fastest at the moment, by the time of the steps.

    It begins with ``most`` threads, and tries half as many: after the first half second, then more
    and more rarely, and at once when the steps become slower. A trial that is evidently slower ends
    after a step.

    Args:
        most: the largest number of threads.
        allowed: whether another number may be used now. It is asked before each trial.
        use: sets the number of threads.
        clock: seconds.

    Attributes:
        kept: the number that is used between the trials.
        notice: what the user should know about the last choice; None: nothing.
    """

    def __init__(
        self,
        most: int,
        allowed: Callable[[int], bool],
        *,
        use: Callable[[int], None] = torch.set_num_threads,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most = self.kept = self._used = most
        self.notice: str | None = None
        self._allowed, self._use, self._clock = allowed, use, clock
        self._speed = self._best = 0.0  # items per second with the kept number; the best of it
        self._wait = 0.0  # seconds from the last trial to the next
        self._tried = clock()
        self._up = True  # whether the last trial was of more threads
        self._warm = False  # whether there was a step; the first one is often slow
        self._begin()

    @contextmanager
    def step(self, items: Callable[[], int]) -> Iterator[None]:
        """Time the block, a step; ``items`` counts the items since the start of training."""
        before, begun = items(), self._clock()
        yield
        if not self._warm:
            self._warm = True
            return
        self._seconds += self._clock() - begun
        self._items += items() - before
        self._steps += 1
        if self._used == self.kept:
            self._watch()
        else:
            self._judge()

    def stop(self) -> None:
        """Use ``most`` threads again."""
        self._set(self.most)

    def _begin(self) -> None:
        self._seconds, self._items, self._steps = 0.0, 0, 0

    def _watch(self) -> None:
        """Note the speed of the kept number, and begin a trial when one is due."""
        if self._seconds < WINDOW:
            return
        self._speed = self._items / self._seconds
        self._best = max(self._best, self._speed)
        slower, waited = self._speed < SLOWER * self._best, self._clock() - self._tried
        if waited >= (SHORTEST if slower and self._wait else self._wait):
            self._set(self._next(slower=slower))
        self._begin()

    def _next(self, *, slower: bool) -> int:
        """The number to try: half as many, or twice as many, in turn where both are possible."""
        fewer, more = (self.kept + 1) // 2, min(2 * self.kept, self.most)
        self._up = more > self.kept and (fewer == self.kept or not (self._up or slower))
        wanted = more if self._up else fewer
        return wanted if wanted == self.most or self._allowed(wanted) else self.kept

    def _judge(self) -> None:
        """Keep the number that is tried if it is faster; else go back to the kept one."""
        speed = self._items / self._seconds
        evident = self._seconds > TRIAL and speed < self._speed / 2
        if not evident and (self._seconds < TRIAL or self._steps < STEPS):
            return
        if speed > FASTER * self._speed:
            if speed > NOTABLE * self._speed and self._used < self.kept:
                self.notice = (
                    f"another program may keep this machine busy: training with {self._used} of "
                    f"{self.most} threads is {speed / self._speed:.1f} times as fast at the moment"
                )
            slow_step = speed / self._speed * self._seconds / self._steps  # of the number before
            self._wait = max(SHORTEST, RARE * slow_step)
            self.kept, self._speed, self._best = self._used, speed, speed
        else:
            self._set(self.kept)
            self._best = self._speed  # this speed is the new measure
            self._wait = min(max(2 * self._wait, SHORTEST, RARE * self._seconds), LONGEST)
        self._tried = self._clock()
        self._begin()

    def _set(self, count: int) -> None:
        if count != self._used:
            self._used = count
            self._use(count)


def threads_given() -> bool:
    """Whether the user has set the number of threads in the environment."""
    return any(os.environ.get(f"{name}_NUM_THREADS") for name in ("OMP", "MKL"))
