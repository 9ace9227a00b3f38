"""Fuzz the file readers: for any bytes, a reader may raise only a `CharlmError`.

The first byte of an input chooses the reader, which reads the rest. See README.md.
"""

from __future__ import annotations

import atexit
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import atheris
import torch  # not instrumented: it is large and not under test

with atheris.instrument_imports(include=["charlm"]):
    from charlm.config import merging
    from charlm.corpus import Vocabulary
    from charlm.corpus.text import read_text
    from charlm.errors import CharlmError
    from charlm.runs import Run, checkpoint, reading
    from charlm.runs.checkpoint import FILES, MANIFEST, RUN_FILES, decode_manifest, record
    from charlm.runs.fields import SAMPLES, check_run, check_settings, metrics_kinds
    from charlm.runs.files import decode_json, decode_lines, encode_json, read_file
    from charlm.runs.tensors import decode_tensors, encode_tensors
    from charlm.tasks import CLASSIFICATION, LANGUAGE_MODEL, TAGGING
    from charlm.tasks.classification.labelled_texts import load_labelled
    from charlm.tasks.language_model.config import LanguageModelConfig
    from charlm.tasks.language_model.corpus import load_corpus
    from charlm.tasks.tagging.tagged_sentences import load_tagged
    from charlm.training import train
    from charlm.training.loop import open_trainer
    from charlm.training.progress import Progress

WORK = Path(tempfile.mkdtemp(prefix="charlm-fuzz-"))
PATH = WORK / "fuzzed"
CPU = torch.device("cpu")
LONGEST_MESSAGE = 1500  # characters, most of them from paths
SETTINGS = {
    "model": {"hidden_size": 2, "embedding_size": 1},
    "training": {
        "epochs": 1,
        "batch_size": 2,
        "seq_len": 5,
        "prefixes": ["a"],
        "sample_length": 2,
        "sampling": "consecutive",
        "save_minutes": None,
    },
}


# A complete run in memory


def make_run() -> tuple[Run, dict[str, bytes]]:
    """A run that was stopped inside its only epoch, and the bytes of its files by name."""
    text = WORK / "text.txt"
    text.write_text("abc cab bca\n" * 10)
    corpus = load_corpus(str(text))
    made = Run.create(WORK / "run", LanguageModelConfig.from_settings([SETTINGS]), corpus)
    steps: list[object] = []
    for event in train(made, corpus, device=CPU, should_stop=lambda: len(steps) > 8):
        steps.append(event)  # noqa: PERF402 - should_stop reads the list
    assert made.checkpoint is not None
    folder = made.checkpoint.folder
    files = {name: (made.folder / name).read_bytes() for name in RUN_FILES}
    return made, files | {name: (folder / name).read_bytes() for name in FILES}


RUN, WHOLE = make_run()
CORPUS = load_corpus(str(WORK / "text.txt"))
WEIGHTS = dict(RUN.meta_model().named_parameters())
NAMES = sorted(WHOLE)


@contextmanager
def in_place_of(name: str, data: bytes) -> Iterator[None]:
    """Replace a file of the run inside the block, and its record in the manifest."""
    files = {**WHOLE, name: data}
    files[MANIFEST] = encode_manifest(files)

    def read(path: Path, most: int) -> bytes:
        return files[path.name] if path.name in files else read_file(path, most)

    reading.read_file = checkpoint.read_file = read
    try:
        yield
    finally:
        reading.read_file = checkpoint.read_file = read_file


def encode_manifest(files: dict[str, bytes]) -> bytes:
    """The manifest of these files."""
    keys = ("bytes", "sha256")
    rows = {name: dict(zip(keys, record(files[name]), strict=True)) for name in sorted(files)}
    return encode_json({"format": checkpoint.FORMAT, "files": rows}, indent=2)


# The readers


def read_manifest(data: bytes) -> None:
    """manifest.json."""
    decode_manifest(data, PATH)


def read_json(data: bytes) -> None:
    """Any JSON of a run."""
    decode_json(data, PATH)


def read_metrics(data: bytes) -> None:
    """metrics.jsonl."""
    decode_lines(data, PATH, metrics_kinds(LANGUAGE_MODEL.metric_keys, LANGUAGE_MODEL.unit))


def read_samples(data: bytes) -> None:
    """samples.jsonl."""
    decode_lines(data, PATH, SAMPLES)


def read_weights(data: bytes) -> None:
    """last.safetensors and best.safetensors."""
    decode_tensors(data, WEIGHTS, PATH)


def read_progress(data: bytes) -> None:
    """The progress in training.json; its documented error is a ValueError."""
    try:
        Progress.from_json(decode_json(data, PATH))
    except ValueError as error:
        one_line(str(error))


def read_settings(data: bytes) -> None:
    """The settings in run.json, as JSON."""
    content = decode_json(data, PATH)
    if isinstance(content, dict):
        LanguageModelConfig.from_settings([content])


def read_run(data: bytes) -> None:
    """All of run.json; the documented error of its checks is a ValueError."""
    content = decode_json(data, PATH)
    try:
        check_run(content, LanguageModelConfig.sections(), LANGUAGE_MODEL.corpus_facts)
        config = LanguageModelConfig.from_settings([content["config"]])
        check_settings(content["config"], config.to_dict(), "config", complete=True)
    except ValueError as error:
        one_line(str(error))


def read_toml(data: bytes) -> None:
    """A settings file for --config."""
    text = data.decode("utf-8", "surrogateescape")
    LanguageModelConfig.from_settings([merging.parse_toml(text, "fuzzed.toml")])


def read_assignments(data: bytes) -> None:
    """Arguments of --set, separated by NUL."""
    words = data.decode("utf-8", "surrogateescape").split("\0")
    LanguageModelConfig.from_settings([LanguageModelConfig.settings_from_assignments(words)])


def read_vocabulary(data: bytes) -> None:
    """vocabulary.json; in an accepted vocabulary each character has a different id."""
    vocabulary = Vocabulary.from_json(decode_json(data, PATH))
    text = "".join(vocabulary.characters)
    assert vocabulary.encode(text).tolist() == list(range(1, len(vocabulary)))
    assert vocabulary.decode(vocabulary.encode(text)) == text


def read_other_vocabularies(data: bytes) -> None:
    """Vocabularies of classifiers and taggers; an accepted one is written as it was read."""
    content = decode_json(data, PATH)
    for task in (CLASSIFICATION, TAGGING):
        try:
            assert task.read_vocabulary(content).to_json() == content
        except CharlmError as error:
            one_line(str(error))


def read_other_settings(data: bytes) -> None:
    """Settings of classifiers and taggers, as JSON."""
    content = decode_json(data, PATH)
    for task in (CLASSIFICATION, TAGGING):
        try:
            task.config_type.from_settings([content] if isinstance(content, dict) else [])
        except CharlmError as error:
            one_line(str(error))


def read_labels(data: bytes) -> None:
    """Labelled texts in a table or an archive; the first byte chooses the format."""
    if data:
        suffix = (".csv", ".tsv", ".jsonl", ".csv.gz", ".tar", ".tar.gz")[data[0] % 6]
        path = PATH.with_suffix(suffix)
        path.write_bytes(data[1:])
        texts = load_labelled(str(path))
        assert sum(map(len, texts.splits.values()))


def read_sentences(data: bytes) -> None:
    """Tagged sentences: words and tags separated by a NUL, or columns if there is no NUL."""
    folder = WORK / "sentences"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "train").mkdir(parents=True)
    words, nul, tags = data.partition(b"\0")
    if nul:
        (folder / "train" / "seq.in").write_bytes(words)
        (folder / "train" / "seq.out").write_bytes(tags)
    else:
        (folder / "train.txt").write_bytes(data)
    sentences = load_tagged(str(folder))
    assert all(len(each.words) == len(each.tags) for each in sentences.splits["train"])


def read_corpus(data: bytes) -> None:
    """A text, plain or compressed, in several encodings; the first byte chooses both."""
    if not data:
        return
    encodings = (None, "utf-16", "gb18030", "utf-7", "cp1252", "punycode", "idna")
    suffix = (".txt", ".gz", ".zip")[data[0] % 3]
    path = PATH.with_suffix(suffix)
    path.write_bytes(data[1:])
    read_text(path, encoding=encodings[data[0] // 3 % len(encodings)])


def read_checkpoint(data: bytes) -> None:
    """All readers of a run; the first byte chooses the file that the input replaces."""
    if not data:
        return
    with in_place_of(NAMES[data[0] % len(NAMES)], data[1:]):
        opened = Run.open(RUN.folder)
        opened.load_model("best")
        opened.load_model("last")
        open_trainer(opened, CORPUS, CPU)


TARGETS: list[Callable[[bytes], None]] = [
    read_manifest,
    read_json,
    read_metrics,
    read_samples,
    read_weights,
    read_progress,
    read_settings,
    read_run,
    read_toml,
    read_assignments,
    read_vocabulary,
    read_corpus,
    read_checkpoint,
    read_other_vocabularies,
    read_other_settings,
    read_labels,
    read_sentences,
]


def one_line(message: str) -> None:
    """Check a message for the user."""
    assert "\n" not in message, message
    assert len(message) <= LONGEST_MESSAGE, message


EXECUTIONS: Counter[str] = Counter()


def test_one_input(data: bytes) -> None:
    """Run one input; the fuzzer calls this."""
    target = TARGETS[data[0] % len(TARGETS)] if data else read_json
    EXECUTIONS[target.__name__] += 1
    if EXECUTIONS.total() % 50_000 == 0:
        tell()
    try:
        target(data[1:])
    except CharlmError as error:
        one_line(error.message)
        one_line(error.hint or "")


# The seeds


def make_seeds() -> dict[str, bytes]:
    """One or two inputs for each reader, by name; the tensors of a training are too large."""
    about = json.loads(WHOLE["run.json"])
    words = ["lr=0.1", "model.cell=gru", "split=0.8,0.1,0.1", "prefixes=a,b", "minutes=none"]
    text = "the time traveller\n"
    seeds: dict[str, list[bytes]] = {
        "read_manifest": [encode_manifest(WHOLE)],
        "read_json": [WHOLE["training.json"], b'[1.5e3, -2, "\\ud800", null, {"a": [true]}]'],
        "read_metrics": [WHOLE["metrics.jsonl"]],
        "read_samples": [WHOLE["samples.jsonl"]],
        "read_weights": [WHOLE["best.safetensors"], encode_tensors({"a": torch.zeros(2)})],
        "read_progress": [encode_json(json.loads(WHOLE["training.json"])["progress"])],
        "read_settings": [encode_json(about["config"])],
        "read_run": [WHOLE["run.json"]],
        "read_toml": [
            b'[model]\ncell = "lstm"\nhidden_size = 0xff\n[training]\nlr = 1e-3\nweight_decay = 1\n'
            b'prefixes = ["a", "b"]\nminutes = "none"\n[corpus]\nsplit = [0.8, 0.1, 0.1]\n'
        ],
        "read_assignments": ["\0".join(words).encode()],
        "read_vocabulary": [WHOLE["vocabulary.json"]],
        "read_corpus": [b"\0" + text.encode(), b"\3" + text.encode("utf-16")],
        "read_checkpoint": [
            bytes([NAMES.index(name)]) + WHOLE[name]
            for name in NAMES
            if not name.startswith("training.s")
        ],
        "read_other_vocabularies": [
            b'{"words": ["a", "b"], "labels": ["x", "y"]}',
            b'{"characters": ["a", "b"], "labels": ["x", "y"]}',
            b'{"words": ["a", "b"], "tags": ["O", "B-x", "I-x"]}',
        ],
        "read_other_settings": [
            encode_json(task.config_type.from_settings([]).to_dict())
            for task in (CLASSIFICATION, TAGGING)
        ],
        "read_labels": [
            b'\0text,label\n"a, b",x\nc,y\nd,x\n',
            b'\2{"text": "a", "label": 1}\n{"text": "b", "label": 2}\n',
        ],
        "read_sentences": [b"to boston\non monday\n\0O B-to\nO B-day\n", b"to O\nboston B-to\n"],
    }
    return {
        f"{target.__name__[5:]}-{count}": bytes([number]) + data
        for number, target in enumerate(TARGETS)
        for count, data in enumerate(seeds[target.__name__])
    }


SEEDS = make_seeds()


# Mutations that keep JSON valid: changed bytes rarely get past "it is not JSON"

ODD = (
    None, True, False, 0, -1, 1, 0.5, -0.5, 2**31, 2**53, 2**63 - 1, 2**63, 10**30, 1e308, 5e-324,
    "", "a", "1", "none", "nan", "a\nb", "\ud800", "a" * 300, [], [[]], {}, {"": {}}, [None] * 9,
    "cpu", "cuda", "lstm", "torch", "F16", "I64", "BOOL", "F4", "F8_E8M0", [0, 4], [2, 2**40],
)  # fmt: skip


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """The next input for libFuzzer: a change to the JSON in it, or to its bytes."""
    rng = random.Random(seed)
    if rng.random() < 0.2:  # libFuzzer prefers short inputs and some readers
        data = rng.choice(list(SEEDS.values()))
    kind = rng.random()
    if data and kind < 0.05:  # deep lists, and very long numbers and names
        place = rng.randrange(1, len(data) + 1)
        block = bytes([rng.choice(b'[{"9a \n\0')]) * rng.choice((20, 400, 1000, 4400))
        return (data[:place] + block + data[place:])[:max_size]
    if len(data) > 2 and kind < 0.5:
        name = TARGETS[data[0] % len(TARGETS)].__name__
        start = 2 if name in ("read_corpus", "read_checkpoint") else 1
        head, rest = data[:start], data[start:]
        size = int.from_bytes(rest[:8], "little")
        try:
            if 0 < size < len(rest):  # safetensors, with JSON in its header
                header = encode(change(json.loads(rest[8 : 8 + size]), rng))
                changed = len(header).to_bytes(8, "little") + header + rest[8 + size :]
            else:
                lines = (
                    [json.loads(line) for line in rest.split(b"\n")[:-1]]
                    if (rest.startswith(b"{") and name in ("read_metrics", "read_samples"))
                    else [json.loads(rest)]
                )
                number = rng.randrange(len(lines))
                lines[number] = change(lines[number], rng)
                indent = 2 if name == "read_manifest" else None
                changed = b"".join(encode(line, indent) for line in lines)
            if 1 < len(head + changed) <= max_size:
                return head + changed
        except (ValueError, RecursionError, IndexError):
            pass
    return bytes(atheris.Mutate(data, max_size))


def encode(content: object, indent: int | None = None) -> bytes:
    """JSON in the form of a run's files."""
    return (json.dumps(content, ensure_ascii=False, indent=indent) + "\n").encode(
        "utf-8", "backslashreplace"
    )


def change(content: object, rng: random.Random) -> object:
    """The content with one value, key or order changed."""
    places: list[tuple[object, object]] = [(None, None)]

    def collect(inner: object) -> None:
        if isinstance(inner, dict | list):
            for key in inner if isinstance(inner, dict) else range(len(inner)):
                places.append((inner, key))
                collect(inner[key])

    collect(content)
    home, key = rng.choice(places)
    if home is None:
        return rng.choice((content, content, rng.choice(ODD)))
    kind = rng.randrange(5)
    if kind == 0:
        del home[key]
    elif kind == 1 and isinstance(home, dict):
        home[rng.choice(("a", "", "a\nb", "__metadata__", str(key) + "_"))] = home[key]
    elif kind == 2:
        other, where = rng.choice(places)
        home[key] = content if other is None else other[where]
        json.dumps(content)  # raises a ValueError if it contains itself
    else:
        home[key] = rng.choice(ODD)
    return content


def tell() -> None:
    """Print how often each reader has been called."""
    print(f"executions: {EXECUTIONS.total():,} {dict(EXECUTIONS)}", file=sys.stderr, flush=True)


def main() -> None:
    """Write the seeds with ``seeds FOLDER``; other arguments are libFuzzer's."""
    if sys.argv[1:2] == ["seeds"]:
        for name, data in SEEDS.items():
            (Path(sys.argv[2]) / name).write_bytes(data)
        return
    atexit.register(tell)
    atheris.Setup(sys.argv, test_one_input, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
