"""Forty hostile files in the place of a run's files: none is used, and no code in it runs.

The commands run in a separate process. An audit hook there records every event that could run code
or touch a file outside the run, and a hostile file that runs creates a canary file. As a control,
some of the files are loaded with the loaders that do execute them: both signs must then show.
"""

from __future__ import annotations

import base64
import bz2
import contextlib
import gzip
import hashlib
import importlib.util
import io
import itertools
import json
import lzma
import marshal
import os
import pickle
import plistlib
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer

from charlm import cli
from charlm.cli import run as charlm

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs links and a shell")

TENSORS = ("best.safetensors", "last.safetensors", "training.safetensors")
ABOUT = ("run.json", "vocabulary.json")
JSON = ("training.json", "metrics.jsonl", "samples.jsonl", "manifest.json", "summary.json")
PLACES = (*TENSORS, *JSON, *ABOUT)
COMMANDS = {
    "generate": ["generate", "--length", "3"],
    "eval": ["eval"],
    "show": ["runs", "show"],
    "resume": ["train", "--resume"],
}


# The files


class Payload:
    """Unpickling this runs a command that creates the canary."""

    def __init__(self, canary: Path) -> None:
        self.command = f"touch {canary}"

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@dataclass(frozen=True)
class Makings:
    """The parts of the hostile files."""

    canary: Path
    precious: Path
    """a file of the user"""
    weights: bytes
    """best.safetensors of the healthy run"""

    def pickled(self, protocol: int) -> bytes:
        return pickle.dumps(Payload(self.canary), protocol)

    def source(self) -> str:
        return f"import os; os.system('touch {self.canary}')\n"


def with_header(content: bytes) -> bytes:
    """A valid safetensors file with one tensor of bytes."""
    row = {"dtype": "U8", "shape": [len(content)], "data_offsets": [0, len(content)]}
    header = json.dumps({"data": row}).encode()
    return len(header).to_bytes(8, "little") + header + content


def pickle_in_safetensors(makings: Makings, protocol: int) -> bytes:
    return with_header(makings.pickled(protocol))


def saved_by_torch(makings: Makings, *, archive: bool = True) -> bytes:
    buffer = io.BytesIO()
    content = {"head.weight": torch.zeros(2), "hook": Payload(makings.canary)}
    torch.save(content, buffer, _use_new_zipfile_serialization=archive)
    return buffer.getvalue()


def torch_with_a_bad_crc(makings: Makings) -> bytes:
    data = bytearray(saved_by_torch(makings))
    place = data.rindex(b"PK\1\2")
    data[place + 16 : place + 20] = b"\xde\xad\xbe\xef"
    return bytes(data)


def torch_marked_as_encrypted(makings: Makings) -> bytes:
    data = bytearray(saved_by_torch(makings))
    for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = -1
        while (place := data.find(mark, place + 1)) >= 0:
            data[place + flags] |= 1
    return bytes(data)


def zipped(names: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def torch_tar(makings: Makings) -> bytes:
    """The format of torch before version 0.1.10."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:", format=tarfile.PAX_FORMAT) as archive:
        parts = {"sys_info": b"", "pickle": makings.pickled(2), "tensors": b"", "storages": b""}
        for name, content in parts.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return buffer.getvalue()


def torch_script(makings: Makings) -> bytes:
    code = f"def forward(self):\n  {makings.source()}"
    pickles = dict.fromkeys(("archive/data.pkl", "archive/constants.pkl"), makings.pickled(2))
    code_files = {"archive/code/__torch__.py": code.encode(), "archive/version": b"3\n"}
    return zipped({**pickles, **code_files})


def numpy_objects(makings: Makings, *, archive: bool = False) -> bytes:
    buffer = io.BytesIO()
    objects = np.array([Payload(makings.canary)], dtype=object)
    if archive:
        np.savez(buffer, objects=objects)
    else:
        np.save(buffer, objects, allow_pickle=True)
    return buffer.getvalue()


def joblib_array(makings: Makings) -> bytes:
    """A pickle compressed with zlib, after joblib's magic bytes and the length."""
    packed = zlib.compress(makings.pickled(3))
    return b"ZF" + f"0x{len(packed):<17x}".encode() + packed


def bytecode(makings: Makings, *, header: bool = False) -> bytes:
    code = marshal.dumps(compile(makings.source(), "hostile", "exec"))
    return (importlib.util.MAGIC_NUMBER + bytes(12) if header else b"") + code


def keras_hdf5(makings: Makings) -> bytes:
    """The start of an HDF5 file, and the attribute in which keras keeps its layers."""
    return b"\x89HDF\r\n\x1a\n" + bytes(40) + b"model_config" + keras_lambda(makings)


def keras_lambda(makings: Makings) -> bytes:
    code = base64.b64encode(bytecode(makings)).decode()
    layer = {"class_name": "Lambda", "config": {"function": [code, None, None]}}
    return json.dumps({"class_name": "Sequential", "config": {"layers": [layer]}}).encode()


def reducing_json(makings: Makings) -> bytes:
    command = f"touch {makings.canary}"
    content = {
        "__reduce__": ["os.system", [command]],
        "py/reduce": [{"py/function": "os.system"}, {"py/tuple": [command]}],
        "__class__": "os.system",
        "__proto__": {"run": command},
        "$type": "System.Diagnostics.Process",
        "py/object": "subprocess.Popen",
    }
    return json.dumps(content).encode() + b"\n"


def yaml_tags(makings: Makings) -> bytes:
    return f"!!python/object/apply:os.system ['touch {makings.canary}']\n".encode()


def weights_with_metadata(makings: Makings) -> bytes:
    """The run's weights, with a pickle in the metadata."""
    size = int.from_bytes(makings.weights[:8], "little")
    header, body = json.loads(makings.weights[8 : 8 + size]), makings.weights[8 + size :]
    note = base64.b64encode(makings.pickled(4)).decode()
    text = json.dumps({"__metadata__": {"format": "pickle", "data": note}, **header}).encode()
    return len(text).to_bytes(8, "little") + text + body


def elf_library(makings: Makings) -> bytes:
    head = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHI", 3, 62, 1)
    return head + f"/bin/sh\0-c\0touch {makings.canary}\0".encode() + bytes(100)


def link_to_a_pickle(makings: Makings) -> Path:
    target = makings.canary.with_name("outside.pickle")
    target.write_bytes(makings.pickled(4))
    return target


PICKLES = [f"pickle, protocol {number}" for number in range(pickle.HIGHEST_PROTOCOL + 1)]
HOSTILE: dict[str, Callable[[Makings], bytes | Path]] = {
    **{name: partial(Makings.pickled, protocol=number) for number, name in enumerate(PICKLES)},
    **{
        f"{name}, in safetensors": partial(pickle_in_safetensors, protocol=number)
        for number, name in enumerate(PICKLES)
    },
    "pickle after the weights": lambda m: m.weights + m.pickled(4),
    "torch.save": saved_by_torch,
    "torch.save, a bad CRC": torch_with_a_bad_crc,
    "torch.save, marked as encrypted": torch_marked_as_encrypted,
    "torch.save, cut off in the directory": lambda m: saved_by_torch(m)[:-30],
    "torch.save, before zip archives": lambda m: saved_by_torch(m, archive=False),
    "torch.save, as tar": torch_tar,
    "torch.save, after the weights": lambda m: m.weights + saved_by_torch(m),
    "zip, other names": lambda m: zipped({"../../evil/data.pkl": m.pickled(2), "/x": b"a"}),
    "zip, a bomb": lambda m: zipped({"a/data.pkl": bytes(2**24)}, zipfile.ZIP_DEFLATED),
    "TorchScript": torch_script,
    "numpy, an array of objects": numpy_objects,
    "numpy, an archive of objects": lambda m: numpy_objects(m, archive=True),
    "joblib": joblib_array,
    "gzip of a pickle": lambda m: gzip.compress(m.pickled(4), mtime=0),
    "bzip2 of a pickle": lambda m: bz2.compress(m.pickled(4)),
    "xz of a pickle": lambda m: lzma.compress(m.pickled(4)),
    "marshal": bytecode,
    "bytecode with its header": lambda m: bytecode(m, header=True),
    "path configuration (.pth)": lambda m: m.source().encode(),
    "JSON that asks for calls": reducing_json,
    "JSON of a keras layer": keras_lambda,
    "HDF5 of a keras layer": keras_hdf5,
    "YAML that asks for calls": yaml_tags,
    "property list": lambda m: plistlib.dumps({"run": m.source()}),
    "weights with a pickle in the metadata": weights_with_metadata,
    "shell script": lambda m: f"#!/bin/sh\ntouch {m.canary}\n".encode(),
    "ELF library": elf_library,
    "link to a file of the user": lambda m: m.precious,
    "link to a pickle": link_to_a_pickle,
}
LOADERS: dict[str, Callable[[Path], object]] = {
    **dict.fromkeys(PICKLES, lambda path: pickle.loads(path.read_bytes())),
    "torch.save": partial(torch.load, weights_only=False),
    "torch.save, before zip archives": partial(torch.load, weights_only=False),
    "numpy, an array of objects": lambda path: np.load(path, allow_pickle=True),
    "gzip of a pickle": lambda path: pickle.loads(gzip.decompress(path.read_bytes())),
    "marshal": lambda path: exec(marshal.loads(path.read_bytes())),
    "path configuration (.pth)": lambda path: exec(path.read_text()),
}
"""Loaders that execute these files."""


# In the process of the commands

WATCHED = (
    *("pickle.", "marshal.", "exec", "compile", "import", "code.", "cpython.", "ctypes."),
    *("os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "os.kill", "os.putenv"),
    *("pty.", "subprocess.", "socket.", "urllib.", "http.", "ftplib.", "smtplib.", "webbrowser."),
    *("mmap.", "sys.settrace", "sys.setprofile", "builtins.input", "shutil.", "tempfile.", "glob."),
)
WRITING = (
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink"),
    *("os.chmod", "os.chown", "os.utime", "os.setxattr"),
)


class Watch:
    """Records audit events while it is on. An audit hook cannot be removed."""

    def __init__(self, run: Path) -> None:
        self.run = str(run)
        self.seen: list[str] = []
        self.on = False
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.on:
            return
        self.on = False  # do not record the events of this method
        try:
            if event == "open":
                path, _, flags = arguments
                writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
                if isinstance(flags, int) and flags & writing and self._outside(path):
                    self.seen.append(f"open {path!r} to write")
            elif event in WRITING and any(map(self._outside, arguments)):
                self.seen.append(f"{event} {arguments!r}")
            elif event.startswith(WATCHED):
                self.seen.append(f"{event} {self._described(arguments)}")
        finally:
            self.on = True

    def _outside(self, path: object) -> bool:
        if isinstance(path, bytes | os.PathLike):
            path = os.fsdecode(path)
        if not isinstance(path, str):
            return False
        return not (os.path.abspath(path) + os.sep).startswith(self.run + os.sep)

    @staticmethod
    def _described(arguments: tuple[object, ...]) -> str:
        """The arguments as text; code by its content, since its address changes."""
        described = [
            (each.co_filename, each.co_names, each.co_consts) if hasattr(each, "co_code") else each
            for each in arguments
        ]
        return repr(described)[:500]

    @contextlib.contextmanager
    def watching(self) -> Iterator[list[str]]:
        self.seen = []
        self.on = True
        try:
            yield self.seen
        finally:
            self.on = False


@dataclass
class Scene:
    """The healthy run and the folder around it."""

    work: Path

    def __post_init__(self) -> None:
        self.run = self.work / "run"
        (self.checkpoint,) = self.run.glob("checkpoint-*")
        self.files = {path: path.read_bytes() for path in self.run.rglob("*") if path.is_file()}
        weights = self.files[self.checkpoint / "best.safetensors"]
        self.makings = Makings(self.work / "canary", self.work / "precious", weights)

    def path(self, place: str) -> Path:
        at_top = place in (*ABOUT, "summary.json")
        return (self.run if at_top else self.checkpoint) / place

    def put(self, hostile: bytes | Path, place: str, forged: bool) -> None:
        path = self.path(place)
        path.unlink()
        path.symlink_to(hostile) if isinstance(hostile, Path) else path.write_bytes(hostile)
        manifest = json.loads(self.files[self.checkpoint / "manifest.json"])
        if forged and place in manifest["files"]:
            data = path.read_bytes()
            row = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            manifest["files"][place] = row
            text = json.dumps(manifest, indent=2) + "\n"
            (self.checkpoint / "manifest.json").write_text(text)

    def restore(self) -> None:
        for path in self.run.rglob("*"):
            if path.is_symlink() or (path.is_file() and path not in self.files):
                path.unlink()
        for path, data in self.files.items():
            if not path.is_file() or path.read_bytes() != data:
                path.write_bytes(data)

    def command(self, name: str) -> tuple[int, str]:
        folder = [str(self.run)] if name == "show" else ["--run", str(self.run)]
        err = io.StringIO()
        with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
            code = charlm([*COMMANDS[name], *folder])
        return code, err.getvalue()


def main(work: Path, cases: list[tuple[str, str, bool]]) -> dict[str, Any]:
    """Run the commands on all cases, and return the results as JSON."""
    # To build all commands anew for each would take half of the time.
    cli.build_app = cache(cli.build_app)
    typer.main.get_command = cache(typer.main.get_command)
    scene = Scene(work)
    made = {name: make(scene.makings) for name, make in HOSTILE.items()}
    watch = Watch(scene.run)
    usual: set[str] = set()
    # The usual events, on the healthy run and on damaged ones. The first pass only imports modules.
    for places in ((None, *PLACES), (None, "best.safetensors", "run.json")):
        usual = set()
        for place in places:
            if place is not None:
                scene.put(b"damaged", place, forged=True)
            for name in COMMANDS:
                with watch.watching() as seen:
                    code, err = scene.command(name)
                assert place or code == 0, err
                usual.update(seen)
            scene.restore()
    results = []
    for hostile, place, forged in cases:
        scene.put(made[hostile], place, forged)
        for name in COMMANDS:
            with watch.watching() as seen:
                code, err = scene.command(name)
            canary = scene.makings.canary.exists()
            results.append((hostile, place, forged, name, code, err, canary))
            results[-1] += ([each for each in seen if each not in usual],)
        scene.restore()
    precious = scene.makings.precious.read_text()
    control = {}
    for name, load in LOADERS.items():
        path = work / "control"
        path.write_bytes(made[name])
        with watch.watching() as seen:
            load(path)
        control[name] = (scene.makings.canary.exists(), [each.split()[0] for each in seen])
        scene.makings.canary.unlink(missing_ok=True)
    outcome = {"results": results, "precious": precious, "control": control}
    return {**outcome, "usual": sorted(usual)}


if __name__ == "__main__":
    json.dump(main(Path(sys.argv[1]), json.loads(sys.argv[2])), sys.stdout)
    sys.exit()


# The tests


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with a run, which has one checkpoint and a summary, and a file of the user."""
    work = tmp_path_factory.mktemp("hostile")
    (work / "text.txt").write_text("the time traveller for so it will be convenient\n" * 60)
    (work / "precious").write_text("mine")
    arguments = ["--hidden-size", "4", "--batch-size", "4", "--seq-len", "20", "--epochs", "1"]
    arguments += ["--corpus", str(work / "text.txt"), "--run", str(work / "run"), "--quiet"]
    assert charlm(["train", *arguments, "--device", "cpu", "--set", "sample_length=5"]) == 0
    for folder in sorted((work / "run").glob("checkpoint-*"))[:-1]:
        shutil.rmtree(folder)
    return work


def watched(work: Path, cases: list[tuple[str, str, bool]]) -> dict[str, Any]:
    """The results of the cases, from a separate process."""
    plan = json.dumps(cases)
    command = [sys.executable, __file__, str(work), plan]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=work)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def is_refused(hostile: str, command: str, place: str) -> bool:
    """Whether a command must refuse a file; some commands do not read it."""
    if place == "summary.json":  # unknown keys are ignored
        return command == "show" and not hostile.startswith("JSON")
    if place in TENSORS and command == "show":
        return False
    return command == "resume" or place not in ("last.safetensors", "training.safetensors")


def check(outcome: dict[str, Any], number: int) -> None:
    assert len(outcome["results"]) == 4 * number
    for hostile, place, forged, command, code, err, canary, seen in outcome["results"]:
        case = f"{hostile}, as {place}, {'forged' if forged else 'not forged'}, {command}: "
        assert not canary, case
        assert seen == [], case + "\n".join(seen)
        errors = [line for line in err.split("\n") if line.startswith("error:")]
        if is_refused(hostile, command, place):
            assert code == 1, case + err
            assert len(errors) == 1, case + err
            assert place in err, case + err
            assert "Traceback" not in err, case + err
        else:
            assert (code, errors) == (0, []), case + err
    assert outcome["precious"] == "mine"
    # The commands do not write outside the run folder on a healthy run, either.
    assert not [each for each in outcome["usual"] if each.startswith(("open ", *WRITING))]


def test_no_hostile_file_is_executed(trained):
    """Each hostile file is tried in one place."""
    assert len(HOSTILE) >= 40
    cases = [(name, PLACES[number % len(PLACES)], True) for number, name in enumerate(HOSTILE)]
    outcome = watched(trained, cases)
    check(outcome, len(cases))
    # The control: the canary and the hook work.
    assert outcome["control"].keys() == LOADERS.keys()
    for name, (canary, seen) in outcome["control"].items():
        assert canary, name
        if "marshal" in name or ".pth" in name:
            assert {"exec", "os.system"} <= set(seen), name
        else:
            assert "pickle.find_class" in seen, name
            assert {"os.system", "exec"} & set(seen), name


@pytest.mark.slow
def test_no_hostile_file_is_executed_in_any_place(trained):
    cases = list(itertools.product(HOSTILE, PLACES, (True, False)))
    check(watched(trained, cases), len(cases))


@pytest.mark.parametrize("name", [".lock", ".summary.json.1.tmp"])
def test_link_in_place_of_a_file_to_write_is_not_followed(trained, tmp_path, name):
    shutil.copytree(trained / "run", tmp_path / "run")
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "run" / ".lock").unlink(missing_ok=True)
    (tmp_path / "run" / name.replace("1", str(os.getpid()))).symlink_to(tmp_path / "precious")
    code = charlm(["train", "--resume", "--run", str(tmp_path / "run"), "--quiet"])
    assert code == (1 if name == ".lock" else 0)
    assert (tmp_path / "precious").read_text() == "mine"
