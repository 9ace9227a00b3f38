"""The number of threads of a training."""

import pytest

from charlm.threads import Threads


class Machine:
    """Steps of 100 items on a machine where each number of threads has a speed, in items/s."""

    def __init__(self, most: int, speeds: dict[int, float], forbidden=()) -> None:
        self.speeds, self.count, self.now, self.items = speeds, most, 0.0, 0
        self.used: list[int] = []
        self.forbidden = forbidden
        self.threads = Threads(most, self.allowed, use=self.use, clock=lambda: self.now)

    def allowed(self, count: int) -> bool:
        return count not in self.forbidden

    def use(self, count: int) -> None:
        self.used.append(count)
        self.count = count

    def train(self, seconds: float) -> float:
        """Train for some seconds; return items per second."""
        before, items = self.now, self.items
        while self.now < before + seconds:
            with self.threads.step(lambda: self.items):
                self.now += 100 / self.speeds[self.count]
                self.items += 100
        return (self.items - items) / (self.now - before)


def test_the_fastest_number_is_found_and_kept():
    machine = Machine(8, {8: 500, 4: 2000, 2: 9000, 1: 8000})
    machine.train(30)
    assert machine.threads.kept == 2
    assert machine.train(600) > 0.98 * 9000
    machine.threads.stop()
    assert machine.count == 8


def test_a_machine_that_gets_busy_and_idle_again():
    machine = Machine(2, {2: 53_000, 1: 32_000})
    assert machine.train(300) > 0.97 * 53_000
    assert (machine.threads.kept, machine.threads.notice) == (2, None)
    machine.speeds = {2: 1_200, 1: 31_000}
    assert machine.train(60) > 0.9 * 31_000
    assert machine.threads.kept == 1
    assert "another program" in machine.threads.notice
    assert "training with 1 of 2 threads is 25.8 times as fast" in machine.threads.notice
    machine.speeds = {2: 53_000, 1: 32_000}
    machine.train(200)
    assert machine.threads.kept == 2


def test_trials_of_threads_that_wait_cost_little():
    machine = Machine(2, {2: 50, 1: 31_000})  # two seconds a step
    machine.train(120)
    assert machine.train(600) > 0.96 * 31_000


@pytest.mark.parametrize(("most", "forbidden"), [(1, ()), (2, (1,))])
def test_one_thread_and_a_forbidden_number_leave_the_number_alone(most, forbidden):
    machine = Machine(most, {2: 1_000, 1: 9_000}, forbidden)
    machine.train(20)
    assert machine.used == []
