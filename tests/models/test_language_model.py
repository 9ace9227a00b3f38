from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from charlm.config import CELLS, LanguageModelSection
from charlm.errors import UsageError
from charlm.models.build import build_language_model, computes_in_bfloat16, select_device
from charlm.models.language_model import LanguageModel, cross_entropy_sum
from charlm.recurrent.build import TORCH
from charlm.recurrent.core import map_state
from charlm.recurrent.stack import WeightDropout
from charlm.recurrent.torch_layers import TorchLayer, copy_from_torch
from charlm.recurrent.unroll import Unrolled

STEPS, BATCH, VOCABULARY, HIDDEN = 7, 3, 11, 8

EMBEDDINGS = ("one-hot", "learned", "tied")
BACKENDS = [(cell, "scratch") for cell in CELLS] + [(cell, "torch") for cell in TORCH]

every_layer = pytest.mark.parametrize(("cell", "backend"), BACKENDS)
every_embedding = pytest.mark.parametrize("embedding", EMBEDDINGS)


def model_of(cell: str = "lstm", **settings) -> LanguageModel:
    return LanguageModel(VOCABULARY, **{"cell": cell, "hidden_size": HIDDEN, **settings})


def some_ids() -> Tensor:
    return torch.randint(VOCABULARY, (STEPS, BATCH))


def random_state(model):
    return map_state(torch.randn_like, model.initial_state(BATCH))


# Shapes


@every_layer
@every_embedding
def test_shapes(cell, backend, embedding):
    model = model_of(cell, backend=backend, embedding=embedding, num_layers=2)
    logits, state = model(some_ids(), model.initial_state(BATCH))
    assert logits.shape == (STEPS, BATCH, VOCABULARY)
    assert len(state) == 2
    assert all(tensor.shape == (BATCH, HIDDEN) for layer_state in state for tensor in layer_state)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@every_embedding
def test_a_split_sequence_is_the_whole(embedding):
    model = model_of(embedding=embedding, num_layers=2).double()
    ids, first = some_ids(), random_state(model)
    whole, last = model(ids, first)
    left, middle = model(ids[:1], first)
    right, end = model(ids[1:], middle)
    torch.testing.assert_close((torch.cat([left, right]), end), (whole, last))


def test_a_logit_does_not_depend_on_later_characters():
    model, ids = model_of().double(), some_ids()
    logits, _ = model(ids, model.initial_state(BATCH))
    other = ids.clone()
    other[4:] = (other[4:] + 1) % VOCABULARY
    changed, _ = model(other, model.initial_state(BATCH))
    torch.testing.assert_close(changed[:4], logits[:4], rtol=0, atol=1e-12)
    assert not torch.allclose(changed[4:], logits[4:])


def test_cross_entropy_is_a_sum_in_nats():
    targets = some_ids()
    uniform = torch.zeros(STEPS, BATCH, VOCABULARY)
    assert float(cross_entropy_sum(uniform, targets)) == pytest.approx(
        STEPS * BATCH * math.log(VOCABULARY)
    )
    logits = torch.randn(STEPS, BATCH, VOCABULARY).double()
    wanted = -sum(
        logits[t, b].log_softmax(0)[targets[t, b]] for t in range(STEPS) for b in range(BATCH)
    )
    torch.testing.assert_close(cross_entropy_sum(logits, targets), wanted)
    # A list of single predictions, as scoring a text needs it.
    torch.testing.assert_close(cross_entropy_sum(logits.flatten(0, 1), targets.flatten()), wanted)


# Parameters


@pytest.mark.parametrize(
    ("embedding", "size", "count"),
    [
        ("one-hot", None, 4 * 8 * (11 + 8 + 1) + 9 * 11),
        ("learned", None, 11 * 8 + 4 * 8 * (8 + 8 + 1) + 9 * 11),
        ("learned", 5, 11 * 5 + 4 * 8 * (5 + 8 + 1) + 9 * 11),
        ("tied", None, 4 * 8 * (8 + 8 + 1) + 9 * 11),
    ],
)
def test_parameters_are_counted_tied_ones_once(embedding, size, count):
    model = model_of(backend="scratch", embedding=embedding, embedding_size=size)
    assert model.num_parameters() == count


def test_torch_has_a_bias_more_in_each_gate():
    ours, theirs = (model_of(backend=backend) for backend in ("scratch", "torch"))
    assert theirs.num_parameters() == ours.num_parameters() + 4 * HIDDEN


@pytest.mark.parametrize("initialisation", ["torch", "book"])
def test_tied_weights_are_one_tensor_in_training_too(initialisation):
    model = model_of(embedding="tied", initialisation=initialisation)
    assert model.head.weight is model.embedding.weight
    names = dict(model.named_parameters())
    assert "embedding.weight" in names
    assert "head.weight" not in names
    ids = some_ids()
    logits, _ = model(ids, model.initial_state(BATCH))
    cross_entropy_sum(logits, ids).backward()
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    assert model.head.weight is model.embedding.weight
    # Moved to another type, they stay one.
    assert model.double().head.weight is model.embedding.weight


@pytest.mark.parametrize("embedding", ["one-hot", "learned"])
def test_other_weights_are_not_tied(embedding):
    model = model_of(embedding=embedding)
    assert "head.weight" in dict(model.named_parameters())
    assert (model.embedding is None) == (embedding == "one-hot")


@every_layer
@every_embedding
def test_the_books_first_weights(cell, backend, embedding):
    model = LanguageModel(
        200,
        cell=cell,
        backend=backend,
        hidden_size=64,
        num_layers=2,
        embedding=embedding,
        initialisation="book",
    )
    for name, parameter in model.named_parameters():
        if "bias" in name:
            assert not parameter.any(), name
        else:
            values = parameter.detach()
            few = values.numel() < 1000  # a peephole has one for each unit
            assert float(values.std()) == pytest.approx(0.01, rel=0.3 if few else 0.05), name
            assert float(values.mean()) == pytest.approx(0, abs=0.004 if few else 0.001), name


@every_layer
@every_embedding
def test_torchs_first_weights(cell, backend, embedding):
    model = LanguageModel(
        200,
        cell=cell,
        backend=backend,
        hidden_size=64,
        embedding=embedding,
        initialisation="torch",
    )
    bound = 64**-0.5
    for name, parameter in model.named_parameters():
        greatest = float(parameter.detach().abs().max())
        wanted = 0.1 if name == "embedding.weight" else bound
        assert 0.9 * wanted < greatest <= wanted, name


@every_layer
def test_the_seed_decides_the_first_weights(cell, backend):
    def weights(seed):
        torch.manual_seed(seed)
        return torch.cat(
            [p.detach().flatten() for p in model_of(cell, backend=backend).parameters()]
        )

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


# Both backends


def exchange(theirs: LanguageModel, ours: LanguageModel) -> None:
    """Give the scratch model the weights of the torch model."""
    for layer, scratch in zip(theirs.stack.layers, ours.stack.layers, strict=True):
        copy_from_torch(layer.network, scratch.cell)
    ours.head.load_state_dict(theirs.head.state_dict())
    if ours.embedding is not None:
        ours.embedding.load_state_dict(theirs.embedding.state_dict())


@pytest.mark.parametrize("cell", TORCH)
@every_embedding
@pytest.mark.parametrize("dropped", [False, True], ids=["plain", "dropout"])
def test_scratch_and_torch_have_the_same_logits_and_gradients(cell, embedding, dropped):
    settings = {"embedding": embedding, "num_layers": 2}
    if dropped:
        settings |= {"input_dropout": 0.2, "dropout": 0.3, "output_dropout": 0.4}
    theirs = model_of(cell, backend="torch", **settings).double()
    ours = model_of(cell, backend="scratch", **settings).double()
    exchange(theirs, ours)
    ids, first = some_ids(), random_state(ours)
    results = []
    for model in (ours, theirs):
        torch.manual_seed(1)
        logits, last = model(ids, first)
        cross_entropy_sum(logits, ids.flip(0)).backward()
        shared = (model.head.weight, model.head.bias)
        results.append((logits, last, [parameter.grad for parameter in shared]))
    torch.testing.assert_close(*results, rtol=0, atol=1e-10)


@every_embedding
def test_dropout_works_in_training_only(embedding):
    dropouts = {"input_dropout": 0.3, "dropout": 0.3, "output_dropout": 0.3, "weight_dropout": 0.3}
    model = model_of(embedding=embedding, num_layers=2, **dropouts)
    plain = model_of(embedding=embedding, num_layers=2)
    state = {name.replace("layer.network", "network"): w for name, w in model.state_dict().items()}
    plain.load_state_dict(state)
    ids, first = some_ids(), random_state(model)
    assert not torch.equal(model(ids, first)[0], model(ids, first)[0])
    model.eval()
    torch.testing.assert_close(model(ids, first), plain(ids, first), rtol=0, atol=0)


@pytest.mark.parametrize("place", ["input_dropout", "dropout", "output_dropout", "weight_dropout"])
def test_each_dropout_does_something(place):
    model = model_of(embedding="learned", num_layers=2, **{place: 0.5})
    ids, first = some_ids(), random_state(model)
    assert not torch.equal(model(ids, first)[0], model(ids, first)[0])


# Products in bfloat16


@every_layer
@every_embedding
def test_bfloat16_products_change_little(cell, backend, embedding):
    dropout = {"dropout": 0.2, "weight_dropout": 0.2}
    model = model_of(cell, backend=backend, embedding=embedding, num_layers=2, **dropout)
    ids, first = some_ids(), random_state(model)
    results = []
    for enabled in (False, True):
        torch.manual_seed(1)
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            logits, last = model(ids, first)
        cross_entropy_sum(logits.float(), ids.flip(0)).backward()
        gradients = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        states = [tensor.float() for layer_state in last for tensor in layer_state]
        results.append((logits, states, gradients))
    (exact, states, gradients), (rounded, rounded_states, rounded_gradients) = results
    assert rounded.dtype == torch.bfloat16
    assert not torch.equal(rounded.float(), exact)
    torch.testing.assert_close(rounded.float(), exact, rtol=0, atol=0.05)
    torch.testing.assert_close(rounded_states, states, rtol=0, atol=0.05)
    assert gradients.dtype == rounded_gradients.dtype == torch.float32
    assert torch.cosine_similarity(gradients, rounded_gradients, dim=0) > 0.95  # relu has kinks


@pytest.mark.parametrize(
    ("capabilities", "wanted"),
    [
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"avx2": True}, False),
        ({}, False),
    ],
)
def test_bfloat16_is_taken_where_a_cpu_computes_in_it(capabilities, wanted, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert computes_in_bfloat16("auto", cpu) == wanted
    assert not computes_in_bfloat16("auto", cuda)
    for device in (cpu, cuda):
        assert computes_in_bfloat16("bfloat16", device)
        assert not computes_in_bfloat16("float32", device)


# From the configuration


@every_layer
@every_embedding
def test_a_model_from_its_configuration(cell, backend, embedding):
    config = LanguageModelSection(
        cell=cell,
        backend=backend,
        hidden_size=6,
        num_layers=2,
        embedding=embedding,
        weight_dropout=0,
    )
    model = build_language_model(config, VOCABULARY)
    assert model.vocabulary_size == VOCABULARY
    assert [layer.output_size for layer in model.stack.layers] == [6, 6]
    assert model.stack.layers[0].input_size == (VOCABULARY if embedding == "one-hot" else 6)
    kind = Unrolled if backend == "scratch" else TorchLayer
    assert all(isinstance(layer, kind) for layer in model.stack.layers)
    assert model.head.weight.shape == (VOCABULARY, 6)
    tied = model.embedding is not None and model.head.weight is model.embedding.weight
    assert tied == (embedding == "tied")


def test_a_model_has_all_that_its_configuration_says():
    config = LanguageModelSection(
        cell="gru-reset-before",
        backend="scratch",
        hidden_size=6,
        num_layers=3,
        embedding_size=4,
        initialisation="book",
        input_dropout=0.1,
        dropout=0.2,
        output_dropout=0.3,
        weight_dropout=0.4,
    )  # and a learned embedding, which is what the size is for
    fields = [field for field in dataclasses.fields(config) if field.name != "embedding"]
    assert all(getattr(config, field.name) != field.default for field in fields)
    model = build_language_model(config, VOCABULARY)
    assert model.embedding.weight.shape == (VOCABULARY, 4)
    assert [layer.input_size for layer in model.stack.layers] == [4, 6, 6]
    assert all(isinstance(layer, WeightDropout) for layer in model.stack.layers)
    assert [layer.layer.cell.reset for layer in model.stack.layers] == ["before"] * 3
    assert not model.head.bias.any()
    places = (model.input_dropout, model.stack.dropout, model.output_dropout)
    assert [place.probability for place in places] == [0.1, 0.2, 0.3]
    assert [layer.probability for layer in model.stack.layers] == [0.4] * 3


def test_the_default_configuration_is_a_model():
    model = build_language_model(LanguageModelSection(), VOCABULARY)
    logits, _ = model(some_ids(), model.initial_state(BATCH))
    assert logits.shape == (STEPS, BATCH, VOCABULARY)


# Devices


def test_the_cpu_is_always_there():
    assert select_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("there", [True, False])
def test_auto_takes_cuda_where_it_is(there, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert select_device("auto") == torch.device("cuda" if there else "cpu")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "gpu",
        "CPU",
        "cuda:99",
        "cuda:-1",
        "cuda:x",
        "0",
        "auto:0",
        "meta",
        "hpu",
        "privateuseone",
    ],
)
def test_an_unknown_device_is_refused(name):
    with pytest.raises(UsageError) as refused:
        select_device(name)
    assert refused.value.message == f"no device {name!r} here"
    assert refused.value.hint == "try --device cpu"
