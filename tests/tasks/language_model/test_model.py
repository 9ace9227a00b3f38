from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from charlm.recurrent.cells import CELLS
from charlm.recurrent.stack import WeightDropout
from charlm.recurrent.states import map_state, state_tensors
from charlm.recurrent.torch_layers import TorchLayer, copy_from_torch
from charlm.recurrent.unroll import Unrolled
from charlm.tasks.language_model.config import LanguageModelSection
from charlm.tasks.language_model.model import LanguageModel, build_language_model, cross_entropy_sum

STEPS, BATCH, VOCABULARY, HIDDEN = 7, 3, 11, 8

TORCH = [cell for cell, kind in CELLS.items() if kind.torch]
LAYERS = [*((cell, "scratch") for cell in CELLS), *((cell, "torch") for cell in TORCH)]
DROPOUTS = ("input_dropout", "dropout", "output_dropout", "weight_dropout")
PLAIN = {"hidden_size": HIDDEN, "embedding": "one-hot", **dict.fromkeys(DROPOUTS, 0.0)}

every_layer = pytest.mark.parametrize(("cell", "backend"), LAYERS)
every_embedding = pytest.mark.parametrize("embedding", ["one-hot", "learned", "tied"])


def model_of(cell: str = "lstm", *, vocabulary: int = VOCABULARY, **settings) -> LanguageModel:
    """Without dropout and embedding, unless given."""
    return build_language_model(
        LanguageModelSection(cell=cell, **{**PLAIN, **settings}), vocabulary
    )


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
    assert all(tensor.shape == (BATCH, HIDDEN) for tensor in state_tensors(state))
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_logit_does_not_depend_on_later_characters():
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
    expected = -sum(
        logits[t, b].log_softmax(0)[targets[t, b]] for t in range(STEPS) for b in range(BATCH)
    )
    torch.testing.assert_close(cross_entropy_sum(logits, targets), expected)
    # For a list of single predictions too, as in scoring a text.
    torch.testing.assert_close(cross_entropy_sum(logits.flatten(0, 1), targets.flatten()), expected)


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
def test_parameters_are_counted_and_tied_ones_once(embedding, size, count):
    model = model_of(backend="scratch", embedding=embedding, embedding_size=size)
    assert model.num_parameters() == count


def test_torch_has_a_second_bias_in_each_gate():
    ours, theirs = (model_of(backend=backend) for backend in ("scratch", "torch"))
    assert theirs.num_parameters() == ours.num_parameters() + 4 * HIDDEN


@pytest.mark.parametrize("initialisation", ["torch", "book"])
def test_tied_weights_stay_one_tensor_in_training(initialisation):
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
    assert model.double().head.weight is model.embedding.weight


@pytest.mark.parametrize("embedding", ["one-hot", "learned"])
def test_head_of_other_embeddings_has_its_own_weights(embedding):
    model = model_of(embedding=embedding)
    assert "head.weight" in dict(model.named_parameters())
    assert (model.embedding is None) == (embedding == "one-hot")


@every_layer
@every_embedding
def test_books_first_weights(cell, backend, embedding):
    model = model_of(
        cell,
        backend=backend,
        vocabulary=200,
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
            few = values.numel() < 1000  # as in a peephole, with one for each unit
            assert float(values.std()) == pytest.approx(0.01, rel=0.3 if few else 0.05), name
            assert float(values.mean()) == pytest.approx(0, abs=0.004 if few else 0.001), name


@every_layer
@every_embedding
def test_torchs_first_weights(cell, backend, embedding):
    model = model_of(
        cell,
        backend=backend,
        vocabulary=200,
        hidden_size=64,
        embedding=embedding,
        initialisation="torch",
    )
    bound = 64**-0.5
    for name, parameter in model.named_parameters():
        greatest = float(parameter.detach().abs().max())
        expected = 0.1 if name == "embedding.weight" else bound
        assert 0.9 * expected < greatest <= expected, name


@every_layer
def test_seed_decides_the_first_weights(cell, backend):
    def weights(seed):
        torch.manual_seed(seed)
        return torch.nn.utils.parameters_to_vector(model_of(cell, backend=backend).parameters())

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


@pytest.mark.parametrize("place", DROPOUTS)
def test_each_dropout_does_something(place):
    model = model_of(embedding="learned", num_layers=2, **{place: 0.5})
    ids, first = some_ids(), random_state(model)
    assert not torch.equal(model(ids, first)[0], model(ids, first)[0])


@every_embedding
def test_dropout_works_in_training_only(embedding):
    model = model_of(embedding=embedding, num_layers=2, **dict.fromkeys(DROPOUTS, 0.3))
    plain = model_of(embedding=embedding, num_layers=2)
    state = {name.replace("layer.network", "network"): w for name, w in model.state_dict().items()}
    plain.load_state_dict(state)
    ids, first = some_ids(), random_state(model)
    model.eval()
    torch.testing.assert_close(model(ids, first), plain(ids, first), rtol=0, atol=0)


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
        states = [tensor.float() for tensor in state_tensors(last)]
        results.append((logits, states, gradients))
    (exact, states, gradients), (rounded, rounded_states, rounded_gradients) = results
    assert rounded.dtype == torch.bfloat16
    assert not torch.equal(rounded.float(), exact)
    torch.testing.assert_close(rounded.float(), exact, rtol=0, atol=0.05)
    torch.testing.assert_close(rounded_states, states, rtol=0, atol=0.05)
    assert gradients.dtype == rounded_gradients.dtype == torch.float32
    assert torch.cosine_similarity(gradients, rounded_gradients, dim=0) > 0.95  # relu has kinks


# From the configuration


@every_layer
@every_embedding
def test_model_from_its_configuration(cell, backend, embedding):
    model = model_of(cell, backend=backend, num_layers=2, embedding=embedding)
    assert model.vocabulary_size == VOCABULARY
    assert [layer.output_size for layer in model.stack.layers] == [HIDDEN, HIDDEN]
    assert model.stack.input_size == (VOCABULARY if embedding == "one-hot" else HIDDEN)
    kind = Unrolled if backend == "scratch" else TorchLayer
    assert all(isinstance(layer, kind) for layer in model.stack.layers)
    assert model.head.weight.shape == (VOCABULARY, HIDDEN)
    tied = model.embedding is not None and model.head.weight is model.embedding.weight
    assert tied == (embedding == "tied")


def test_every_setting_reaches_the_model():
    config = LanguageModelSection(
        cell="mogrifier",
        backend="scratch",
        hidden_size=6,
        num_layers=3,
        residual=True,
        skip=True,
        mogrifier_rounds=2,
        mogrifier_rank=1,
        embedding_size=4,
        ngram_order=3,
        ngram_rows=9,
        ngram_dropout=0.5,
        initialisation="book",
        input_dropout=0.1,
        dropout=0.2,
        output_dropout=0.3,
        weight_dropout=0.4,
        zoneout_hidden=0.5,
        zoneout_cell=0.6,
        embedding_dropout=0.7,
        activation=0.8,
        temporal_activation=0.9,
        past_decode=1.0,
    )  # and the default, a learned embedding, which alone has a size
    others = ("embedding", "from_run", "freeze")
    fields = [field for field in dataclasses.fields(config) if field.name not in others]
    assert all(getattr(config, field.name) != field.default for field in fields)
    model = build_language_model(config, VOCABULARY)
    assert model.embedding.weight.shape == (VOCABULARY, 4)
    assert [layer.input_size for layer in model.stack.layers] == [4, 10, 10]
    assert (model.stack.residual, model.stack.skip, model.head.in_features) == (True, True, 18 + 4)
    assert (model.ngrams.order, model.ngrams.rows, model.ngrams.dropout) == (3, 9, 0.5)
    assert model.ngrams.table.shape == (2 * 9, 4)
    assert model.num_in_tables() == 2 * 9 * 4
    assert all(isinstance(layer, WeightDropout) for layer in model.stack.layers)
    for layer in model.stack.layers:
        zoned = layer.layer.cell
        assert (zoned.hidden, zoned.cell_state) == (0.5, 0.6)
        assert [len(names) for names in zoned.cell.rounds] == [2, 2]
        assert zoned.cell.weight_round_1.shape == (6, 1)
    assert not model.head.bias.any()
    places = (model.input_dropout, model.stack.dropout, model.output_dropout)
    assert [place.probability for place in places] == [0.1, 0.2, 0.3]
    assert [layer.probability for layer in model.stack.layers] == [0.4] * 3
    weights = (model.activation, model.temporal_activation, model.past_decode)
    assert (model.embedding_dropout, *weights) == (0.7, 0.8, 0.9, 1.0)
    assert model.past_decoder.hidden.weight.shape == (4, 4)


def test_default_configuration_builds_a_model():
    model = build_language_model(LanguageModelSection(), VOCABULARY)
    logits, _ = model(some_ids(), model.initial_state(BATCH))
    assert logits.shape == (STEPS, BATCH, VOCABULARY)
