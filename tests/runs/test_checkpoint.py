"""Files that are whole or not there, and weights that are the model's own or refused."""

from __future__ import annotations

import errno
import json
import os
import pickle
import sys

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from charlm.errors import RunError
from charlm.models.language_model import LanguageModel
from charlm.runs.checkpoint import (
    load_weights,
    read_json,
    save_weights,
    write_atomic,
    write_json,
)


def one_line(error: RunError) -> str:
    assert error.exit_code == 1
    for line in (error.message, error.hint or "-"):
        assert line
        assert "\n" not in line
    return error.message


# Writing


def test_a_new_file_and_one_in_the_place_of_another(tmp_path):
    path = tmp_path / "a.bin"
    for data in (b"first", b"", b"\0\xff" * 100_000):
        write_atomic(path, data)
        assert path.read_bytes() == data
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("old", [b"the old one", None])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, failing, old):
    path = tmp_path / "a.bin"
    if old is not None:
        path.write_bytes(old)

    def fail(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(RunError) as caught:
        write_atomic(path, b"the new one")
    assert one_line(caught.value) == f"cannot write {path}: No space left on device"
    assert "untouched" in caught.value.hint
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([] if old is None else [old])


def test_an_interruption_leaves_what_was_there(tmp_path, monkeypatch):
    """As the second Ctrl-C does, wherever it comes."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"the old one")

    def interrupt(number):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, b"the new one")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"the old one"]


def test_the_file_is_synced_before_it_takes_the_name(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    seen = []
    monkeypatch.setattr(os, "fsync", lambda number: seen.append(path.read_bytes()))
    write_atomic(path, b"new")
    assert seen == [b"old"]
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("name", ["missing/a.bin", "file/a.bin", "a" * 300, "folder"])
def test_a_place_that_cannot_be_written_to(tmp_path, name):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError) as caught:
        write_atomic(tmp_path / name, b"new")
    assert one_line(caught.value).startswith(f"cannot write {tmp_path / name}: ")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder"]


# JSON


@pytest.mark.parametrize(
    "content",
    [{}, [], None, 1.5, {"分开": ["é", 1, None, True, {"a": [0.1 + 0.2]}]}, "\0\x85\u2028"],
)
def test_json_round_trip(tmp_path, content):
    path = tmp_path / "a.json"
    write_json(path, content)
    assert read_json(path) == content
    assert path.read_bytes().endswith(b"\n")


def test_json_is_for_people_too(tmp_path):
    write_json(tmp_path / "a.json", {"prefix": "分开"})
    assert (tmp_path / "a.json").read_text("utf-8") == '{\n  "prefix": "分开"\n}\n'


def test_json_with_what_utf8_cannot_hold(tmp_path):
    """File names and words of the command line may have bytes that are no UTF-8."""
    content = {"source": os.fsdecode(b"\xff\xfe.txt"), "prefix": "\ud800 😀"}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b'{"a": 1', b'{"a": 1}}', b"\xff\xfe", b"\0" * 20, b"[" * 100_000, b"1" * 5000],
    ids=range(8),
)
def test_damaged_json(tmp_path, data):
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(RunError) as caught:
        read_json(path)
    assert one_line(caught.value) == f"{path} is damaged: it is not JSON"


def test_missing_json(tmp_path):
    with pytest.raises(RunError, match=r"cannot read .*a\.json: No such file"):
        read_json(tmp_path / "a.json")
    with pytest.raises(RunError, match="cannot read"):
        read_json(tmp_path)


# Weights


def model_of(**options) -> LanguageModel:
    options = {"cell": "lstm", "hidden_size": 3, "embedding": "tied", **options}
    return LanguageModel(options.pop("size", 5), **options)


def weights_of(model) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    """To the last bit, the sign of a zero included."""
    assert left.keys() == right.keys()
    return all(
        torch.equal(left[name].view(torch.int32), right[name].view(torch.int32)) for name in left
    )


@pytest.fixture
def saved(tmp_path):
    """A file of weights, and the weights in it."""
    weights = weights_of(model_of())
    save_weights(tmp_path / "a.safetensors", weights)
    return tmp_path / "a.safetensors", weights


def refused(path) -> str:
    """The message; the model must have the weights that it had."""
    model = model_of()
    before = weights_of(model)
    with pytest.raises(RunError) as caught:
        load_weights(path, model)
    assert same(weights_of(model), before)
    assert str(path) in caught.value.message
    return one_line(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"cell": "lstm", "embedding": "tied"},
        {"cell": "lstm", "backend": "scratch", "embedding": "tied", "num_layers": 2},
        {"cell": "gru", "embedding": "learned", "embedding_size": 4},
        {"cell": "gru-reset-before", "backend": "scratch"},
        {"cell": "rnn", "embedding": "one-hot", "weight_dropout": 0.5},
    ],
)
def test_weights_come_back_to_the_last_bit(tmp_path, options):
    path = tmp_path / "a.safetensors"
    model, other = model_of(**options), model_of(**options)
    with torch.no_grad():
        model.head.weight[0, 0] = -0.0
        model.head.weight[0, 1] = 1e-45
    save_weights(path, weights_of(model))
    load_weights(path, other)
    assert same(weights_of(other), weights_of(model))
    inputs = torch.randint(5, (7, 2))
    logits = [each.eval()(inputs, each.initial_state(2))[0] for each in (model, other)]
    assert torch.equal(*logits)


def test_tied_weights_are_written_once_and_stay_tied(tmp_path):
    path = tmp_path / "a.safetensors"
    model, other = model_of(embedding="tied"), model_of(embedding="tied")
    save_weights(path, weights_of(model))
    tensors = load(path.read_bytes())
    assert sum(tensor.shape == (5, 3) for tensor in tensors.values()) == 1
    load_weights(path, other)
    assert other.head.weight is other.embedding.weight
    assert torch.equal(other.head.weight, model.head.weight)


def test_loading_keeps_the_parameters_and_their_gradients(saved):
    """An optimiser holds on to the parameters themselves."""
    path, weights = saved
    model = model_of()
    parameters = list(model.parameters())
    load_weights(path, model)
    assert all(ours is theirs for ours, theirs in zip(parameters, model.parameters(), strict=True))
    assert all(parameter.requires_grad for parameter in parameters)
    assert same(weights_of(model), weights)


def test_weights_that_do_not_lie_in_order_in_memory(tmp_path):
    tensor = torch.arange(6.0).view(2, 3).T
    save_weights(tmp_path / "a.safetensors", {"a": tensor})
    assert torch.equal(load((tmp_path / "a.safetensors").read_bytes())["a"], tensor)


def test_the_same_weights_are_the_same_bytes(tmp_path, saved):
    path, weights = saved
    save_weights(tmp_path / "b.safetensors", dict(reversed(weights.items())))
    assert (tmp_path / "b.safetensors").read_bytes() == path.read_bytes()


def test_weights_of_another_program_need_no_hash(saved):
    path, weights = saved
    path.write_bytes(save(weights))
    model = model_of()
    load_weights(path, model)
    assert same(weights_of(model), weights)


def test_missing_weights(tmp_path):
    assert "No such file" in refused(tmp_path / "a.safetensors")
    (tmp_path / "folder").mkdir()
    assert "cannot read" in refused(tmp_path / "folder")


def test_truncated_weights(saved):
    path, _ = saved
    data = path.read_bytes()
    for size in [0, 1, 7, 8, 9, *range(10, len(data), 13), len(data) - 1]:
        path.write_bytes(data[:size])
        assert "is damaged" in refused(path), size
    path.write_bytes(data + b"\0")
    assert "is damaged" in refused(path)


@pytest.mark.parametrize("mask", [0xFF, 0x01, 0x20])
def test_a_flipped_byte_is_noticed_wherever_it_is(tmp_path, mask):
    """But one in the word that announces the hash: the weights are whole then."""
    path = tmp_path / "a.safetensors"
    weights = weights_of(nn.Linear(3, 2))
    save_weights(path, weights)
    data = path.read_bytes()
    word = data.index(b'"sha256"')
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= mask
        path.write_bytes(flipped)
        model = nn.Linear(3, 2)
        before = weights_of(model)
        try:
            load_weights(path, model)
        except RunError as error:
            one_line(error)
            assert same(weights_of(model), before), position
        else:
            assert word <= position < word + len('"sha256"'), position
            assert same(weights_of(model), weights), position


@pytest.mark.parametrize(
    "data",
    [
        b"not safetensors at all",
        b"\xff" * 100,
        b"\0" * 100,
        (2).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (40).to_bytes(8, "little") + b'{"a":{"dtype":"F32"}}'.ljust(40),
        (64).to_bytes(8, "little")
        + b'{"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}'.ljust(64)
        + b"1",
        (64).to_bytes(8, "little")
        + b'{"a":{"dtype":"X32","shape":[1],"data_offsets":[0,4]}}'.ljust(64)
        + b"1234",
    ],
    ids=range(8),
)
def test_foreign_files(tmp_path, data):
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    refused(path)


class Trap:
    """Does harm where it is unpickled."""

    sprung = False

    def __reduce__(self):
        return setattr, (Trap, "sprung", True)


def test_a_pickle_is_refused_and_never_opened(tmp_path):
    path = tmp_path / "a.safetensors"
    pickles = [pickle.dumps(Trap(), protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for data in pickles:
        path.write_bytes(data)
        assert "is damaged" in refused(path)
    torch.save(weights_of(model_of()), path)
    assert "is damaged" in refused(path)
    assert not Trap.sprung
    pickle.loads(pickles[0])
    assert Trap.sprung  # so it would have been


@pytest.mark.parametrize(
    ("options", "differs"),
    [
        ({"hidden_size": 4}, "is (5, 4) torch.float32, not (5, 3) torch.float32"),
        ({"size": 6}, "is (6, 3) torch.float32, not (5, 3) torch.float32"),
        ({"num_layers": 2}, "differs in stack.layers.1."),
        ({"backend": "scratch"}, "differs in stack.layers.0."),
        ({"embedding": "learned"}, "differs in head.weight"),
        ({"cell": "gru"}, "is (9, 3) torch.float32, not (12, 3)"),
    ],
)
def test_weights_of_another_model(tmp_path, options, differs):
    path = tmp_path / "a.safetensors"
    save_weights(path, weights_of(model_of(**options)))
    message = refused(path)
    assert "is not of this run's model" in message
    assert differs in message


@pytest.mark.parametrize(
    "change",
    [
        lambda tensor: tensor.double(),
        lambda tensor: tensor.half(),
        lambda tensor: tensor.bfloat16(),
        lambda tensor: tensor.view(torch.int32),
        lambda tensor: tensor[:1],
        lambda tensor: tensor.unsqueeze(0),
        lambda tensor: tensor.flatten(),
        lambda tensor: tensor.T.contiguous(),
    ],
)
def test_another_shape_or_type_of_the_last_tensor(saved, change):
    """The others must not have been taken by then."""
    path, weights = saved
    name = "embedding.weight"
    assert name in weights
    save_weights(path, {**weights, name: change(weights[name])})
    assert f"is not of this run's model: {name} is " in refused(path)


def test_missing_and_superfluous_names(saved):
    path, weights = saved
    save_weights(path, {**weights, "extra": torch.zeros(1)})
    assert "differs in extra" in refused(path)
    save_weights(path, {name: weights[name] for name in list(weights)[1:]})
    assert f"differs in {next(iter(weights))}" in refused(path)
    save_weights(path, {})
    assert "differs in " in refused(path)


def test_a_header_that_is_too_deep_or_too_long(tmp_path):
    path = tmp_path / "a.safetensors"
    header = b'{"a":' + b"[" * sys.getrecursionlimit() * 20
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    refused(path)
    header = json.dumps({"__metadata__": {str(i): "x" for i in range(10_000)}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    refused(path)


def test_what_json_has_no_number_for_is_null(tmp_path):
    write_json(tmp_path / "a.json", {"perplexity": float("inf"), "rows": [float("nan"), 1.5]})
    read = json.loads((tmp_path / "a.json").read_text())
    assert read == {"perplexity": None, "rows": [None, 1.5]}
