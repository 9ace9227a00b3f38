"""Several processes that train one model together, by torch.distributed.

torch's launcher starts them (``torchrun``, or ``charlm train --processes N``) and tells each its
rank, 0 to N - 1, in the environment. Each computes on its rows of every batch; the process with
rank 0 writes and prints. All of them take the same decisions, because whatever decisions depend on
(sums of losses, the time, signals) is agreed on in an exchange. A process that trains alone
exchanges nothing.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from charlm.errors import CharlmError, Stopped, UsageError, counted
from charlm.launching import LAUNCHED, one_of_several

START = 300  # seconds for all processes to come up
PATIENCE = 20  # seconds that a process waits for the others within a step
BEAT = 2.0  # seconds between two signs of life
SILENCE = 20.0  # seconds without a sign of life after which a process counts as hung
POLL = 0.002  # seconds between two looks at an exchange that may take long
_LOST = re.compile("gloo|nccl|connection|socket|timed ?out|peer|broken pipe", re.I)
_CLOCK = ("timed out", "timeout", "time out")

Value = TypeVar("Value")


class ProcessesError(CharlmError):
    """Another process of a training has ended, or it hangs."""

    def __init__(self, message: str, *, ended: bool = True) -> None:
        super().__init__(message, "--resume continues the training from its last checkpoint")
        self.ended = ended


class World:
    """The processes of a training; this one has the rank ``rank`` of ``size``.

    Attributes:
        should_stop: whether a signal has asked this process to stop.
    """

    def __init__(self, rank: int = 0, size: int = 1, store: Any = None) -> None:
        self.rank, self.size, self._store = rank, size, store
        self.should_stop: Callable[[], bool] = lambda: False
        self._now, self._any_stopped = time.monotonic(), False
        self._ended, self._orphaned = threading.Event(), False
        if size > 1:
            self._patient = dist.new_group(backend="gloo", timeout=timedelta(days=30))
            self._beating = threading.Thread(target=self._beat, daemon=True)
            self._beating.start()

    def check_rows(self, batch_size: int) -> None:
        """Check that each process has a row of a batch; a UsageError if not."""
        if batch_size < self.size:
            raise UsageError(
                f"a batch of {counted(batch_size, 'row')} is too small for {self.size} processes",
                "give a larger --batch-size, or fewer processes",
            )

    @property
    def first(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    @property
    def own(self) -> slice:
        """The places of this process's share in any sequence, such as the rows of a batch."""
        return slice(self.rank, None, self.size)

    def count_own(self, number: int) -> int:
        """The size of this process's share of a number of things."""
        return len(range(number)[self.own])

    # What all processes know

    def now(self) -> float:
        """`time.monotonic`; of several processes, that of rank 0 at the last exchange."""
        return time.monotonic() if self.size == 1 else self._now

    def stopped(self) -> bool:
        """Whether to stop: a signal came; for several processes, to any before an exchange."""
        return self.should_stop() if self.size == 1 else self._any_stopped

    # Exchanges: all processes have to make them, in the same order

    def sum(self, *values: float) -> list[float]:
        """The sums of some numbers over all processes, at most `PATIENCE` apart in time."""
        return self._exchange(values, patient=False)

    def meet(self) -> None:
        """Wait for all processes, as long as each gives signs of life."""
        self._exchange((), patient=True)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Wait at the end of the block for all processes, which may take different times in it.

        Raises:
            Stopped: one of them was stopped.
        """
        if self.size == 1:
            yield
            return
        with suppress(Stopped):
            yield
        self.meet()
        if self._any_stopped:
            raise Stopped

    def from_first(self, value: Value) -> Value:
        """The value that rank 0 has; the others wait for it."""
        if self.size == 1:
            return value
        values = [value]
        self.meet()
        with lost_processes():
            dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
        return values[0]

    def share_out(
        self, things: Tensor, compute: Callable[[Tensor], Iterable[Value]]
    ) -> list[Value]:
        """``compute(things)``, a value for each thing; each process computes on its share.

        Raises:
            Stopped: one of them was stopped.
        """
        own, found = things[self.own], []
        with self.together():
            found = [*compute(own)] if len(own) else []
        values: list[Value] = self.joined(found)
        return values

    def joined(self, share: Sequence[Any] | Tensor) -> Any:
        """A list or a tensor from the `own` shares of all processes."""
        if self.size == 1:
            return share
        shares: list[Any] = [None] * self.size
        with lost_processes():
            dist.all_gather_object(shares, share)
        number = sum(map(len, shares))
        whole: Any = [None] * number
        if isinstance(share, Tensor):
            whole = share.new_empty(number, *share.shape[1:])
        for rank, each in enumerate(shares):
            whole[rank :: self.size] = each
        return whole

    def sum_rows(self, gradient: Tensor) -> Tensor:
        """The sum of sparse gradients over all processes."""
        total = gradient.cpu().coalesce()
        with lost_processes():
            dist.all_reduce(total)  # only gloo, on the CPU, knows sparse tensors
        return total.to(gradient.device)

    def _exchange(self, values: Sequence[float], *, patient: bool) -> list[float]:
        if self.size == 1:
            return [*values]
        if self._orphaned:
            raise ProcessesError("the launcher of this training has ended", ended=False)
        time_here = time.monotonic() if self.first else 0.0
        sums = torch.tensor([time_here, self.should_stop(), *values], dtype=torch.float64)
        with lost_processes():
            if patient:
                self._wait(dist.all_reduce(sums, group=self._patient, async_op=True))
            else:
                dist.all_reduce(sums)
        self._now, stopped, *totals = sums.tolist()
        self._any_stopped = stopped > 0
        return totals

    # Signs of life

    def _beat(self) -> None:
        """Write down a growing number every few seconds, until the training ends."""
        try:
            store = self._store.clone()
            for number in itertools.count(1):
                if self._ended.wait(BEAT):
                    break
                store.set(f"beat/{self.rank}", str(number))
        except Exception:  # torch has no public name for the errors of a store
            self._orphaned = not self._ended.is_set()

    def _wait(self, work: Any) -> None:
        """Wait for an exchange; a ProcessesError if a process gives no sign of life."""
        looked = time.monotonic()
        alive = {rank: (b"", looked) for rank in range(self.size) if rank != self.rank}
        while not work.is_completed():
            time.sleep(POLL)
            now = time.monotonic()
            if now - looked < BEAT:
                continue
            looked = now
            for rank, (before, since) in alive.items():
                beat = self._store.get(f"beat/{rank}")
                if beat != before:
                    alive[rank] = (beat, now)
                elif now - since > SILENCE:
                    raise ProcessesError(
                        f"process {rank} of {self.size} gave no sign of life for {SILENCE:.0f} "
                        "seconds",
                        ended=False,
                    )
        work.wait()

    def tells(self, error: Exception) -> bool:
        """Whether this process has to tell the user of the error that ends the training.

        It is the first one that asks. The launcher of `charlm.launching` tells of an ended process.
        """
        if LAUNCHED in os.environ and isinstance(error, ProcessesError):
            if error.ended:
                return False
            if self._orphaned:  # all processes notice it
                return self.first
        with suppress(Exception):  # the store is gone
            return bool(self._store.add("told", 1) == 1)
        return True

    def close(self) -> None:
        """Give no more signs of life."""
        self._ended.set()
        if self.size > 1:
            self._beating.join(BEAT)  # Python would end it inside torch, which ends the process


@contextmanager
def lost_processes() -> Iterator[None]:
    """Turn the errors of torch on a lost process into a `ProcessesError`."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if not _LOST.search(str(error)):
            raise
        hangs = any(words in str(error).lower() for words in _CLOCK)
        message = "another process of this training has ended, or cannot be reached"
        if hangs:
            message = f"another process of this training did not answer within {PATIENCE} seconds"
        raise ProcessesError(message, ended=not hangs) from error


_world = World()


def world() -> World:
    """The processes of the training that goes on here."""
    return _world


@contextmanager
def joined() -> Iterator[World]:
    """Train together inside the block, with the processes that torch's launcher has started.

    An error in the block ends the other processes too, and one process lets it through.

    Raises:
        ProcessesError: another process has ended, or hangs.
    """
    global _world
    if not one_of_several():
        yield _world
        return
    with lost_processes():
        _world = _join()
    try:
        yield _world
        dist.destroy_process_group()
    except Exception as error:
        if not _world.tells(error):
            time.sleep(0.5)  # the process that tells ends first, and decides on the exit code
            sys.exit(1)
        sys.stderr = sys.__stderr__
        raise
    finally:
        _world.close()
        _world = World()


def _join() -> World:
    store, rank, size = next(rendezvous("env://", timeout=timedelta(seconds=START)))
    ranks = [f"beat/{each}" for each in range(size)]
    store.set(ranks[rank], "0")
    end = time.monotonic() + START
    while not store.check(ranks):  # `store.wait` would not let signals through
        if time.monotonic() > end:
            raise ProcessesError(f"not all of the {size} processes came up in {START} seconds")
        time.sleep(10 * POLL)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
        store=PrefixStore("group", store),
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=PATIENCE),
    )
    return World(rank, size, store)
