"""What the commands that train have in common: going on, showing what happens, the summary."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from charlm.cli.interrupts import StopFlag, polled
from charlm.cli.options import AnyRun, open_run
from charlm.cli.output import Output, clock, figure_words
from charlm.cli.progress import ProgressBar
from charlm.config import Settings, TaskConfig
from charlm.corpus import SPLITS
from charlm.errors import RunError, Stopped

if TYPE_CHECKING:
    import torch

    from charlm.corpus.examples import Examples
    from charlm.runs import TaskRun
    from charlm.training import Finished, Started

AnyConfig = TypeVar("AnyConfig", bound=TaskConfig)


def open_to_resume(
    kind: type[AnyRun], folder: Path | None, given: list[Settings], output: Output
) -> AnyRun:
    """The run to go on with, or the newest of its kind, with the settings that may be others.

    Raises:
        RunError: there is none, or it is damaged, or of another task.
        UsageError: a setting cannot change.
    """
    from charlm.runs import run_folders

    if folder is None:
        folder = next(iter(run_folders(kind.task)), None)
        if folder is None:
            raise RunError("no run to go on with", f"train one: {kind.command} train")
    run = open_run(kind, folder, output)
    run.change(run.config_type.from_settings([run.config.to_dict(), *given]))
    return run


def with_resolved_source(config: AnyConfig, corpus: Any) -> AnyConfig:
    """The configuration, with the place for good where an own source lies."""
    from charlm.corpus import catalogue

    source = config.corpus.source
    if source in catalogue() or source == "-":
        return config
    source = str(Path(corpus.source).resolve())
    return dataclasses.replace(config, corpus=dataclasses.replace(config.corpus, source=source))


def show_plan(
    config: TaskConfig,
    corpus: Any,
    parameters: int,
    device: str,
    content: dict[str, Any],
    output: Output,
) -> None:
    """What ``--dry-run`` prints, after a line about the data.

    Args:
        content: what the task adds for programs.
    """
    output.json(
        {
            "corpus": corpus.name,
            **content,
            "split": dict(zip(SPLITS, corpus.split_sizes, strict=True)),
            "vocabulary": len(corpus.vocabulary),
            "parameters": parameters,
            "device": device,
            "config": config.to_dict(),
        }
    )
    output.text(f"model: {parameters:,} parameters, on {device}\n")
    for section, values in config.to_dict().items():
        output.text(f"[{section}]")
        for key, value in values.items():
            output.text(f"{key} = {value}")


def follow(
    run: TaskRun, corpus: Any, device: torch.device, stop: StopFlag, output: Output
) -> tuple[Started, Finished]:
    """Train, and show what happens: a bar on a terminal, and the samples as they come."""
    from charlm.training import Finished, Measured, Sampled, Started, Stepped, train

    stepped = False
    samples = bool(getattr(run.config.training, "prefixes", ()))
    with ProgressBar(output, run.figures, run.unit, samples=samples) as bar:
        for event in train(run, corpus, device=device, should_stop=stop):
            match event:
                case Started():
                    started = event
                    model = run.config.model
                    output.note(
                        f"training {model.cell} ({model.backend}), {event.parameters:,} "
                        f"parameters, on {event.train_size:,} {run.unit} of {corpus.name}, "
                        f"{event.device}; run: {run.folder}"
                    )
                    for notice in event.notices:
                        output.warn(notice)
                    if event.epoch:
                        output.note(f"going on after {event.epoch:.4g} epochs")
                case Stepped():
                    stepped = True
                    bar.update(event)
                case Measured():
                    bar.measured(event)
                case Sampled():
                    bar.sampled(event)
                case Finished():
                    if not stepped and not event.interrupted:
                        more = "more --epochs or --minutes go on with it"
                        if event.out_of_patience:
                            more = "it was no better for too long; a larger --patience goes on"
                        output.note(f"nothing left to do; {more}")
                    return started, event
    raise AssertionError("training ends with a Finished event")


def conclude(
    run: TaskRun,
    corpus: Any,
    started: Started,
    finished: Finished,
    more: dict[str, Any],
    output: Output,
) -> None:
    """Keep and show the summary.

    Args:
        more: what the task adds to it.
    """
    from charlm.runs.files import write_json

    figures = dict(zip(run.figures, (finished.train, finished.valid), strict=True))
    summary = {
        "run": str(run.folder),
        "task": run.task,
        "corpus": corpus.name,
        "cell": run.config.model.cell,
        "backend": run.config.model.backend,
        "parameters": started.parameters,
        "device": started.device,
        "seed": run.config.training.seed,
        "epochs": finished.epochs,
        f"{run.unit}_seen": finished.items,
        "seconds": round(finished.seconds, 2),
        f"{run.unit}_per_second": round(finished.items / finished.seconds),
        **figures,
        "interrupted": finished.interrupted,
        **more,
    }
    write_json(run.folder / "summary.json", summary)
    output.json(summary)
    how = "stopped" if finished.interrupted else "trained"
    if finished.out_of_patience:
        how = "no better for a while: ended"
    output.text(
        f"{how} after {finished.epochs:.4g} epochs, {clock(finished.seconds)}, "
        f"{summary[f'{run.unit}_per_second']:,} {run.unit}/s"
    )
    figures |= {name: value for name, value in more.items() if name.startswith("test_")}
    for name, value in figures.items():
        if value is not None:
            held_out = " (held-out text)" if name == "valid_perplexity" else ""
            output.text(figure_words(name, value) + held_out)
    output.text(f"run {run.folder}")
    if finished.interrupted:
        output.text(f"go on: {run.command} train --resume{run_option(run)}")


def train_examples(
    kind: type[AnyRun],
    opened: AnyRun | None,
    config: AnyConfig,
    corpus: Examples,
    folder: Path | None,
    *,
    dry_run: bool,
    words: str,
    plan: dict[str, Any],
    score: tuple[str, Callable[..., float]],
    next_command: str,
    output: Output,
) -> None:
    """Train on examples, and score the test split with the best weights at the end.

    Args:
        opened: a run to go on with; None: a new one.
        folder: the new one's.
        words: what the examples are.
        plan: what ``--dry-run`` adds for programs.
        score: the name of a figure, and what gives it: of the run, the corpus, the split, the
            device and the flag that ends it early by `Stopped`.
        next_command: what to type next.
    """
    from charlm.device import select_device

    for notice in corpus.notices:
        output.note(notice)
    config = with_resolved_source(config, corpus)
    device = select_device(config.training.device)
    if dry_run:
        sizes = zip(SPLITS, corpus.split_sizes, strict=True)
        output.text(
            f"{corpus.name}: {words} ({', '.join(f'{name} {size:,}' for name, size in sizes)}), "
            f"vocabulary {len(corpus.vocabulary):,}"
        )
        model = kind.model_of(config, corpus.vocabulary)
        content = {"task": config.task, **plan}
        show_plan(config, corpus, model.num_parameters(), str(device), content, output)
        return
    run = kind.create(folder, config, corpus) if opened is None else opened
    run.config = config
    figure, value_of = score
    with polled() as stop:
        started, finished = follow(run, corpus, device, stop, output)
        value, has_test = None, corpus.split_sizes[2] > 0
        if has_test and not finished.interrupted:
            with suppress(Stopped):
                value = value_of(run, corpus, "test", device, stop)
        conclude(run, corpus, started, finished, {figure: value}, output)
        output.text(f"next: {run.command} {next_command}{run_option(run)}")
        if finished.interrupted or (has_test and value is None):
            stop.raise_if_set()


def run_option(run: TaskRun) -> str:
    """What a command to type next needs to take this run: the newest is taken without."""
    from charlm.runs import run_folders

    newest = run.folder in run_folders(run.task)[:1]
    return "" if newest else f" --run {shlex.quote(str(run.folder))}"
