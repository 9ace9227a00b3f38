"""Every damaged checkpoint is refused quickly, with one clear line.

There are two kinds of damage. *Raw* damage changes bytes but not the manifest. *Forged* damage also
rewrites the manifest to fit, to test the checks behind its hashes: impossible names, shapes, types,
sizes and numbers. A value that a training could have written is not damage.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import sys
import time
import typing
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from charlm.errors import CharlmError, RunError
from charlm.runs import Run
from charlm.runs import run as run_module
from charlm.runs.checkpoint import clean_up
from charlm.runs.files import MAX_SETTINGS, MAX_VOCABULARY
from charlm.tasks.language_model.config import LanguageModelConfig
from charlm.tasks.language_model.corpus import Corpus, load_corpus
from charlm.training import Stepped, train
from charlm.training.loop import open_trainer
from charlm.training.trainer import Trainer

CPU = torch.device("cpu")
ABOUT = ("run.json", "vocabulary.json")
TENSORS = ("last.safetensors", "best.safetensors", "training.safetensors")
LINES = ("metrics.jsonl", "samples.jsonl")
CHECKPOINT = (*TENSORS, "training.json", *LINES)
NAMES = (*ABOUT, *CHECKPOINT, "manifest.json")
SETTINGS = {
    "model": {"cell": "lstm", "hidden_size": 4, "embedding_size": 3},
    "training": {
        **{"epochs": 3, "batch_size": 5, "seq_len": 20, "sampling": "consecutive"},
        **{"prefixes": ["the "], "sample_length": 20, "sample_every": 1},
        **{"save_steps": 5, "save_minutes": None},
    },
}
NEWEST = "checkpoint-000003"
GIANT = 2**31
SECONDS = 5.0  # of processor time; far above what it takes, so that only a hang fails
MEGABYTES = 200

Files = dict[str, bytes]


class Odd(enum.Enum):
    """Something else than a regular file in the place of a file."""

    MISSING = enum.auto()
    FOLDER = enum.auto()
    PIPE = enum.auto()
    LOOP = enum.auto()
    GIANT = enum.auto()


@dataclasses.dataclass(frozen=True)
class Case:
    """A damage: its kind, and the new contents of files by name."""

    kind: str
    changed: dict[str, bytes | Odd]


# A run to damage


@dataclasses.dataclass(frozen=True)
class Healthy:
    """A trained run with two checkpoints, and other files to copy bytes from."""

    folder: Path
    corpus: Corpus
    files: Files
    """the files of the run and its newest checkpoint"""
    donors: tuple[Files, ...]
    """the same of the previous checkpoint and of another run"""

    def path(self, name: str) -> Path:
        return self.folder / name if name in ABOUT else self.folder / NEWEST / name

    def open(self) -> Trainer:
        """Read all of the newest checkpoint."""
        run = Run.open(self.folder)
        run.load_model("best")
        run.load_model("last")
        return open_trainer(run, self.corpus, CPU)[0]


@pytest.fixture(scope="module")
def healthy(work: Path) -> Healthy:
    """Stopped inside the second epoch, so that there is a carried state."""
    sentence = "the time traveller for so it will be convenient to speak of him\n"
    with pytest.MonkeyPatch.context() as patch:
        # A counting clock and a fixed date make the files the same in every test run.
        clock = itertools.count()
        patch.setattr("time.monotonic", lambda: float(next(clock)))
        patch.setattr(run_module.time, "strftime", lambda form: "2026-01-02T03:04:05")
        patch.chdir(work)
        Path("text.txt").write_text(sentence * 17)
        corpora = {"source": "text.txt", "max_chars": 1050, "split": [930, 120, 0]}
        corpus = load_corpus("text.txt", max_chars=1050, split=(930, 120, 0))
        for seed in (0, 1):
            config = LanguageModelConfig.from_settings(
                [SETTINGS, {"corpus": corpora, "training": {"seed": seed}}]
            )
            run = Run.create(work / f"run{seed}", config, corpus)
            follow(run, corpus, steps=13)
    newest, before = (files_of(work / "run0" / name) for name in (NEWEST, "checkpoint-000002"))
    assert all(newest[name].count(b"\n") >= 1 for name in LINES)
    other = files_of(work / "run1" / NEWEST)
    return Healthy(work / "run0", corpus, newest, (before, other))


def follow(run: Run, corpus: Corpus, steps: int) -> None:
    """Train for a number of steps."""
    done: list[Stepped] = []
    for event in train(run, corpus, device=CPU, should_stop=lambda: len(done) >= steps):
        if isinstance(event, Stepped):
            done.append(event)  # noqa: PERF401 - should_stop reads the list


def files_of(folder: Path) -> Files:
    """The files of a checkpoint and its run."""
    return {
        name: ((folder.parent if name in ABOUT else folder) / name).read_bytes() for name in NAMES
    }


@pytest.fixture(scope="module")
def alone(healthy: Healthy, work: Path) -> Healthy:
    """The run with its newest checkpoint only."""
    folder = work / "alone"
    shutil.copytree(healthy.folder, folder)
    shutil.rmtree(folder / "checkpoint-000002")
    return dataclasses.replace(healthy, folder=folder)


# Raw damage: the manifest does not change


def spoilt(rng: random.Random, data: bytes, donor: bytes) -> Files:
    """The data with each kind of damage; some of it has bytes of the donor."""
    place, length = rng.randrange(len(data)), rng.choice((1, 16, 256, 4096))
    before, block, after = data[:place], data[place : place + length], data[place + length :]
    start = rng.randrange(len(donor))
    chunk = donor[start : start + length]
    flipped = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8, 64))):
        flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    more = (b"\0", b"\n", b" ", b"{}\n", donor, rng.randbytes(100), bytes(10_000))
    return {
        "truncated": before,
        "flipped": bytes(flipped),
        "spliced": before + chunk + after,
        "inserted": before + chunk + block + after,
        "replaced": donor,
        "zeroed": rng.choice((before + bytes(len(block)) + after, bytes(len(data)))),
        "cut out": before + after,
        "appended": data + rng.choice(more),
        "emptied": b"",
    }


def raw(rng: random.Random, run: Healthy) -> Case:
    """Change one or two files, or put something else in their place."""
    kinds, changed = [], {}
    for name in rng.sample(NAMES, rng.choice((1, 1, 1, 2))):
        if rng.random() < 0.1:
            odd = rng.choice(list(Odd))
            kinds.append(odd.name.lower())
            changed[name] = odd
            continue
        donor = rng.choice((run.files, *run.donors))[rng.choice((name, rng.choice(NAMES)))]
        damage = spoilt(rng, run.files[name], donor)
        kind = rng.choice([each for each in damage if damage[each] != run.files[name]])
        kinds.append(kind)
        changed[name] = damage[kind]
    return Case("raw: " + " and ".join(sorted(kinds)), changed)


# Forged damage: tensors


def with_header(header: object, body: bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def forge_header(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    end = 8 + int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8:end]), data[end:]
    text = json.dumps(header).encode()
    size = len(text)
    name = rng.choice(sorted(header))
    row, others = header[name], {key: header[key] for key in header if key != name}
    begin, end = row["data_offsets"]
    wild = (2**31, 2**40, 2**62, 2**63, 2**64 - 1, 2**64, 10**30, 10**400, -1, -(2**63))
    outside = rng.choice(([begin, rng.choice(wild)], [rng.choice(wild), end]))
    types = ("F64", "F16", "I32", "F4", "BOOL", "C64", "object", "", 7, None)
    rows = {
        "dimension": {**row, "shape": [*row["shape"], rng.choice(wild)]},
        "dimensions": {**row, "shape": [2**40] * rng.choice((1, 2, 3, 1000))},
        "offset": {**row, "data_offsets": outside},
        "overlap": {**row, "data_offsets": [begin - 4 if begin else begin + 4, end]},
        "reversed": {**row, "data_offsets": [end, begin]},
        "dtype": {**row, "dtype": rng.choice(types)},
        "row": {key: row[key] for key in rng.sample(sorted(row), 2)},
        "type of a row": rng.choice((None, [], "", 1, {})),
    }
    lengths = (0, 1, 7, size - 1, size + 1, len(data), 2**20, 10**8 + 1, 2**31, 2**63, 2**64 - 1)
    more = json.dumps({name: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}).encode()
    texts = (text[:-1], text + b"}", b"\xff" + text, b"[" + text + b"]", b"", b"null")
    names = ("a\nb", "", "a" * 5000, "\x1b[2J", "__metadata__", "\ud800")
    moved = {key: [number + 8 for number in header[key]["data_offsets"]] for key in header}
    gap = {key: {**header[key], "data_offsets": moved[key]} for key in header}
    wrong = {
        "length": with_header(text, body, rng.choice(lengths)),
        "twice": with_header(more[:-1] + b", " + text[1:], body),
        "not JSON": with_header(rng.choice(texts), body),
        "deep": with_header(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", body),
        "name": with_header({**others, rng.choice(names): row}, body),
        "gap": with_header(gap, bytes(8) + body),
        "trailing": with_header(text, body + rng.randbytes(rng.choice((1, 8, 5000)))),
        "no tensors": with_header({}, b""),
        **{kind: with_header({**header, name: rows[kind]}, body) for kind in rows},
    }
    kind = rng.choice(sorted(wrong))
    return kind, wrong[kind]


OTHER_TYPES = (
    *(torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn),
    *(torch.int32, torch.int64, torch.bool, torch.complex64),
)


def forge_tensors(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    tensors = load(data)
    name = rng.choice(sorted(tensors))
    floats = sorted(key for key, tensor in tensors.items() if tensor.is_floating_point())
    kind = rng.choice(("shape", "dtype", "missing", "extra", "renamed", "not finite"))
    tensor = tensors[name]
    if kind == "shape":
        flat = tensor.flatten()
        shapes = [flat.reshape(-1, 1, 1, 1), tensor[None], flat.repeat(2), torch.zeros(0)]
        shapes += [torch.cat([flat, flat[:1]])]
        if tensor.dim() == 2 and tensor.shape[0] != tensor.shape[1]:
            shapes += [tensor.T.contiguous()] * 3
        tensors[name] = rng.choice(shapes)
    elif kind == "dtype":
        tensors[name] = tensor.to(rng.choice(OTHER_TYPES))
    elif kind == "missing":
        for key in rng.sample(sorted(tensors), rng.choice((1, 1, 2, len(tensors)))):
            del tensors[key]
    elif kind == "extra":
        extra = rng.choice(("a", "", "a\nb\x1b[1m", "head.weight.", "state.7.hidden", "a" * 9999))
        tensors[extra] = torch.zeros(rng.choice((0, 1, 1000)))
    elif kind == "renamed":
        tensors[name + rng.choice(("_", ".weight", "\n", " "))] = tensors.pop(name)
    else:
        tensor = tensors[rng.choice(floats)]
        bad = (float("nan"), float("inf"), float("-inf"))
        tensor.view(-1)[rng.randrange(tensor.numel())] = rng.choice(bad)
    return kind, save(tensors)


def forge_optimiser(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    """Finite numbers that an optimiser cannot have."""
    tensors = load(data)
    ending = rng.choice((".step", ".exp_avg_sq"))
    tensor = tensors[rng.choice(sorted(name for name in tensors if name.endswith(ending)))]
    values = (-1.0, 0.0, 12.0, 12.5, 14.0, 1e30) if ending == ".step" else (-1e-9, -1.0, -1e30)
    tensor.view(-1)[rng.randrange(tensor.numel())] = rng.choice(values)
    return f"optimiser, {ending[1:]}", save(tensors)


# Forged damage: JSON

Place = tuple[str | int, ...]


def places(content: object, at: Place = ()) -> Iterator[tuple[Place, object]]:
    """All values in a JSON document, with their places."""
    yield at, content
    if isinstance(content, dict | list):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in items:
            yield from places(value, (*at, key))


def put(content: typing.Any, place: Place, value: object) -> object:
    if not place:
        return value
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return content


def drop(content: typing.Any, place: Place) -> None:
    for key in place[:-1]:
        content = content[key]
    del content[place[-1]]


MARK = "\ue000"


def token(text: str) -> str:
    """A string that `write` writes without quotes: Python cannot write this JSON."""
    return MARK + text


TOKENS = (
    *map(token, ("NaN", "Infinity", "-Infinity", "1e999", "-1e999")),
    *map(token, ("1" + "0" * 30, "9" * 400, "-" + "9" * 4000)),
)


def write(content: object) -> bytes:
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    text = re.sub(f'"{MARK}([^"]*)"', r"\1", text)
    return text.encode("utf-8", "surrogatepass" if "\udc00" in text else "backslashreplace")


MAYBE = ("_perplexity", "best_valid")
GRADIENTS = ("gradient_norm", "largest_gradient_norm", "clipped_share")
NEW_KEYS = (
    *(*GRADIENTS, "norms", "norm_sum", "largest_norm", "clipped"),
    *("scored", "final_valid", "final_scored", "done_minutes"),
    *("raw_valid_perplexity", "averaged_valid_perplexity", "averaged", "lr_factor", "processes"),
)
"""Keys that older checkpoints lack."""


def could_be(place: Place, value: object) -> bool:
    """Whether a run could have this value at this place."""
    key = str(place[-1]) if place else ""
    hints = {
        k: v
        for each in LanguageModelConfig.sections().values()
        for k, v in typing.get_type_hints(each).items()
    }
    options = typing.get_args(hints.get(key, int))
    if value is None:
        return type(None) in options or key in GRADIENTS or key.endswith(MAYBE)
    if isinstance(value, str):
        return str in options
    return key == "epoch" and value == 1.5


def wrong_values(value: object) -> list[object]:
    """Impossible values in the place of ``value``."""
    common: list[object] = [[], {}, [[]], {"a": 1}, [None] * 50, None]
    wrong: dict[type, list[object]] = {
        bool: [*common, 0, 1, "true", "false", 0.0],
        int: [*common, -1, 1.5, "7", True, "", *TOKENS],
        float: [*common, -0.5, "0.5", True, "nan", *TOKENS],
        str: [*common, 1, 0.5, True],
        list: [{}, None, 1, "abc", [None], [[1]], [value], [{}], True],
        dict: [[], None, 1, "abc", [value], {"": value}, True],
        type(None): [*common, True, "7", -1, "", *TOKENS],  # a number would be possible
    }
    return wrong[type(value)]


def forge_json(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    """A missing key, an additional key, or an impossible value."""
    content = json.loads(data)
    all_places = list(places(content))
    kind = rng.choice(("missing key", "extra key", "value", "value", "value", "twice", "not JSON"))
    keys = [place for place, _ in all_places if place and isinstance(place[-1], str)]
    if kind == "missing key":
        drop(content, rng.choice([place for place in keys if place[-1] not in NEW_KEYS]))
    elif kind == "extra key":
        name = rng.choice(("a", "", "a\nb", "\x1b[2J", "__reduce__", "a" * 70_000, "\ud800"))
        homes = [value for _, value in all_places if isinstance(value, dict)]
        rng.choice(homes)[name] = rng.choice((None, 1, "a", [], {}))
    elif kind == "value":
        while True:
            place, value = rng.choice(all_places)
            wrong = rng.choice(wrong_values(value))
            if wrong != value and not could_be(place, wrong):
                break
        content = put(content, place, wrong)
    elif kind == "twice":
        lines = data.decode().split("\n")
        number = rng.choice([n for n, line in enumerate(lines) if re.search(r'": [^{\[]', line)])
        line = lines[number].rstrip(",") + ","
        lines.insert(number, line if rng.random() < 0.5 else re.sub('": .*', '": 0,', line))
        return kind, "\n".join(lines).encode()
    else:
        others = [b"", b"null", b"[]", b"{}", b'"a"', b"1", b"\x80\x04N.", b"[" * 100_000]
        others += [b"[" * 900 + b"]" * 900, b"\xef\xbb\xbf" + data, data[:-2], data + b"}"]
        others += [data.decode().encode("utf-16"), data.replace(b'"', b"'")]
        return kind, rng.choice([*others, data.replace(b": ", b":\0", 1)])
    return kind, write(content)


ABSURD = [
    (("model", "hidden_size"), (10**9, 10**6, 999_999, 5, 3, 1)),
    (("model", "num_layers"), (10**9, 101, 100, 2)),
    (("model", "embedding_size"), (10**9, 10**6, 4, 1, None)),
    (("model", "embedding"), ("one-hot", "tied", "none")),
    (("model", "cell"), ("gru", "rnn", "rnn-relu", "gru-reset-before", "transformer")),
    (("model", "backend"), ("scratch", "numpy")),
    (("model", "dropout"), (1.0, 1e300, -0.0001)),
    (("training", "batch_size"), (10**9, 10**10, 10**6, 4)),
    (("training", "seq_len"), (10**9, 10**10, 10**6, 19)),
    (("training", "sampling"), ("random", "backwards")),
    (("training", "optimiser"), ("sgd", "adam", "lion")),
    (("training", "seed"), (1, 2**63, 2**62)),
]


def forge_settings(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    """Settings that would take all memory, or that belong to another model."""
    content = json.loads(data)
    place, values = rng.choice(ABSURD)
    value = rng.choice(values)
    put(content["config"], place, value)
    return f"setting {place[-1]}", write(content)


def forge_vocabulary(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    characters = json.loads(data)
    place = rng.randrange(len(characters))
    before, after = characters[:place], characters[place + 1 :]
    entries = {
        "twice": characters[place - 1],
        "long": rng.choice(("ab", "a" * 70_000, "e\u0301")),
        "empty": "",
        "type": rng.choice((None, 1, ["a"], {})),
    }
    wrong = {
        "fewer": before + after,
        "more": [*characters, "分"],
        "many": [chr(0x20 + number) for number in range(rng.choice((5000, 50_000)))],
        "none": rng.choice(([], {}, None, "abc", [[]])),
        **{kind: [*before, entries[kind], *after] for kind in entries},
    }
    kind = rng.choice(sorted(wrong))
    return f"vocabulary, {kind}", write(wrong[kind])


def forge_progress(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    """Numbers that do not fit each other."""
    content = json.loads(data)
    wrong = {
        "step": (0, 1, 14, 2**62),
        "whole_epochs": (14, 10**9),
        "batches": (0, 14, 10**9),
        "count": (0, 2**40),
        "measured_step": (14, 2**62),
        "norms": (14, 2**62),
        "clipped": (14, 2**62),
        "measured_share": (1.5, 1e300),
        "next_samples": (1e300,),
        "parameters": (1, 10**12),
    }
    name, value = rng.choice([(name, value) for name in wrong for value in wrong[name]])
    (content if name == "parameters" else content["progress"])[name] = value
    return f"progress, {name}", write(content)


def forge_lines(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    lines = data.split(b"\n")[:-1]
    number = rng.randrange(len(lines))
    line, what = lines[number], "not JSON"
    while what in ("not JSON", "twice"):
        what, row = forge_json(rng, line)
    wrong = {
        f"row, {what}": b"".join(map(bytes.strip, row.split(b"\n"))),
        "blank": rng.choice((b"", b" ", b"\r", b"\0")) + b"\n" + line,
        "half": line[: rng.randrange(1, len(line))],
        "type": rng.choice((b"[]", b"null", b"1", b'"a"', b"{}", b"[" * 5000, b"NaN")),
        "noise": rng.randbytes(50).replace(b"\n", b""),
        "joined": line + rng.choice((b" ", b",", b"")) + line,
        "no end": line,
    }
    kind = rng.choice([f"row, {what}", f"row, {what}", *wrong])
    lines[number] = wrong[kind]
    return kind, b"\n".join(lines) + (b"" if kind == "no end" else b"\n")


# Forged damage: the manifest


def manifest_of(files: Files) -> bytes:
    """The manifest of these files. It is made here so that a change of the format fails a test."""
    rows = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in sorted(files.items())
        if name != "manifest.json"
    }
    return (json.dumps({"format": 4, "files": rows}, indent=2) + "\n").encode()


def forge_manifest(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    content = json.loads(data)
    rows = content["files"]
    name = rng.choice(sorted(rows))
    row = rows[name]
    others = {key: rows[key] for key in rows if key != name}
    swapped = rng.choice([key for key in others if rows[key] != row])
    names = ("a", "", "manifest.json", "corpus.txt", "a" * 9000, "a\nb")
    paths = ("../run.json", "/etc/passwd", "../../x", "a/b", name + "\0", "./" + name, "C:\\a")
    size, digest = row["bytes"], row["sha256"]
    sizes = (-1, 0, size - 1, size + 1, float(size), str(size), None, 2**63, 2**31, *TOKENS)
    hashes = ("", digest[:-1], digest + "0", "g" * 64, digest[::-1], "0" * 64, digest + "\n")
    hashes += (" " + digest[1:], None, 0, [digest])
    formats = (0, 1, 3, -2, "2", 2.0, None, [2], {}, 10**18, "a\nb", "9" * 9000, False, *TOKENS)
    files = {
        "missing name": others,
        "extra name": {**rows, rng.choice(names): row},
        "path": {**others, rng.choice(paths): row},
        "size": {**rows, name: {**row, "bytes": rng.choice(sizes)}},
        "hash": {**rows, name: {**row, "sha256": rng.choice(hashes)}},
        "swapped": {**rows, name: rows[swapped], swapped: row},
        "order": dict(sorted(rows.items(), reverse=True)),
    }
    what, value = forge_json(rng, data)
    wrong = {
        what: value,
        "format": write({**content, "format": rng.choice(formats)}),
        "spaces": rng.choice((data + b" ", b"\n" + data, data.replace(b"  ", b" "), data[:-1])),
        **{kind: write({**content, "files": files[kind]}) for kind in files},
    }
    kind = rng.choice(sorted(wrong))
    return kind, wrong[kind]


Forgery = Callable[[random.Random, bytes], tuple[str, bytes]]
FORGERIES: list[tuple[Forgery, tuple[str, ...], int]] = [
    (forge_header, TENSORS, 6),
    (forge_tensors, TENSORS, 6),
    (forge_optimiser, ("training.safetensors",), 3),
    (forge_json, ("training.json", "run.json"), 6),
    (forge_settings, ("run.json",), 3),
    (forge_vocabulary, ("vocabulary.json",), 3),
    (forge_progress, ("training.json",), 2),
    (forge_lines, LINES, 4),
    (forge_manifest, ("manifest.json",), 6),
]


def forged(rng: random.Random, run: Healthy) -> Case:
    """Change one or two files, and the manifest to fit."""
    kinds: list[str] = []
    changed: Files = {}
    wanted = rng.choice((1, 1, 1, 2))
    while len(changed) < wanted:
        forge, names, _ = rng.choices(FORGERIES, [weight for *_, weight in FORGERIES])[0]
        name = rng.choice(names)
        if name in changed or (changed and name == "manifest.json"):
            continue
        kind, data = forge(rng, run.files[name])
        if data == run.files[name]:
            continue
        kinds.append(f"{name}, {kind}")
        changed[name] = data
        if name == "manifest.json":
            break
    if "manifest.json" not in changed:
        changed["manifest.json"] = manifest_of({**run.files, **changed})
    return Case("forged: " + " and ".join(sorted(kinds)), dict(changed))


def giant(rng: random.Random, run: Healthy) -> Case:
    """A sparse file of two gigabytes, with this size in the manifest."""
    name = rng.choice(CHECKPOINT)
    return Case(f"forged: {name}, giant", with_giant(run, name))


def with_giant(run: Healthy, name: str) -> dict[str, bytes | Odd]:
    manifest = json.loads(run.files["manifest.json"])
    manifest["files"][name]["bytes"] = GIANT
    return {name: Odd.GIANT, "manifest.json": write(manifest)}


def cases(run: Healthy, number: int) -> Iterator[Case]:
    """Always the same cases; a larger number only adds cases."""
    rng = random.Random(0)
    for _ in range(number):
        yield rng.choices((raw, forged, giant), (50, 49, 1))[0](rng, run)


# Every case must be refused


def lay(path: Path, content: bytes | Odd) -> None:
    """Put something in the place of a file."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is Odd.FOLDER:
        (path / "within").mkdir(parents=True)
    elif content is Odd.PIPE:
        os.mkfifo(path)
    elif content is Odd.LOOP:
        path.symlink_to(path.name)
    elif content is Odd.GIANT:
        with path.open("wb") as file:
            file.truncate(GIANT)  # a sparse file


@contextmanager
def laid(run: Healthy, changed: Mapping[str, bytes | Odd]) -> Iterator[None]:
    """Put something in the place of files of a run inside the block."""
    try:
        for name, content in changed.items():
            lay(run.path(name), content)
        yield
    finally:
        for name in changed:
            lay(run.path(name), run.files[name])


def refusal(run: Healthy) -> RunError | None:
    try:
        run.open()
    except CharlmError as error:
        return error
    return None


def complaint(run: Healthy, case: Case, error: CharlmError | None, seconds: float) -> str | None:
    """What is wrong with the answer to a case; None: nothing."""
    if error is None:
        return "it was accepted"
    lines = (error.message, error.hint or "-")
    if any("\n" in line or not line.isprintable() for line in lines):
        return f"the message is not one line: {lines!r:.300}"
    if len(error.message) > 300 + 2 * len(str(run.folder)):
        return f"the message is long: {error.message:.300}"
    # Damage in the manifest, run.json or vocabulary.json may show when another file is read.
    spread = {"manifest.json", *ABOUT} & case.changed.keys()
    named = [name for name in (NAMES if spread else case.changed) if name in error.message]
    if str(run.folder) not in error.message or not named:
        return f"the message names no damaged file: {error.message:.300}"
    if seconds > SECONDS:
        return f"it took {seconds:.1f} s"
    return None


def memory() -> float:
    """The peak memory of this process, in megabytes."""
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


POSIX = pytest.mark.skipif(os.name == "nt", reason="needs named pipes, links and resource")


@POSIX
@pytest.mark.parametrize("number", [400, pytest.param(10_000, marks=pytest.mark.slow)])
def test_damaged_checkpoints_are_refused(alone, record_property, open_files, number):
    run = alone
    run.open()
    before, files_before = memory(), open_files()
    complaints, kinds, slowest = [], Counter[str](), 0.0
    for count, case in enumerate(cases(run, number)):
        with laid(run, case.changed):
            begun = time.perf_counter()
            error = refusal(run)
            seconds = time.perf_counter() - begun
        slowest = max(slowest, seconds)
        kinds[case.kind] += 1
        if found := complaint(run, case, error, seconds):
            complaints.append(f"case {count}, {case.kind}: {found}")
    grown = memory() - before
    record_property("kinds", dict(kinds))
    record_property("slowest", round(slowest, 3))
    record_property("megabytes", round(grown, 1))
    assert not complaints, f"{len(complaints)} of {number}:\n" + "\n".join(complaints[:100])
    assert grown < MEGABYTES
    assert open_files() == files_before
    assert run.open().progress.step == 13


# Special cases


def error_of(run: Healthy, files: Mapping[str, bytes | Odd]) -> CharlmError | None:
    """The error of opening a run with these files, and a manifest that fits unless it is given."""
    if "manifest.json" not in files:
        files = {**files, "manifest.json": manifest_of({**run.files, **files})}
    with laid(run, files):
        return refusal(run)


def test_rewriting_the_manifest_is_not_damage(alone):
    assert error_of(alone, {}) is None


def edited(*place: str | int, value: object = None) -> Callable[[bytes], bytes]:
    """Put a value at a place of a JSON document."""
    return lambda data: write(put(json.loads(data), place, value))


def with_more_header(row: str) -> Callable[[bytes], bytes]:
    """Put something at the start of a safetensors header."""

    def edit(data: bytes) -> bytes:
        size = int.from_bytes(data[:8], "little")
        return with_header(b"{" + row.encode() + b"," + data[9 : 8 + size], data[8 + size :])

    return edit


EMPTY = '"head.bias": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}'
NOT_SAFETENSORS = "not a complete safetensors file"
FOUR_BITS = '"a": {"dtype": "F4", "shape": [0], "data_offsets": [0, 0]}'
NAMED = {
    # safetensors accepts two tensors with one name, and metadata.
    "name twice": ("best.safetensors", with_more_header(EMPTY), NOT_SAFETENSORS),
    "metadata": (
        "best.safetensors",
        with_more_header('"__metadata__": {"a": "b"}'),
        "differs in '__metadata__'",
    ),
    "type that torch lacks": ("best.safetensors", with_more_header(FOUR_BITS), NOT_SAFETENSORS),
    # Python reads these as infinity, and as an integer that is too large for a float.
    "infinity": ("training.json", edited("progress", "seconds", value=token("1e999")), "not JSON"),
    "googol": (
        "training.json",
        edited("progress", "step", value=token("1" + "0" * 100)),
        "not JSON",
    ),
    "no time that a clock shows": (
        "metrics.jsonl",
        lambda data: re.sub(rb'"seconds": [^,]+', b'"seconds": 1e308', data),
        "line 1 has an impossible seconds: 1e[+]308",
    ),
    "unknown key": ("training.json", edited("a"), "it has an unknown key 'a'"),
    "no more samples": (
        "training.json",
        edited("progress", "next_samples", value=3.0),
        "the progress cannot have the next_samples 3.0",
    ),
    "another seed": (
        "training.json",
        edited("settings", "seed", value=5),
        "its seed is not the one in run.json",
    ),
    "precision": ("training.json", edited("bfloat16", value=1), "its bfloat16 cannot be 1"),
    "device": ("training.json", edited("device", value="c\nu"), r"its device cannot be 'c\\nu'"),
    "two lines": ("training.json", edited("torch", value="1\n2"), r"its torch cannot be '1\\n2'"),
    "number as text": (
        "run.json",
        edited("config", "model", "hidden_size", value="4"),
        "model has an impossible hidden_size: '4'",
    ),
}


@pytest.mark.parametrize("name", NAMED)
def test_damage_that_other_readers_accept_is_refused(alone, name):
    place, edit, words = NAMED[name]
    error = error_of(alone, {place: edit(alone.files[place])})
    assert error is not None
    assert re.fullmatch(rf"{re.escape(str(alone.path(place)))} .*{words}.*", error.message)
    if " is damaged: " in error.message:
        assert error.hint == "restore the run from a copy, or train a new one"


@POSIX
@pytest.mark.parametrize("name", CHECKPOINT)
def test_huge_file_is_not_read(alone, name):
    error = error_of(alone, with_giant(alone, name))
    assert error is not None
    assert f"{alone.path(name)} is damaged: it has 2,147,483,648 bytes" in error.message


FILLERS = {
    "lists": (b"[", b"[],", b"[]]"),
    "objects": (b"[", b"{},", b"{}]"),
    "numbers": (b"[", b"1,", b"1]"),
    "a text": (b'"', b"a", b'"'),
    "a key": (b'{"', b"a", b'": 1}'),
    "digits": (b"", b"1", b""),
    "brackets": (b"", b"[", b""),
    "spaces": (b"", b" ", b"1"),
    "line ends": (b"", b"\n", b""),
}


@pytest.mark.parametrize("filler", FILLERS)
@pytest.mark.parametrize("name", ["run.json", "vocabulary.json", "training.json", *LINES])
def test_json_of_the_largest_size_is_refused_quickly(alone, name, filler):
    start, part, end = FILLERS[filler]
    size = {"vocabulary.json": MAX_VOCABULARY}.get(name, MAX_SETTINGS)
    if name in LINES:
        size = 2**22
    data = start + part * ((size - len(start) - len(end) - 1) // len(part)) + end + b"\n"
    begun = time.process_time()
    error = error_of(alone, {name: data})
    assert time.process_time() - begun < SECONDS
    assert error is not None
    assert str(alone.path(name)) in error.message
    assert len(error.message) < 400


@POSIX
@pytest.mark.parametrize("name", NAMES[2:])
def test_damaged_newest_checkpoint_is_replaced_by_the_previous_one(healthy, name):
    before = Run.open(healthy.folder / "checkpoint-000002")
    rng = random.Random(name)
    contents: list[bytes | Odd] = [Odd.FOLDER, Odd.PIPE, Odd.LOOP, Odd.GIANT, Odd.MISSING]
    for donor in healthy.donors:
        contents += spoilt(rng, healthy.files[name], donor[name]).values()
    for content in contents:
        if content == healthy.files[name]:
            continue
        with laid(healthy, {name: content}):
            run = Run.open(healthy.folder)
        if name == "manifest.json" and content is Odd.MISSING:
            assert run.notices == ()  # as if another process were about to write it
        else:
            (notice,) = run.notices
            assert str(healthy.path(name)) in notice
            assert notice.endswith("; using checkpoint-000002 instead")
        run.notices = ()
        assert run == before
        for weights in ("best", "last"):
            ours, theirs = run.load_model(weights), before.load_model(weights)
            assert all(map(torch.equal, ours.parameters(), theirs.parameters()))
    assert Run.open(healthy.folder).checkpoint.folder.name == NEWEST


@pytest.mark.parametrize("content", [b"", b"{}", Odd.LOOP])
def test_training_resumes_from_the_previous_checkpoint(healthy, tmp_path, content):
    """It ends with the same weights, bit for bit, and deletes the damaged checkpoint."""
    folders = [tmp_path / "whole", tmp_path / "damaged"]
    for folder in folders:
        shutil.copytree(healthy.folder, folder)
    shutil.rmtree(folders[0] / NEWEST)
    lay(folders[1] / NEWEST / "training.safetensors", content)
    for folder in folders:
        follow(Run.open(folder), healthy.corpus, steps=1000)
    ours, theirs = (Run.open(folder) for folder in folders)
    assert ours.notices == theirs.notices == ()
    for name in TENSORS:
        data = [(run.checkpoint.folder / name).read_bytes() for run in (ours, theirs)]
        assert data[0] == data[1]
    assert not (folders[1] / NEWEST).exists()


def test_message_names_the_newest_of_two_damaged_checkpoints(healthy, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(healthy.folder, folder)
    for number, name in (("2", "metrics.jsonl"), ("3", "last.safetensors")):
        path = folder / f"checkpoint-00000{number}" / name
        path.write_bytes(path.read_bytes()[1:])
    with pytest.raises(RunError, match=re.escape(f"{path} is damaged")):
        Run.open(folder)


def test_lost_manifest_of_the_only_checkpoint_is_an_error(alone):
    """Otherwise training would start again and delete the checkpoint."""
    with laid(alone, {"manifest.json": Odd.MISSING}):
        with pytest.raises(RunError, match=r"cannot read .*manifest\.json: No such file"):
            Run.open(alone.folder)
        clean_up(alone.folder)
    assert alone.open().progress.step == 13


@POSIX
def test_target_of_a_link_is_not_deleted(healthy, tmp_path):
    folder, other = tmp_path / "run", tmp_path / "mine"
    shutil.copytree(healthy.folder, folder)
    other.mkdir()
    (other / "manifest.json").write_text("mine")
    (folder / "checkpoint-000001").symlink_to(other)
    (folder / "checkpoint-000000").symlink_to(tmp_path)
    follow(Run.open(folder), healthy.corpus, steps=1000)
    assert (other / "manifest.json").read_text() == "mine"
    assert len(list(folder.glob("checkpoint-*"))) == 2
