"""Damaged checkpoints: refused with one clear line, soon, and none quietly taken for a whole one.

Two kinds of damage. In the *raw* kind bytes change and the manifest stays as it was. In the
*forged* kind the manifest is written anew to fit, so that what stands behind its hashes is tried
too: names, shapes, types, sizes and numbers that cannot be. Other values that could be a training's
own are no damage and are left out.
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
import struct
import sys
import tempfile
import time
import typing
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from charlm.config import LanguageModelConfig
from charlm.corpus import Corpus, load_corpus
from charlm.errors import CharlmError, RunError
from charlm.runs import Run
from charlm.runs import files as files_module
from charlm.runs import run as run_module
from charlm.runs.checkpoint import clean_up
from charlm.runs.fields import SAMPLES
from charlm.runs.files import MAX_SETTINGS, MAX_VOCABULARY, decode_lines, encode_lines
from charlm.training import Stepped, train
from charlm.training import trainer as trainer_module
from charlm.training.language import LanguageModelling
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
        "epochs": 3, "batch_size": 5, "seq_len": 20, "prefixes": ["the "], "sample_length": 20,
        "sample_every": 1, "save_steps": 5, "save_minutes": None, "sampling": "consecutive",
    },
}  # fmt: skip
NEWEST = "checkpoint-000003"
GIANT = 2**31
SECONDS = 2.0
MEGABYTES = 200

Files = dict[str, bytes]


class Odd(enum.Enum):
    """What can have a file's name and is none."""

    MISSING = enum.auto()
    FOLDER = enum.auto()
    PIPE = enum.auto()
    LOOP = enum.auto()
    GIANT = enum.auto()


@dataclasses.dataclass(frozen=True)
class Case:
    """What has changed in a run's files."""

    kind: str
    changed: dict[str, bytes | Odd]


# A run to damage


@dataclasses.dataclass(frozen=True)
class Healthy:
    """A trained run with two checkpoints, and where bytes for splices come from."""

    folder: Path
    corpus: Corpus
    files: Files
    """Of the run and its newest checkpoint."""
    donors: tuple[Files, ...]
    """The same of the checkpoint before, and of another run."""

    def path(self, name: str) -> Path:
        return self.folder / name if name in ABOUT else self.folder / NEWEST / name

    def open(self) -> Trainer:
        """Everything that reads a checkpoint."""
        run = Run.open(self.folder)
        run.check_corpus(self.corpus)
        run.load_model("best")
        run.load_model("last")
        return Trainer(run, LanguageModelling(run, self.corpus, CPU), CPU)


@pytest.fixture(scope="module")
def work() -> Iterator[Path]:
    """A folder in memory, where there is such a thing: ten thousand cases are many writes."""
    memory = Path("/dev/shm")
    root = memory if os.access(memory, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(dir=root, prefix="charlm-damage-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def healthy(work: Path) -> Healthy:
    """Stopped within the second epoch, so that there is a hidden state to carry on."""
    sentence = "the time traveller for so it will be convenient to speak of him\n"
    with pytest.MonkeyPatch.context() as patch:
        # The same bytes each time: a clock that counts, and no folder's name.
        clock = itertools.count()
        patch.setattr(trainer_module.time, "monotonic", lambda: float(next(clock)))
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
    """Train until so many steps are done."""
    done: list[Stepped] = []
    for event in train(run, corpus, device=CPU, should_stop=lambda: len(done) >= steps):
        if isinstance(event, Stepped):
            done.append(event)  # noqa: PERF401 - should_stop looks at them on the way


def files_of(folder: Path) -> Files:
    """What a checkpoint consists of."""
    return {
        name: ((folder.parent if name in ABOUT else folder) / name).read_bytes() for name in NAMES
    }


@pytest.fixture(scope="module")
def alone(healthy: Healthy, work: Path) -> Healthy:
    """The same with one checkpoint only: there is nothing to go back to."""
    folder = work / "alone"
    shutil.copytree(healthy.folder, folder)
    shutil.rmtree(folder / "checkpoint-000002")
    return dataclasses.replace(healthy, folder=folder)


# Raw damage: the manifest is left alone


def truncated(rng: random.Random, data: bytes, donor: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def flipped(rng: random.Random, data: bytes, donor: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8, 64))):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def spliced(rng: random.Random, data: bytes, donor: bytes) -> bytes:
    """A chunk of a file of this checkpoint, of the one before or of another run, laid over."""
    start, length = rng.randrange(len(donor)), rng.choice((1, 16, 256, 4096))
    chunk, place = donor[start : start + length], rng.randrange(len(data))
    return data[:place] + chunk + data[place + len(chunk) :]


def inserted(rng: random.Random, data: bytes, donor: bytes) -> bytes:
    start, place = rng.randrange(len(donor)), rng.randrange(len(data))
    return data[:place] + donor[start : start + rng.choice((1, 16, 256))] + data[place:]


def replaced(rng: random.Random, data: bytes, donor: bytes) -> bytes:
    return donor


def zeroed(rng: random.Random, data: bytes, donor: bytes) -> bytes:
    start, length = rng.randrange(len(data)), rng.choice((1, 64, 512, 4096, len(data)))
    block = data[start : start + length]
    return data[:start] + bytes(len(block)) + data[start + len(block) :]


def cut_out(rng: random.Random, data: bytes, donor: bytes) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.choice((1, 64, 512)) :]


def appended(rng: random.Random, data: bytes, donor: bytes) -> bytes:
    more = (b"\0", b"\n", b" ", b"{}\n", donor, rng.randbytes(100), bytes(10_000))
    return data + rng.choice(more)


def emptied(rng: random.Random, data: bytes, donor: bytes) -> bytes:
    return b""


RAW = {
    truncated: 5, flipped: 6, spliced: 6, inserted: 2, replaced: 2, zeroed: 3, cut_out: 2,
    appended: 3, emptied: 1,
}  # fmt: skip


def raw(rng: random.Random, run: Healthy) -> Case:
    """Bytes of one file or two, or what is in their place."""
    kinds, changed = [], {}
    for name in rng.sample(NAMES, rng.choice((1, 1, 1, 2))):
        if rng.random() < 0.1:
            odd = rng.choice(list(Odd))
            kinds.append(odd.name.lower())
            changed[name] = odd
            continue
        damage = rng.choices(list(RAW), RAW.values())[0]
        while True:
            donor = rng.choice((run.files, *run.donors))[rng.choice((name, rng.choice(NAMES)))]
            data = damage(rng, run.files[name], donor or b"\n")
            if data != run.files[name]:
                break
        kinds.append(damage.__name__)
        changed[name] = data
    return Case("raw: " + " and ".join(sorted(kinds)), changed)


# Forged damage: tensors


def with_header(header: object, body: bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def forge_header(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    header.pop("__metadata__", None)
    name = rng.choice(sorted(header))
    row = header[name]
    begin, end = row["data_offsets"]
    wild = (2**31, 2**40, 2**62, 2**63, 2**64 - 1, 2**64, 10**30, 10**400, -1, -(2**63))
    kind = rng.choice((
        "length", "dimension", "dimensions", "offset", "overlap", "gap", "reversed", "dtype",
        "row", "type of a row", "twice", "not JSON", "deep", "name", "trailing", "no tensors",
    ))  # fmt: skip
    if kind == "length":
        near = (0, 1, 7, size - 1, size + 1, len(data))
        length = rng.choice((*near, 2**20, 10**8 + 1, 2**31, 2**63, 2**64 - 1))
        return kind, with_header(json.dumps(header).encode(), body, length)
    if kind == "dimension":
        row["shape"] = [*row["shape"], rng.choice(wild)]
    elif kind == "dimensions":
        row["shape"] = [2**40] * rng.choice((1, 2, 3, 1000))
    elif kind == "offset":
        row["data_offsets"] = rng.choice(([begin, rng.choice(wild)], [rng.choice(wild), end]))
    elif kind == "overlap":
        row["data_offsets"] = [begin - 4 if begin else begin + 4, end]
    elif kind == "gap":
        for other in header.values():
            other["data_offsets"] = [number + 8 for number in other["data_offsets"]]
        body = bytes(8) + body
    elif kind == "reversed":
        row["data_offsets"] = [end, begin]
    elif kind == "dtype":
        row["dtype"] = rng.choice(("F64", "F16", "I32", "F4", "BOOL", "C64", "object", "", 7, None))
    elif kind == "row":
        del row[rng.choice(sorted(row))]
    elif kind == "type of a row":
        header[name] = rng.choice((None, [], "", 1, {}))
    elif kind == "twice":
        text = json.dumps(header)
        more = json.dumps({name: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}})
        return kind, with_header((more[:-1] + ", " + text[1:]).encode(), body)
    elif kind == "not JSON":
        text = json.dumps(header).encode()
        return kind, with_header(
            rng.choice((text[:-1], text + b"}", b"\xff" + text, b"[" + text + b"]", b"", b"null")),
            body,
        )
    elif kind == "deep":
        return kind, with_header(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", body)
    elif kind == "name":
        header[rng.choice(("a\nb", "", "a" * 5000, "\x1b[2J", "__metadata__", "\ud800"))] = (
            header.pop(name)
        )
    elif kind == "trailing":
        body += rng.randbytes(rng.choice((1, 8, 5000)))
    elif kind == "no tensors":
        header, body = {}, b""
    return kind, with_header(header, body)


def forge_tensors(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    tensors = load(data)
    name = rng.choice(sorted(tensors))
    floats = sorted(key for key, tensor in tensors.items() if tensor.is_floating_point())
    kind = rng.choice(("shape", "dtype", "missing", "extra", "renamed", "not finite"))
    tensor = tensors[name]
    if kind == "shape":
        shapes = [
            tensor.reshape(-1, 1, 1, 1), tensor[None], tensor.flatten().repeat(2),
            torch.zeros(0), torch.cat([tensor.flatten(), tensor.flatten()[:1]]),
        ]  # fmt: skip
        if tensor.dim() == 2 and tensor.shape[0] != tensor.shape[1]:
            shapes += [tensor.T.contiguous()] * 3
        tensors[name] = rng.choice(shapes)
    elif kind == "dtype":
        types = (
            torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.int64, torch.bool,
            torch.complex64, torch.float8_e4m3fn,
        )  # fmt: skip
        tensors[name] = tensor.to(rng.choice(types))
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


def forge_generator(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    """The state of a random generator that torch could not have, or could not use."""
    tensors = load(data)
    name = rng.choice(("generator.cpu", "generator.epoch"))
    state = bytearray(bytes(tensors[name].numpy()))
    kind = rng.choice(("length", "noise", "zeros", "ones", "counters", "not seeded"))
    if kind == "length":
        lengths = (0, 1, 16, len(state) - 1, len(state) - 8, len(state) + 1, 2 * len(state))
        wanted = rng.choice(lengths)
        state = (state * 2)[:wanted]
    elif kind == "noise":
        state = bytearray(rng.randbytes(len(state)))
    elif kind == "zeros":
        state = bytearray(len(state))
    elif kind == "ones":
        state = bytearray(b"\xff" * len(state))
    elif kind == "counters":
        # How many numbers are left, and which is next: they sum to 625, or are 1 and 0.
        pairs = ((624, 624), (300, 600), (1, 1), (624, 0), (0, 0), (-1, 626), (625, 0), (2, 2**40))
        left, following = rng.choice(pairs)
        struct.pack_into("<i", state, 8, left)
        struct.pack_into("<Q", state, 16, following)
    else:
        struct.pack_into("<i", state, 12, rng.choice((0, 2, -1)))
    tensors[name] = torch.tensor(list(state), dtype=torch.uint8)
    return f"generator, {kind}", save(tensors)


def forge_optimiser(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    """Finite numbers that no optimiser comes to."""
    tensors = load(data)
    ending = rng.choice((".step", ".exp_avg_sq"))
    tensor = tensors[rng.choice(sorted(name for name in tensors if name.endswith(ending)))]
    values = (-1.0, 0.0, 12.0, 12.5, 14.0, 1e30) if ending == ".step" else (-1e-9, -1.0, -1e30)
    tensor.view(-1)[rng.randrange(tensor.numel())] = rng.choice(values)
    return f"optimiser, {ending[1:]}", save(tensors)


# Forged damage: JSON

Place = tuple[str | int, ...]


def places(content: object, at: Place = ()) -> Iterator[tuple[Place, object]]:
    """All that a JSON document holds, and where."""
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


TOKENS = (
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" + "0" * 30, "9" * 400, "-" + "9" * 4000,
)  # fmt: skip
_TOKEN = "put a token here"


def write(content: object, token: str | None = None, indent: int | None = 2) -> bytes:
    text = json.dumps(content, indent=indent, ensure_ascii=False) + "\n"
    if token is not None:
        text = text.replace(f'"{_TOKEN}"', token)
    return text.encode("utf-8", "surrogatepass" if "\udc00" in text else "backslashreplace")


def could_be(place: Place, value: object) -> bool:
    """Whether that is a value, if another, that a run could have there."""
    key = str(place[-1]) if place else ""
    hints = {
        k: v
        for each in LanguageModelConfig.sections().values()
        for k, v in typing.get_type_hints(each).items()
    }
    options = typing.get_args(hints.get(key, int))
    if value is None:
        return type(None) in options or key.endswith(("_perplexity", "best_valid"))
    if isinstance(value, str):
        return str in options
    return key == "epoch" and value == 1.5


def wrong_values(value: object) -> list[object]:
    """What cannot be in the place of ``value``; a token where Python has no such JSON."""
    common: list[object] = [[], {}, [[]], {"a": 1}, [None] * 50]
    if isinstance(value, bool):
        return [*common, None, 0, 1, "true", "false", 0.0]
    if isinstance(value, int):
        return [*common, None, -1, 1.5, "7", True, "", *TOKENS]
    if isinstance(value, float):
        return [*common, None, -0.5, "0.5", True, "nan", *TOKENS]
    if isinstance(value, str):
        return [*common, None, 1, 0.5, True]
    if isinstance(value, list):
        return [{}, None, 1, "abc", [None], [[1]], [value], [{}], True]
    if isinstance(value, dict):
        return [[], None, 1, "abc", [value], {"": value}, True]
    return [*common, True, "7", -1, "", *TOKENS]  # None: a number may stand there


def forge_json(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    """A key more or less, or a value that cannot be."""
    content = json.loads(data)
    all_places = list(places(content))
    kind = rng.choice(("missing key", "extra key", "value", "value", "value", "twice", "not JSON"))
    keys = [place for place, _ in all_places if place and isinstance(place[-1], str)]
    if kind == "missing key":
        drop(content, rng.choice(keys))
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
        token = wrong if wrong in TOKENS else None
        content = put(content, place, wrong if token is None else _TOKEN)
        return kind, write(content, token)
    elif kind == "twice":
        lines = data.decode().split("\n")
        number = rng.choice([n for n, line in enumerate(lines) if re.search(r'": [^{\[]', line)])
        line = lines[number].rstrip(",") + ","
        lines.insert(number, line if rng.random() < 0.5 else re.sub('": .*', '": 0,', line))
        return kind, "\n".join(lines).encode()
    else:
        return kind, rng.choice((
            b"", b"null", b"[]", b"{}", b'"a"', b"1", b"\xef\xbb\xbf" + data, data[:-2],
            data + b"}", data.decode().encode("utf-16"), b"[" * 100_000, b"[" * 900 + b"]" * 900,
            data.replace(b'"', b"'"), b"\x80\x04N.", data.replace(b": ", b":\0", 1),
        ))  # fmt: skip
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
    """Numbers of the right type that would take all memory, or are of another model."""
    content = json.loads(data)
    place, values = rng.choice(ABSURD)
    value = rng.choice(values)
    # The cells rnn and rnn-relu have weights of the same shapes, and a backend can be another's.
    put(content["config"], place, value)
    return f"setting {place[-1]}", write(content)


def forge_vocabulary(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    characters = json.loads(data)
    kind = rng.choice(("fewer", "more", "many", "twice", "long", "empty", "type", "none"))
    place = rng.randrange(len(characters))
    if kind == "fewer":
        del characters[place]
    elif kind == "more":
        characters.append("分")
    elif kind == "many":
        characters = [chr(number) for number in range(0x20, 0x20 + rng.choice((5000, 50_000)))]
    elif kind == "twice":
        characters[place] = characters[place - 1]
    elif kind == "long":
        characters[place] = rng.choice(("ab", "a" * 70_000, "e\u0301"))
    elif kind == "empty":
        characters[place] = ""
    elif kind == "type":
        characters[place] = rng.choice((None, 1, ["a"], {}))
    else:
        characters = rng.choice(([], {}, None, "abc", [[]]))
    return f"vocabulary, {kind}", write(characters)


def forge_position(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    """Numbers that do not fit each other."""
    content = json.loads(data)
    position = content["position"]
    name, value = rng.choice((
        ("step", 0), ("step", 1), ("step", 14), ("step", 2**62), ("whole_epochs", 10**9),
        ("whole_epochs", 14), ("batches", 14), ("batches", 10**9), ("batches", 0),
        ("count", 2**40), ("count", 0), ("measured_step", 14), ("measured_step", 2**62),
        ("measured_progress", 1.5), ("measured_progress", 1e300), ("next_samples", 1e300),
        ("parameters", 1), ("parameters", 10**12),
    ))  # fmt: skip
    (content if name == "parameters" else position)[name] = value
    return f"position, {name}", write(content)


def forge_lines(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    lines = data.split(b"\n")[:-1]
    kind = rng.choice(("row", "row", "row", "blank", "half", "no end", "type", "noise", "joined"))
    number = rng.randrange(len(lines))
    if kind == "row":
        what = "not JSON"
        while what in ("not JSON", "twice"):
            what, row = forge_json(rng, lines[number])
        lines[number] = json_line(row)
        kind = f"row, {what}"
    elif kind == "blank":
        lines.insert(number, rng.choice((b"", b" ", b"\r", b"\0")))
    elif kind == "half":
        lines[number] = lines[number][: rng.randrange(1, len(lines[number]))]
    elif kind == "no end":
        return kind, b"\n".join(lines)
    elif kind == "type":
        lines[number] = rng.choice((b"[]", b"null", b"1", b'"a"', b"{}", b"[" * 5000, b"NaN"))
    elif kind == "noise":
        lines[number] = rng.randbytes(50).replace(b"\n", b"")
    else:
        lines[number] = lines[number] + rng.choice((b" ", b",", b"")) + lines[number]
    return kind, b"\n".join(lines) + b"\n"


def json_line(data: bytes) -> bytes:
    """Without the line ends that JSON for people has."""
    return b"".join(line.strip() for line in data.split(b"\n"))


# Forged damage: the manifest


def manifest_of(files: Files) -> bytes:
    """As a checkpoint's own; the test has its own, so that a change in the format is seen."""
    rows = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in sorted(files.items())
        if name != "manifest.json"
    }
    return (json.dumps({"format": 3, "files": rows}, indent=2) + "\n").encode()


def forge_manifest(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    content = json.loads(data)
    rows = content["files"]
    name = rng.choice(sorted(rows))
    kind = rng.choice((
        "missing name", "extra name", "path", "format", "size", "hash", "swapped", "order",
        "spaces", "json",
    ))  # fmt: skip
    if kind == "missing name":
        del rows[name]
    elif kind == "extra name":
        rows[rng.choice(("a", "", "manifest.json", "corpus.txt", "a" * 9000, "a\nb"))] = rows[name]
    elif kind == "path":
        paths = ("../run.json", "/etc/passwd", "../../x", "a/b", name + "\0", "./" + name, "C:\\a")
        rows[rng.choice(paths)] = rows.pop(name)
    elif kind == "format":
        values = (0, 1, 3, -2, "2", 2.0, None, [2], {}, 10**18, "a\nb", "9" * 9000, False, *TOKENS)
        value = rng.choice(values)
        content["format"] = _TOKEN if value in TOKENS else value
        return kind, write(content, value if value in TOKENS else None)
    elif kind == "size":
        size = rows[name]["bytes"]
        values = (-1, 0, size - 1, size + 1, float(size), str(size), None, 2**63, 2**31, *TOKENS)
        value = rng.choice(values)
        rows[name]["bytes"] = _TOKEN if value in TOKENS else value
        return kind, write(content, value if value in TOKENS else None)
    elif kind == "hash":
        digest = rows[name]["sha256"]
        others = ("", digest[:-1], digest + "0", "g" * 64, digest[::-1], "0" * 64, digest + "\n")
        rows[name]["sha256"] = rng.choice((*others, " " + digest[1:], None, 0, [digest]))
    elif kind == "swapped":
        other = rng.choice([each for each in rows if rows[each] != rows[name]])
        rows[name], rows[other] = rows[other], rows[name]
    elif kind == "order":
        content["files"] = dict(sorted(rows.items(), reverse=True))
    elif kind == "spaces":
        return kind, rng.choice((data + b" ", b"\n" + data, data.replace(b"  ", b" "), data[:-1]))
    else:
        what, data = forge_json(rng, data)
        return what, data
    return kind, write(content)


Forgery = Callable[[random.Random, bytes], tuple[str, bytes]]
FORGERIES: list[tuple[Forgery, tuple[str, ...], int]] = [
    (forge_header, TENSORS, 6),
    (forge_tensors, TENSORS, 6),
    (forge_generator, ("training.safetensors",), 3),
    (forge_optimiser, ("training.safetensors",), 1),
    (forge_json, ("training.json", "run.json"), 6),
    (forge_settings, ("run.json",), 3),
    (forge_vocabulary, ("vocabulary.json",), 3),
    (forge_position, ("training.json",), 2),
    (forge_lines, LINES, 4),
    (forge_manifest, ("manifest.json",), 6),
]


def forged(rng: random.Random, run: Healthy) -> Case:
    """One file or two, and a manifest to fit."""
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
    """A file of two gigabytes, all of it a hole, that its manifest knows of."""
    name = rng.choice(CHECKPOINT)
    manifest = json.loads(run.files["manifest.json"])
    manifest["files"][name]["bytes"] = GIANT
    return Case(f"forged: {name}, giant", {name: Odd.GIANT, "manifest.json": write(manifest)})


def cases(run: Healthy, number: int) -> Iterator[Case]:
    """The same ones each time; the first ones of many are those of few."""
    rng = random.Random(0)
    for _ in range(number):
        yield rng.choices((raw, forged, giant), (50, 49, 1))[0](rng, run)


# What must come of it


def lay(path: Path, content: bytes | Odd) -> None:
    """Put that in the place of a file."""
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
            file.truncate(GIANT)  # as a hole: it takes no room


def refusal(run: Healthy) -> RunError | None:
    try:
        run.open()
    except CharlmError as error:
        return error
    return None


def complaint(run: Healthy, case: Case, error: CharlmError | None, seconds: float) -> str | None:
    """What is wrong with how a case was met."""
    if error is None:
        return "it was taken for a whole one"
    lines = (error.message, error.hint or "-")
    if any("\n" in line or not line.isprintable() for line in lines):
        return f"the message is not one line: {lines!r:.300}"
    if len(error.message) > 300 + 2 * len(str(run.folder)):
        return f"the message is long: {error.message:.300}"
    # Whatever is in the manifest's or the run's own files may show in another.
    spread = {"manifest.json", *ABOUT} & case.changed.keys()
    named = [name for name in (NAMES if spread else case.changed) if name in error.message]
    if str(run.folder) not in error.message or not named:
        return f"the message names no damaged file: {error.message:.300}"
    if seconds > SECONDS:
        return f"it took {seconds:.1f} s"
    return None


def memory() -> float:
    """The most that this process ever took, in megabytes."""
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def damage(run: Healthy, number: int, report: Callable[[str, object], None]) -> None:
    """Meet so many cases, and put the run right again after each."""
    run.open()
    before, files_before = memory(), open_files()
    complaints, kinds, slowest = [], Counter[str](), 0.0
    for count, case in enumerate(cases(run, number)):
        for name, content in case.changed.items():
            lay(run.path(name), content)
        begun = time.perf_counter()
        error = refusal(run)
        seconds = time.perf_counter() - begun
        slowest = max(slowest, seconds)
        kinds[case.kind] += 1
        if found := complaint(run, case, error, seconds):
            complaints.append(f"case {count}, {case.kind}: {found}")
        for name in case.changed:
            lay(run.path(name), run.files[name])
    grown = memory() - before
    report("kinds", dict(kinds))
    report("slowest", round(slowest, 3))
    report("megabytes", round(grown, 1))
    assert not complaints, f"{len(complaints)} of {number}:\n" + "\n".join(complaints[:100])
    assert grown < MEGABYTES
    assert open_files() == files_before
    assert run.open().position.step == 13


POSIX = pytest.mark.skipif(os.name == "nt", reason="needs named pipes, links and resource")


@POSIX
def test_four_hundred_damaged_checkpoints_are_refused(alone, record_property):
    damage(alone, 400, record_property)


@POSIX
@pytest.mark.slow
def test_ten_thousand_damaged_checkpoints_are_refused(alone, record_property):
    damage(alone, 10_000, record_property)


# What else must come of it


@pytest.fixture
def spoil(alone: Healthy) -> Iterator[Callable[[dict[str, bytes]], CharlmError | None]]:
    """Changes files, with a manifest to fit, and tries to open; all is right again after."""
    changed: set[str] = set()

    def change(files: dict[str, bytes]) -> CharlmError | None:
        manifest = manifest_of({**alone.files, **files})
        for name, data in {**files, "manifest.json": manifest}.items():
            alone.path(name).write_bytes(data)
            changed.add(name)
        return refusal(alone)

    yield change
    for name in changed:
        alone.path(name).write_bytes(alone.files[name])


def test_what_is_forged_to_be_as_before_is_as_before(spoil):
    """The forging itself is no damage."""
    assert spoil({}) is None


def edited(*place: str | int, value: object = None, token: str | None = None) -> Callable:
    """Puts a value at a place of a JSON document."""

    def edit(data: bytes) -> bytes:
        content = put(json.loads(data), place, value if token is None else _TOKEN)
        return write(content, token)

    return edit


def with_counters(left: int, seeded: int, following: int) -> Callable[[bytes], bytes]:
    def edit(data: bytes) -> bytes:
        tensors = load(data)
        state = bytearray(bytes(tensors["generator.cpu"].numpy()))
        struct.pack_into("=iiQ", state, 8, left, seeded, following)
        tensors["generator.cpu"] = torch.tensor(list(state), dtype=torch.uint8)
        return save(tensors)

    return edit


def with_more_header(row: str) -> Callable[[bytes], bytes]:
    """Puts more at the start of a safetensors header."""

    def edit(data: bytes) -> bytes:
        size = int.from_bytes(data[:8], "little")
        return with_header(b"{" + row.encode() + b"," + data[9 : 8 + size], data[8 + size :])

    return edit


EMPTY = '"head.bias": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}'
FOUR_BITS = '"a": {"dtype": "F4", "shape": [0], "data_offsets": [0, 0]}'
NO_GENERATOR = "generator.cpu is not the state of a generator"
NAMED = {
    # safetensors takes the last of two tensors with one name, and any notes.
    "a name twice": ("best.safetensors", with_more_header(EMPTY), "not a whole safetensors file"),
    "notes": ("best.safetensors", with_more_header('"__metadata__": {"a": "b"}'),
              "differs in '__metadata__'"),
    "a type that torch has not": ("best.safetensors", with_more_header(FOUR_BITS),
                                  "not a whole safetensors file"),
    # torch takes all of these but the first, and reads memory that is not its own.
    "no numbers left": ("training.safetensors", with_counters(0, 1, 0), NO_GENERATOR),
    "numbers behind the end": ("training.safetensors", with_counters(624, 1, 624), NO_GENERATOR),
    "numbers that overlap": ("training.safetensors", with_counters(300, 1, 600), NO_GENERATOR),
    "not seeded": ("training.safetensors", with_counters(300, 2, 325), NO_GENERATOR),
    # Python reads these as an infinity, and as a whole number that no float can be.
    "infinity": ("training.json", edited("position", "seconds", token="1e999"), "not JSON"),
    "a googol": ("training.json", edited("position", "step", token="1" + "0" * 100), "not JSON"),
    "a key more": ("training.json", edited("a"), "it knows no 'a'"),
    "samples for ever": ("training.json", edited("position", "next_samples", value=3.0),
                         "the position's next_samples cannot be 3.0"),
    "another seed": ("training.json", edited("settings", "seed", value=5),
                     "its seed is not the one in run.json"),
    "another precision": ("training.json", edited("bfloat16", value=1), "its bfloat16 cannot be 1"),
    "another device": ("training.json", edited("device", value="c\nu"),
                       r"its device cannot be 'c\\nu'"),
    "two lines": ("training.json", edited("torch", value="1\n2"), r"its torch cannot be '1\\n2'"),
    "a number as text": ("run.json", edited("config", "model", "hidden_size", value="4"),
                         "model has a hidden_size that cannot be: '4'"),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_what_would_load_quietly_wrong_is_refused(alone, spoil, name):
    place, edit, words = NAMED[name]
    error = spoil({place: edit(alone.files[place])})
    assert error is not None
    assert re.fullmatch(rf"{re.escape(str(alone.path(place)))} is .*{words}.*", error.message)


@POSIX
@pytest.mark.parametrize("name", CHECKPOINT)
def test_a_huge_file_that_its_manifest_knows_of_is_not_read(alone, name):
    manifest = json.loads(alone.files["manifest.json"])
    manifest["files"][name]["bytes"] = GIANT
    lay(alone.path(name), Odd.GIANT)
    lay(alone.path("manifest.json"), write(manifest))
    error = refusal(alone)
    for changed in (name, "manifest.json"):
        lay(alone.path(changed), alone.files[changed])
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
def test_json_as_large_as_may_be_is_refused_soon(alone, spoil, name, filler):
    start, part, end = FILLERS[filler]
    size = {"vocabulary.json": MAX_VOCABULARY}.get(name, MAX_SETTINGS)
    if name in LINES:
        size = 2**22
    data = start + part * ((size - len(start) - len(end) - 1) // len(part)) + end + b"\n"
    begun = time.process_time()  # this takes a second: other processes are not to count
    error = spoil({name: data})
    assert time.process_time() - begun < SECONDS
    assert error is not None
    assert str(alone.path(name)) in error.message
    assert len(error.message) < 400


@POSIX
@pytest.mark.parametrize("name", NAMES[2:])
def test_damage_to_the_newest_checkpoint_goes_back_to_the_one_before(healthy, name):
    """Whatever is in the place of a file of the newest, and for each kind of raw damage."""
    before = Run.open(healthy.folder / "checkpoint-000002")
    rng = random.Random(name)
    contents: list[bytes | Odd] = [Odd.FOLDER, Odd.PIPE, Odd.LOOP, Odd.GIANT, Odd.MISSING]
    for donor in healthy.donors:
        contents += [spoilt(rng, healthy.files[name], donor[name]) for spoilt in RAW]
    for content in contents:
        if content == healthy.files[name]:
            continue
        lay(healthy.path(name), content)
        run = Run.open(healthy.folder)
        lay(healthy.path(name), healthy.files[name])
        if name == "manifest.json" and content is Odd.MISSING:
            assert run.notices == ()  # as when another process is about to write it
        else:
            (notice,) = run.notices
            assert str(healthy.path(name)) in notice
            assert notice.endswith("; going back to checkpoint-000002")
        run.notices = ()
        assert run == before
        for weights in ("best", "last"):
            ours, theirs = run.load_model(weights), before.load_model(weights)
            assert all(map(torch.equal, ours.parameters(), theirs.parameters()))
    assert Run.open(healthy.folder).checkpoint.folder.name == NEWEST


@pytest.mark.parametrize("content", [b"", b"{}", Odd.LOOP])
def test_training_goes_on_from_the_checkpoint_before(healthy, work, tmp_path, content):
    """It comes to the very end that it would have come to, and the damaged one is gone then."""
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


def test_where_both_are_damaged_the_newest_is_told_of(healthy, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(healthy.folder, folder)
    for number, name in (("2", "metrics.jsonl"), ("3", "last.safetensors")):
        path = folder / f"checkpoint-00000{number}" / name
        path.write_bytes(path.read_bytes()[1:])
    with pytest.raises(RunError, match=re.escape(f"{path} is damaged")):
        Run.open(folder)


def test_a_lost_manifest_is_not_a_beginning(alone):
    """Where there was a checkpoint before it: else training would begin anew over what is there."""
    lay(alone.path("manifest.json"), Odd.MISSING)
    with pytest.raises(RunError, match=r"cannot read .*manifest\.json: No such file"):
        Run.open(alone.folder)
    clean_up(alone.folder)
    lay(alone.path("manifest.json"), alone.files["manifest.json"])
    assert alone.open().position.step == 13


def test_the_first_checkpoint_without_a_manifest_is_told_of(healthy, tmp_path):
    """A training that was killed as it wrote it begins anew, but not without a word."""
    folder = tmp_path / "run"
    shutil.copytree(healthy.folder, folder)
    shutil.rmtree(folder / "checkpoint-000002")
    (folder / NEWEST).rename(folder / "checkpoint-000001")
    (folder / "checkpoint-000001" / "manifest.json").unlink()
    run = Run.open(folder)
    assert run.notices == (
        f"{folder / 'checkpoint-000001'} was not written to its end, and is left out",
    )
    assert run.checkpoint is None
    with pytest.raises(RunError, match="has no checkpoint yet"):
        run.load_model()


@POSIX
def test_a_checkpoint_that_is_a_link_is_never_emptied(healthy, tmp_path):
    """What it leads to may be anything of the user's."""
    folder, other = tmp_path / "run", tmp_path / "mine"
    shutil.copytree(healthy.folder, folder)
    other.mkdir()
    (other / "manifest.json").write_text("mine")
    (folder / "checkpoint-000001").symlink_to(other)
    (folder / "checkpoint-000000").symlink_to(tmp_path)
    follow(Run.open(folder), healthy.corpus, steps=1000)
    assert (other / "manifest.json").read_text() == "mine"
    assert len(list(folder.glob("checkpoint-*"))) == 2


def test_more_lines_than_can_be_read_are_not_written(monkeypatch):
    """The oldest go: a run that can no longer be opened would be worth nothing."""
    rows = [{"epoch": number, "prefix": "a", "text": "b"} for number in range(100)]
    whole = encode_lines(rows)
    monkeypatch.setattr(files_module, "MAX_LINES", len(whole) // 2)
    some = encode_lines(rows)
    assert len(whole) // 2 - 50 < len(some) <= len(whole) // 2
    assert whole.endswith(some)
    assert decode_lines(some, Path("samples.jsonl"), SAMPLES)[-1] == rows[-1]


def test_the_counters_of_a_generator_are_where_they_are_looked_for():
    """Else those that do not belong together would not be found; see `keeping`."""
    generator = torch.Generator().manual_seed(7)
    seen = []
    for number in (0, 1, 5, 300, 318, 1, 10_000):
        torch.randint(2, (number,), generator=generator)
        state = bytes(generator.get_state().numpy())
        seen.append(struct.unpack_from("=iiQ", state, 8))
    assert seen[0] == (1, 1, 0)
    assert all(left + following == 625 and seeded for left, seeded, following in seen[1:])
