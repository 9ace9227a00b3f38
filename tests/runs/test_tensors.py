"""Weights are read bit for bit, or refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from charlm.errors import RunError
from charlm.runs.tensors import decode_tensors, encode_tensors, max_file_bytes, without_numbers
from charlm.tasks.language_model.config import LanguageModelSection
from charlm.tasks.language_model.model import build_language_model

PATH = Path("a") / "last.safetensors"
MODELS = [
    {"cell": "lstm", "embedding": "tied"},
    {"cell": "lstm", "backend": "scratch", "embedding": "tied", "num_layers": 2},
    {"cell": "gru", "embedding": "learned", "embedding_size": 4},
    {"cell": "gru-reset-before", "backend": "scratch"},
    {"cell": "rnn", "embedding": "one-hot", "weight_dropout": 0.5},
]


def weights_of(**options):
    options = {"hidden_size": 3, "embedding": "tied", "weight_dropout": 0, **options}
    size = options.pop("size", 5)
    model = build_language_model(LanguageModelSection(**options), size)
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def same(left, right):
    """Whether the tensors are the same, bit for bit."""
    assert left.keys() == right.keys()
    return all(
        (a.dtype, a.shape, a.contiguous().numpy().tobytes())
        == (b.dtype, b.shape, b.contiguous().numpy().tobytes())
        for a, b in ((left[name], right[name]) for name in left)
    )


@pytest.fixture
def weights():
    return weights_of()


@pytest.fixture
def refused(weights, one_line):
    """A function that checks that bytes are refused, and returns the message."""

    def check(data):
        with pytest.raises(RunError) as caught:
            decode_tensors(data, weights, PATH)
        message = one_line(caught.value)
        assert message.startswith((f"{PATH} is damaged", f"{PATH} does not belong to "))
        return message

    return check


def file_of(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


# Complete files


@pytest.mark.parametrize("options", MODELS)
def test_weights_are_read_bit_for_bit(options):
    weights, others = weights_of(**options), weights_of(**options)
    name = next(iter(weights))
    weights[name].view(-1)[:3] = torch.tensor([-0.0, 1e-45, -3.4028235e38])
    found = decode_tensors(encode_tensors(weights), others, PATH)
    assert same(found, weights)
    assert not same(found, others)
    assert list(map(repr, found[name].view(-1)[:2].tolist())) == ["-0.0", repr(2.0**-149)]


def test_other_types_and_empty_tensors():
    tensors = {
        "bytes": torch.arange(256).to(torch.uint8),
        "step": torch.tensor(3.0),
        "count": torch.tensor([2**62, -1]),
        "none": torch.zeros(0, 3),
        "double": torch.tensor([0.1], dtype=torch.float64),
        'a name with 分开, " and \\': torch.ones(1),
    }
    assert same(decode_tensors(encode_tensors(tensors), tensors, PATH), tensors)
    assert decode_tensors(encode_tensors({}), {}, PATH) == {}


def test_tensors_that_are_not_contiguous():
    tensors = {"a": torch.arange(6.0).view(2, 3).T, "b": torch.arange(10.0)[::2]}
    assert same(decode_tensors(encode_tensors(tensors), tensors, PATH), tensors)


def test_same_weights_give_the_same_bytes(weights):
    assert encode_tensors(dict(reversed(weights.items()))) == encode_tensors(weights)


def test_file_of_another_program_is_read(weights):
    assert same(decode_tensors(save(weights), weights, PATH), weights)


@pytest.mark.parametrize("options", [*MODELS, {"num_layers": 20}])
def test_size_limit_is_large_enough(options):
    weights = weights_of(**options)
    assert len(encode_tensors(weights)) <= max_file_bytes(weights.values())


def test_expected_tensors_may_be_on_the_meta_device(weights):
    expected = {name: tensor.to("meta") for name, tensor in weights.items()}
    assert same(decode_tensors(encode_tensors(weights), expected, PATH), weights)


# Damaged files


def test_truncated_file(weights, refused):
    data = encode_tensors(weights)
    for size in range(len(data)):
        assert "is damaged" in refused(data[:size]), size
    assert "is damaged" in refused(data + b"\0")


@pytest.mark.parametrize("mask", [0xFF, 0x01, 0x20, 0x80])
def test_changed_byte_gives_other_numbers_or_an_error(mask, one_line):
    """The hash in the manifest detects other numbers."""
    weights = {"weight": torch.rand(2, 3), "bias": torch.rand(2)}
    data = encode_tensors(weights)
    refused = 0
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= mask
        try:
            found = decode_tensors(bytes(flipped), weights, PATH)
        except RunError as error:
            one_line(error)
            refused += 1
        else:
            assert all(found[name].shape == tensor.shape for name, tensor in weights.items())
            assert all(bool(tensor.isfinite().all()) for tensor in found.values())
    assert refused > len(data) / 2


@pytest.mark.parametrize(
    "data",
    [
        b"not safetensors at all",
        b"\xff" * 100,
        b"\0" * 100,
        file_of(b""),
        file_of(b"[]"),
        file_of(b"null"),
        file_of({"a": {"dtype": "F32"}}),
        file_of({"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}, b"1"),
        file_of({"a": {"dtype": "X32", "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
        file_of({"a": {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 4]}}, b"1234"),
        file_of({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"1234"),
        file_of({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"12345678"),
        file_of({"__metadata__": {str(number): "x" for number in range(10_000)}}),
        file_of(b'{"a":' + b"[" * sys.getrecursionlimit() * 20),
    ],
    ids=range(14),
)
def test_file_in_another_format(refused, data):
    refused(data)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_number_that_is_not_finite(weights, refused, number):
    for name in weights:
        changed = {key: tensor.clone() for key, tensor in weights.items()}
        changed[name].view(-1)[-1] = number
        message = refused(encode_tensors(changed))
        assert message == f"{PATH} is damaged: {name} has a number that is not finite"


# Weights of another model


@pytest.mark.parametrize(
    ("options", "differs"),
    [
        ({"hidden_size": 4}, "is (5, 4) torch.float32, not (5, 3) torch.float32"),
        ({"size": 6}, "is (6, 3) torch.float32, not (5, 3) torch.float32"),
        ({"num_layers": 2}, "stack.layers.1."),
        ({"backend": "scratch"}, "stack.layers.0."),
        ({"embedding": "learned"}, "head.weight"),
        ({"cell": "gru", "backend": "torch"}, "is (9, 3) torch.float32, not (12, 3)"),
    ],
)
def test_weights_of_another_model(refused, options, differs):
    message = refused(encode_tensors(weights_of(**options)))
    assert "does not belong to this run's model" in message
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
def test_tensor_with_another_shape_or_type(weights, refused, change):
    name = "embedding.weight"
    data = encode_tensors({**weights, name: change(weights[name])})
    assert f"does not belong to this run's model: {name} is " in refused(data)


def test_missing_and_unknown_names(weights, refused):
    first, *rest = weights
    for data, name in (
        (encode_tensors({**weights, "extra": torch.zeros(1)}), "extra"),
        (encode_tensors({name: weights[name] for name in rest}), first),
        (encode_tensors({}), "embedding.weight"),
        (save(weights, metadata={"format": "pt"}), "__metadata__"),
    ):
        message = refused(data)
        assert "does not belong to this run's model: it differs in " in message
        assert name in message


@pytest.mark.parametrize("name", ["a\nhint: rm\x1b[2J", "\u202e\u2028", "x" * 10_000, "\x7f\x9b"])
def test_message_escapes_and_shortens_names(weights, refused, name):
    assert len(refused(encode_tensors({**weights, name: torch.zeros(1)}))) < 500


@pytest.mark.parametrize("initialisation", ["torch", "book", "glorot"])
@pytest.mark.parametrize("options", MODELS)
def test_a_model_without_numbers_has_the_names_shapes_and_types_of_one_with_numbers(
    options, initialisation
):
    options = {**options, "initialisation": initialisation}
    wanted = weights_of(**options)
    before = torch.get_rng_state()
    with without_numbers():
        found = weights_of(**options)
    assert torch.equal(torch.get_rng_state(), before)
    assert {each.device.type for each in found.values()} == {"meta"}
    assert {name: (each.shape, each.dtype) for name, each in found.items()} == {
        name: (each.shape, each.dtype) for name, each in wanted.items()
    }
