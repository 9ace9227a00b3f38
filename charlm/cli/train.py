"""``charlm train``."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charlm.cli.interrupts import StopFlag, polled
from charlm.cli.options import AsJson, CorporaDir, Quiet, Version
from charlm.cli.output import Output, clock, figure
from charlm.cli.progress import ProgressBar
from charlm.config import (
    CELLS,
    Config,
    Layer,
    layer_for_text,
    layer_from_assignments,
    layer_from_preset,
    layer_from_toml,
    preset_names,
)
from charlm.errors import CorpusError, RunError

if TYPE_CHECKING:
    import torch

    from charlm.corpus import Corpus
    from charlm.runs import Run
    from charlm.training import Finished, Started


def train(
    corpus: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE|FOLDER",
            help="A corpus by name (see charlm corpus list), a text of yours, or - for standard "
            "input. [default: traveller, which comes with charlm]",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help=f"Settings by name: {', '.join(preset_names())}."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Settings from a file.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting; can be given repeatedly."),
    ] = None,
    cleaning: Annotated[
        str | None,
        typer.Option(
            metavar="letters|spaces|none",
            help="How the text is cleaned. [default: the corpus's own; own text: none]",
        ),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of an own text. [default: UTF-8]")
    ] = None,
    max_chars: Annotated[
        int | None, typer.Option(metavar="N", help="Keep the first N characters.")
    ] = None,
    cell: Annotated[
        str | None, typer.Option(metavar="|".join(CELLS), help="The recurrent cell.")
    ] = None,
    backend: Annotated[
        str | None, typer.Option(metavar="scratch|torch", help="By the equations, or torch's own.")
    ] = None,
    hidden_size: Annotated[int | None, typer.Option(metavar="N", help="Units of a layer.")] = None,
    num_layers: Annotated[int | None, typer.Option(metavar="N", help="Recurrent layers.")] = None,
    sampling: Annotated[
        str | None, typer.Option(metavar="random|consecutive", help="How batches are taken.")
    ] = None,
    seq_len: Annotated[
        int | None, typer.Option("--seq-len", "--num-steps", metavar="N", help="Steps of a batch.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(metavar="N", help="Rows of a batch.")] = None,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", help="End after N times through the text.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(metavar="F", help="End after F minutes.")] = None,
    lr: Annotated[float | None, typer.Option(metavar="F", help="Learning rate.")] = None,
    clip_norm: Annotated[
        float | None, typer.Option(metavar="F", help="Clip the global gradient norm to F.")
    ] = None,
    prefix: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="Sample after this text; can be given repeatedly."),
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Of every random choice.")] = None,
    device: Annotated[
        str | None, typer.Option(metavar="auto|cpu|cuda|mps", help="Where to train.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="The folder to make, or to go on with. [default: "
            "checkpoints/<time>-<corpus>-<cell>; with --resume: the newest run]",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with a run exactly where it was saved; --epochs, --minutes and the like "
            "may be others.",
        ),
    ] = False,
    deterministic: Annotated[
        bool,
        typer.Option(
            "--deterministic", help="On CUDA: slower, and the same numbers for the same seed."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be trained, and stop.")
    ] = False,
    corpora_dir: CorporaDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Train a model on a text; without options, for half a minute on one that comes along.

    Without --epochs and --minutes it takes 40 epochs or 96 seconds, whichever comes first.

    Settings are taken from the defaults for a text of this length, then --preset, then --config,
    then the options, then --set. See them all with --dry-run.
    """
    options: Layer = {
        "corpus": {
            "source": corpus,
            "cleaning": cleaning,
            "encoding": encoding,
            "max_chars": max_chars,
        },
        "model": {
            "cell": cell,
            "backend": backend,
            "hidden_size": hidden_size,
            "num_layers": num_layers,
        },
        "training": {
            "sampling": sampling,
            "seq_len": seq_len,
            "batch_size": batch_size,
            "epochs": epochs,
            "minutes": minutes,
            "lr": lr,
            "clip_norm": clip_norm,
            "prefixes": prefix or None,
            "seed": seed,
            "device": device,
            "deterministic": deterministic or None,
        },
    }
    layers: list[Layer] = []
    if preset is not None:
        layers.append(layer_from_preset(preset))
    if config is not None:
        layers.append(layer_from_toml(config))
    layers.append({name: _given(values) for name, values in options.items()})
    layers.append(layer_from_assignments(assignments or []))
    output = Output(as_json=as_json, quiet=quiet)
    if resume:
        _resume(layers, run, corpora_dir, dry_run=dry_run, output=output)
    else:
        _train(layers, run, corpora_dir, dry_run=dry_run, output=output)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _train(
    layers: list[Layer],
    folder: Path | None,
    corpora_dir: Path | None,
    *,
    dry_run: bool,
    output: Output,
) -> None:
    from charlm.models.build import select_device
    from charlm.runs import Run, load_run_corpus
    from charlm.training.trainer import check_train_split

    config = Config.from_layers(layers)
    device = select_device(config.training.device)
    with _standard_input_as_file(config.corpus.source) as kept:
        corpus = load_run_corpus(config.corpus, kept, corpora_dir)
        for notice in corpus.notices:
            output.note(notice)
        suited = layer_for_text(corpus.split_sizes[0], len(corpus.vocabulary))
        config = _resolve(Config.from_layers([suited, *layers]), corpus, output)
        check_train_split(config.training, corpus.split_sizes[0])
        if dry_run:
            _show_plan(config, corpus, str(device), output)
            return
        run = Run.create(folder, config, corpus, kept)
    _follow_to_the_end(run, corpus, device, output)


def _resume(
    layers: list[Layer],
    folder: Path | None,
    corpora_dir: Path | None,
    *,
    dry_run: bool,
    output: Output,
) -> None:
    from charlm.models.build import select_device
    from charlm.runs import Run, run_folders

    if folder is None:
        folder = next(iter(run_folders()), None)
        if folder is None:
            raise RunError("no run to go on with", "train one: charlm train")
    run = Run.open(folder)
    for notice in run.notices:
        output.warn(notice)
    run.change(Config.from_layers([run.config.to_dict(), *layers]))
    device = select_device(run.config.training.device)
    corpus = run.load_corpus(corpora_dir)
    run.config = _resolve(run.config, corpus, output)
    if dry_run:
        _show_plan(run.config, corpus, str(device), output)
        return
    _follow_to_the_end(run, corpus, device, output)


def _follow_to_the_end(run: Run, corpus: Corpus, device: torch.device, output: Output) -> None:
    with polled() as stop:
        started, finished = _follow(run, corpus, device, stop, output)
        _conclude(run, corpus, started, finished, output)
        if finished.interrupted:  # else the signal came too late to matter
            stop.raise_if_set()


@contextmanager
def _standard_input_as_file(source: str) -> Iterator[Path | None]:
    """Standard input can be read but once: within, it lies in a file. None for other sources."""
    if source != "-":
        yield None
        return
    with TemporaryDirectory() as folder:
        path = Path(folder) / "stdin.txt"
        path.write_bytes(sys.stdin.buffer.read())
        try:
            yield path
        except CorpusError as error:  # the user knows of no such file
            message = error.message.replace(str(path), "standard input")
            raise CorpusError(message, error.hint) from None


def _resolve(config: Config, corpus: Corpus, output: Output) -> Config:
    """Fill in what depends on the text: where it lies for good, and the prefixes."""
    from charlm.corpus import catalogue
    from charlm.generation.prefix import prepare_prefix

    source = config.corpus.source
    entry = catalogue().get(source)
    if entry is None and source != "-":
        source = str(Path(corpus.source).resolve())
    wanted = config.training.prefixes or (entry.prefixes if entry else ())
    if not wanted:
        wanted = (_beginning(corpus.text("valid") or corpus.text("train")),)
    prefixes = [prepare_prefix(prefix, corpus.cleaning, corpus.vocabulary) for prefix in wanted]
    for prefix in prefixes:
        for notice in prefix.notices:
            output.warn(notice)
    return dataclasses.replace(
        config,
        corpus=dataclasses.replace(config.corpus, source=source),
        training=dataclasses.replace(
            config.training, prefixes=tuple(prefix.text for prefix in prefixes)
        ),
    )


def _beginning(text: str) -> str:
    """A word or two from the start of a text, to sample after."""
    words = text[:200].split()
    if not words:
        return text[:1]
    words = words[1:] or words  # the text may begin within a word
    start = " ".join(words[:2])
    return start if len(start) <= 12 else words[0][:12]


def _show_plan(config: Config, corpus: Corpus, device: str, output: Output) -> None:
    """What ``--dry-run`` prints."""
    from charlm.models.build import build_language_model

    model = build_language_model(config.model, len(corpus.vocabulary))
    train, valid, test = corpus.split_sizes
    content = {
        "corpus": corpus.name,
        "characters": corpus.characters,
        "split": {"train": train, "valid": valid, "test": test},
        "vocabulary": len(corpus.vocabulary),
        "parameters": model.num_parameters(),
        "device": device,
        "config": config.to_dict(),
    }
    output.json(content)
    output.text(
        f"corpus {corpus.name}: {corpus.characters:,} characters (train {train:,}, valid "
        f"{valid:,}, test {test:,}), vocabulary {len(corpus.vocabulary):,}\n"
        f"model: {model.num_parameters():,} parameters, on {device}\n"
    )
    for section, values in config.to_dict().items():
        output.text(f"[{section}]")
        for key, value in values.items():
            output.text(f"{key} = {value}")


def _follow(
    run: Run, corpus: Corpus, device: torch.device, stop: StopFlag, output: Output
) -> tuple[Started, Finished]:
    """Train, and show what happens: a bar on a terminal, and the samples as they come."""
    from charlm.training import Finished, Measured, Sampled, Started, Stepped, train

    stepped = False
    with ProgressBar(output) as bar:
        for event in train(run, corpus, device=device, should_stop=stop):
            match event:
                case Started():
                    started = event
                    model = run.config.model
                    output.note(
                        f"training {model.cell} ({model.backend}), {event.parameters:,} "
                        f"parameters, on {event.train_characters:,} characters of {corpus.name}, "
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
                        output.note("nothing left to do; more --epochs or --minutes go on with it")
                    return started, event
    raise AssertionError("training ends with a Finished event")


def _conclude(
    run: Run, corpus: Corpus, started: Started, finished: Finished, output: Output
) -> None:
    """Keep and show the summary, and the next command to type."""
    from charlm.runs import run_folders
    from charlm.runs.files import write_json

    last = {row["prefix"]: row["text"] for row in run.samples}
    summary = {
        "run": str(run.folder),
        "corpus": corpus.name,
        "cell": run.config.model.cell,
        "backend": run.config.model.backend,
        "parameters": started.parameters,
        "device": started.device,
        "seed": run.config.training.seed,
        "epochs": finished.epochs,
        "characters_seen": finished.characters,
        "seconds": round(finished.seconds, 2),
        "characters_per_second": round(finished.characters / finished.seconds),
        "train_perplexity": finished.train_perplexity,
        "valid_perplexity": finished.valid_perplexity,
        "interrupted": finished.interrupted,
        "samples": [{"prefix": prefix, "text": text} for prefix, text in last.items()],
    }
    write_json(run.folder / "summary.json", summary)
    output.json(summary)
    how = "stopped" if finished.interrupted else "trained"
    if finished.out_of_patience:
        how = "no better for a while: ended"
    output.text(
        f"{how} after {finished.epochs:.4g} epochs, {clock(finished.seconds)}, "
        f"{summary['characters_per_second']:,} characters/s"
    )
    output.text(f"train perplexity {figure(finished.train_perplexity)}")
    if finished.valid_perplexity is not None:
        output.text(f"valid perplexity {figure(finished.valid_perplexity)} (held-out text)")
    output.text(f"run {run.folder}")
    # Without --run, the newest run under checkpoints is taken.
    newest = run.folder in run_folders()[:1]
    where = "" if newest else f" --run {shlex.quote(str(run.folder))}"
    if finished.interrupted:
        output.text(f"go on: charlm train --resume{where}")
    prefix = run.config.training.prefixes[0]
    output.text(f"next: charlm generate{where} --prefix {shlex.quote(prefix)}")
