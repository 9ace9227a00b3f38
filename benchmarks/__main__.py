"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from benchmarks.harness import Row

RESULTS = Path(__file__).parent / "results"
BUSY = 1.0  # load average


def main(arguments: list[str]) -> int:
    """Measure rows, or make the tables of docs/; returns the exit code."""
    if arguments[:1] == ["tables"]:
        from benchmarks import tables

        return tables.main(arguments[1:])
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Compare the speed and memory of charlm with that of its peers. "
        "`python -m benchmarks tables` makes the tables of docs/.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="rows whose names contain this")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    parser.add_argument("--quick", action="store_true", help="small sizes, two rounds, no files")
    parser.add_argument("--full", action="store_true", help="also a text of 1 GB")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of each row")
    parser.add_argument("--threads", type=int, metavar="N", help="default: as many as torch takes")
    parser.add_argument("--device", default="cpu", metavar="cpu|cuda|mps")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help=f"default: {RESULTS}")
    options = parser.parse_args(arguments)
    for name in ("rounds", "threads"):
        if (value := getattr(options, name)) is not None and value < 1:
            parser.error(f"--{name} must be 1 or more")
    if options.threads:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before torch is imported

    from benchmarks.rows import ROWS

    chosen = [
        row for row in ROWS if not options.names or any(name in row.name for name in options.names)
    ]
    if not chosen:
        parser.error(f"no row has {' or '.join(options.names)} in its name; see --list")
    if options.list:
        for row in chosen:
            print(f"{row.name}: {row.about}")
        return 0

    from charlm.device import select_device
    from charlm.errors import UsageError

    try:
        device = select_device(options.device)
    except UsageError as error:
        parser.error(error.message)
    return measure_all(chosen, options, device)


def measure_all(chosen: Sequence[Row], options: argparse.Namespace, device: torch.device) -> int:
    """Measure rows, print them as they come, and write the files; returns the exit code."""
    import torch

    from benchmarks import results
    from benchmarks.harness import NotHereError, Options, measure
    from benchmarks.rows import ROWS

    warn_if_busy()
    if options.threads:
        torch.set_num_threads(options.threads)
    threads = torch.get_num_threads()
    os.environ["OMP_NUM_THREADS"] = str(threads)  # also in processes of their own
    output = options.output or (None if options.quick else RESULTS)
    failed, page = False, None
    # d2l makes a number of a tensor with gradients.
    warnings.filterwarnings("ignore", "Converting a tensor with requires_grad", UserWarning)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        settings = Options(
            folder=Path(folder),
            device=device,
            threads=threads,
            quick=options.quick,
            full=options.full,
        )
        stem = f"speed-{settings.device.type}"
        where = results.surroundings(settings)
        print(results.describe(where) + "\n")
        header = results.table(results.HEADER, ())
        print("\n".join(header), flush=True)
        for row in chosen:
            started = time.monotonic()
            try:
                result = measure(row, settings, options.rounds) | {"where": where}
            except NotHereError as reason:
                print(f"{row.name}: skipped, {reason}", file=sys.stderr)
                continue
            except Exception:
                failed = True
                print(f"{row.name}: failed", file=sys.stderr)
                traceback.print_exc()
                continue
            result["seconds"] = time.monotonic() - started
            if output is not None:
                page = results.write(output, stem, [result], [row.name for row in ROWS])
            for line in results.cells(result):
                print("| " + " | ".join(line) + " |", flush=True)
    if page is not None:
        print(f"\n{page}", file=sys.stderr)
    return int(failed)


def warn_if_busy() -> None:
    """Say in a line that other processes are at work, where the system tells."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > BUSY:
        print(
            f"warning: the load average is {load:.1f}: other work on this machine disturbs the "
            "figures; ratios suffer least",
            file=sys.stderr,
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
