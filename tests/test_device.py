from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from charlm import device as module
from charlm.device import Precision, computes_in_bfloat16, select_device, select_precision
from charlm.errors import UsageError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
BFLOAT16 = {"avx512_bf16": True}


@pytest.mark.parametrize("available", [True, False])
def test_auto_is_cuda_where_it_is_available(available, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert select_device("auto") == (CUDA if available else CPU)
    assert select_device("cpu") == CPU


@pytest.mark.parametrize(
    "name",
    ["", "gpu", "CPU", "cuda:99", "cuda:-1", "cuda:x", "0", "auto:0", "meta", "hpu"],
)
def test_an_unknown_device_is_refused(name):
    with pytest.raises(UsageError) as refused:
        select_device(name)
    assert refused.value.message == f"no device {name!r} here"
    assert refused.value.hint == "try --device cpu"


@pytest.mark.parametrize(
    ("capabilities", "wanted"),
    [(BFLOAT16, True), ({"amx_bf16": True}, True), ({"avx2": True}, False), ({}, False)],
    ids=str,
)
def test_auto_is_bfloat16_on_a_cpu_with_instructions_for_it(capabilities, wanted, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.setattr(module, "computes_in_bfloat16", lambda device: True)
    assert select_precision("auto", CPU) == Precision(bfloat16=wanted)
    assert select_precision("auto", CUDA) == Precision(bfloat16=False)
    assert select_precision("bfloat16", CUDA) == Precision(bfloat16=True)
    assert select_precision("float32", CPU) == Precision(bfloat16=False)


def test_flags_alone_do_not_make_bfloat16(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: BFLOAT16, raising=False)
    monkeypatch.setattr(module, "computes_in_bfloat16", lambda device: False)
    precision = select_precision("auto", CPU)
    assert not precision.bfloat16
    assert precision.notices == (
        "this processor has bfloat16, but torch cannot use it: training in float32",
    )
    with pytest.raises(UsageError, match="the device cpu cannot compute in bfloat16") as refused:
        select_precision("bfloat16", CPU)
    assert "--set precision=float32" in refused.value.hint


def test_the_trial_of_bfloat16_draws_no_random_numbers():
    before = torch.get_rng_state()
    assert computes_in_bfloat16.__wrapped__(CPU) in (True, False)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_device_that_fails_does_not_compute_in_bfloat16(monkeypatch):
    def fail(*_):
        raise RuntimeError("could not create a primitive descriptor")

    monkeypatch.setattr(torch.nn.LSTM, "forward", fail)
    assert not computes_in_bfloat16.__wrapped__(CPU)


def test_training_works_where_onednn_refuses_bfloat16(tmp_path):
    """Some processors have bfloat16 instructions, but oneDNN may be limited to AVX2."""

    settings = ("hidden_size=8", "epochs=1", "max_chars=2000", "device=cpu")

    def train(name, *more):
        options = [word for each in (*settings, *more) for word in ("--set", each)]
        command = [sys.executable, "-m", "charlm", "train", "--run", str(tmp_path / name), *options]
        env = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
        return subprocess.run(command, env=env, capture_output=True, text=True)

    auto = train("auto")
    assert auto.returncode == 0, auto.stderr
    explicit = train("explicit", "precision=bfloat16")
    if computes_here := "training in float32" not in auto.stderr:
        assert explicit.returncode == 0
    else:
        assert explicit.returncode == 2
        assert explicit.stderr.splitlines()[-2:] == [
            "error: the device cpu cannot compute in bfloat16",
            "hint: train with --set precision=float32, or with --set precision=auto",
        ]
        assert not (tmp_path / "explicit").exists()
    flags = getattr(torch.cpu, "get_capabilities", dict)()
    if any(flags.get(flag) for flag in ("avx512_bf16", "amx_bf16")):
        assert not computes_here
