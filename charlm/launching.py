"""Start several processes of a command by torch's own launcher, and know whether this is one."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from charlm.errors import CharlmError, UsageError

LAUNCHED = "CHARLM_LAUNCHED"  # in the environment of the processes that `launch` starts
_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # torch's launcher sets them


def one_of_several() -> bool:
    """Whether torch's launcher started this process beside others."""
    return all(name in os.environ for name in _NEEDED) and int(os.environ["WORLD_SIZE"]) > 1


def rank() -> int:
    """The rank that torch's launcher gave to this process; 0 for a process alone."""
    return int(os.environ["RANK"]) if one_of_several() else 0


def prepare() -> None:
    """What a process has to do before it imports torch: torch's own messages are for developers."""
    if one_of_several():
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")


def leave(code: int) -> NoReturn:
    """End this process, one of several, after its exit handlers.

    The usual end could abort it: a thread of torch that still holds a tensor needs the interpreter
    to let go of it (https://github.com/pytorch/pytorch/issues/190489).
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def check_launched(processes: int | None) -> None:
    """Check that ``--processes`` is not given to processes that another launcher has started."""
    if processes is not None and one_of_several() and LAUNCHED not in os.environ:
        raise UsageError(
            "--processes starts processes, but torchrun has already started some",
            "leave out one of the two",
        )


def launch(processes: int, arguments: Sequence[str]) -> int:
    """Run ``charlm`` with these arguments in several processes on this machine.

    As ``torchrun --standalone --nproc-per-node N -m charlm ...``, without its reports: each process
    has one thread, unless OMP_NUM_THREADS says otherwise, and all end when one of them fails. A
    signal is passed on to all.

    Returns:
        The exit code: 0, or that of the process which failed first.

    Raises:
        CharlmError: the system has ended a process.
    """
    import logging

    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.CRITICAL)  # the launcher's own messages
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ[LAUNCHED] = "1"
    try:
        with TemporaryDirectory(prefix="charlm-") as logs:
            config = LaunchConfig(
                min_nodes=1,
                max_nodes=1,
                nproc_per_node=processes,
                rdzv_backend="c10d",
                rdzv_endpoint="localhost:0",
                local_addr="localhost",
                max_restarts=0,
                logs_specs=DefaultLogsSpecs(log_dir=logs),
            )
            elastic_launch(config, sys.executable)("-m", "charlm", *arguments)
    except ChildFailedError as failed:
        return _exit_code(failed.failures, processes)
    except SignalException as ended:  # perhaps a second one, while the launcher ends the processes
        return 128 + ended.sigval
    return 0


def _exit_code(failures: Mapping[int, Any], processes: int) -> int:
    """The exit code of the process that failed first; torch's launcher names it first."""
    number, failure = next(iter(failures.items()))
    if failure.exitcode >= 0:
        return int(failure.exitcode)
    ended = -failure.exitcode
    name = signal.Signals(ended).name if ended in [*signal.Signals] else f"signal {ended}"
    raise CharlmError(
        f"process {number} of {processes} was ended by {name}, so the others ended too",
        "--resume continues the training from its last checkpoint",
    )
