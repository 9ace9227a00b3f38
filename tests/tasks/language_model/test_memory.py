"""Memory against autograd's Jacobian of the whole sequence, and against powers of a matrix."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
import torch.nn.functional as F

from charlm.errors import Stopped
from charlm.tasks.language_model import memory as module
from charlm.tasks.language_model.config import LanguageModelSection
from charlm.tasks.language_model.memory import Memory, memory
from charlm.tasks.language_model.model import LanguageModel, build_language_model

VOCABULARY_SIZE = 7
DROPOUT = {"input_dropout": 0.5, "dropout": 0.5, "output_dropout": 0.5, "weight_dropout": 0.5}
DROPOUTS = ("input_dropout", "dropout", "output_dropout", "weight_dropout")
PLAIN = {"embedding": "one-hot", **dict.fromkeys(DROPOUTS, 0.0)}
MODELS = [
    {"cell": cell, "backend": "scratch"}
    for cell in ("rnn", "rnn-relu", "gru", "gru-reset-before", "lstm", "lstm-peephole", "jordan")
] + [
    {"cell": "rnn", "embedding": "learned"},
    {"cell": "rnn-relu", "num_layers": 2, "embedding": "tied"},
    {"cell": "gru", "num_layers": 3},
    {"cell": "lstm", "num_layers": 2, "embedding": "tied"},
    {"cell": "lstm", "embedding": "learned", "embedding_size": 3, **DROPOUT},
    {"cell": "lstm-peephole", "backend": "scratch", "num_layers": 2, "embedding": "learned"},
    {"cell": "jordan", "backend": "scratch", "num_layers": 2, "embedding": "tied"},
    {"cell": "lstm", "embedding": "learned", "ngram_order": 4, "ngram_rows": 20},
]


def model_of(size: int = VOCABULARY_SIZE, **options) -> LanguageModel:
    model = build_language_model(
        LanguageModelSection(**{**PLAIN, "hidden_size": 6, **options}), size
    )
    if model.ngrams is not None:  # its first weights are zeros
        torch.nn.init.normal_(model.ngrams.table)
    return model


def text_of(length: int) -> torch.Tensor:
    return torch.randint(VOCABULARY_SIZE, (length,), generator=torch.Generator().manual_seed(3))


def slowly(model: LanguageModel, ids: torch.Tensor, distances: int) -> list[float]:
    """The norms at the end of a text that is read from a zero state, from one whole Jacobian."""
    if model.embedding is None:
        xs = F.one_hot(ids, VOCABULARY_SIZE).to(model.head.weight.dtype)
    else:
        first = model.initial_state(1)
        xs = model.vectors(ids.unsqueeze(1), first)[0][:, 0].detach()
    state = model.stack.initial_state(1)
    jacobian = torch.autograd.functional.jacobian(
        lambda xs: model.stack(xs.unsqueeze(1), state)[0][-1, 0], xs
    )  # (H, T, E)
    return [float(jacobian[:, -1 - k].norm()) for k in range(distances + 1)]


@pytest.mark.parametrize("options", MODELS, ids=lambda o: "-".join(map(str, o.values())))
def test_norms_are_those_of_autograd_over_the_whole_sequence(options):
    model, ids = model_of(**options).double().eval(), text_of(41)
    found = memory(model, ids, distances=10, positions=4)
    first = found.positions[0]
    assert found.positions == [25, 30, 35, 40]
    assert found.norms.shape == (11, 4)
    for position, norms in zip(found.positions, found.norms.T.tolist(), strict=True):
        expected = slowly(model, ids[position - first : position + 1], 10)
        assert norms == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_single_precision_is_accurate_to_five_digits_without_warnings(cell):
    model, ids = model_of(cell=cell).eval(), text_of(41)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = memory(model, ids, distances=10, positions=1)
    expected = slowly(model.double(), ids[: found.positions[0] + 1], 10)
    assert found.norms[:, 0].tolist() == pytest.approx(expected, rel=1e-5)


def linear(diagonal: float, other: float, scale: float = 1.0) -> LanguageModel:
    """relu(x + W h + 1) of what is never negative: d h_t / d x_(t-k) is W to the power of k."""
    model = model_of(2, cell="rnn-relu", backend="scratch", hidden_size=2)
    cell = model.stack.layers[0].cell
    with torch.no_grad():
        cell.weight_input.copy_(scale * torch.eye(2))
        cell.weight_hidden.copy_(torch.tensor([[diagonal, 0.0], [0.0, other]]))
        cell.bias.fill_(1.0)
    return model


def test_linear_network_by_hand():
    """The norm is sqrt(0.25^k + 0.01^k). At k = 7 it is 0.0078, below 0.0141, 1% of k = 0."""
    found = memory(linear(0.5, 0.1), torch.tensor([0, 1] * 40), distances=20)
    expected = [math.sqrt(0.25**k + 0.01**k) for k in range(21)]
    for norms in found.norms.T.tolist():
        assert norms == pytest.approx(expected, rel=1e-6)
    assert found.lower == found.median == found.upper == pytest.approx(expected, rel=1e-6)
    assert found.forgotten == 7
    assert memory(linear(0.5, 0.1), torch.tensor([0, 1] * 40), distances=6).forgotten is None


def test_norms_can_be_smaller_than_single_precision_allows():
    """The smallest positive number in single precision is 1e-45."""
    found = memory(linear(0.01, 0.01), torch.zeros(401, dtype=torch.int64), distances=150)
    assert found.median[100] == pytest.approx(math.sqrt(2) * 1e-200, rel=1e-4)
    assert found.median[150] == pytest.approx(math.sqrt(2) * 1e-300, rel=1e-4)


def test_network_that_forgets_at_once():
    found = memory(linear(0.0, 0.0), torch.zeros(50, dtype=torch.int64), distances=5)
    assert found.median == [pytest.approx(math.sqrt(2)), 0, 0, 0, 0, 0]
    assert found.forgotten == 1


def test_positions_in_groups_have_the_same_norms(monkeypatch):
    model, ids = model_of(cell="gru", num_layers=2), text_of(80)
    together = memory(model, ids, distances=12, positions=5)
    monkeypatch.setattr(module, "LIMIT", 1)
    apart = memory(model, ids, distances=12, positions=5)
    assert apart.positions == together.positions
    assert torch.allclose(apart.norms, together.norms, rtol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_model_and_torchs_settings_do_not_change(training):
    model, ids = model_of(cell="lstm", embedding="tied", num_layers=2, **DROPOUT), text_of(60)
    expected = memory(model.eval(), ids, distances=8)
    model.train(training)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    generator = torch.get_rng_state()
    with torch.no_grad():
        found = memory(model, ids, distances=8)
    assert torch.equal(found.norms, expected.norms)
    assert all(part.training is training for part in model.modules())
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch._C._get_mkldnn_enabled()


def test_should_stop_stops_it():
    model = model_of(cell="lstm").train()
    asked = iter([False, False, True])
    with pytest.raises(Stopped):
        memory(model, text_of(60), distances=20, should_stop=lambda: next(asked))
    assert next(asked, None) is None
    assert model.training


@pytest.mark.parametrize(
    ("length", "distances", "positions"),
    [(3, 1, 2), (4, 1, 2), (5, 2, 2), (20, 9, 6), (201, 100, 16), (2000, 100, 16)],
)
def test_short_text_has_fewer_distances_and_positions(length, distances, positions):
    found = memory(model_of(cell="rnn"), text_of(length))
    assert found.distances == distances
    assert len(found.positions) == len(set(found.positions)) == positions
    assert min(found.positions) >= distances
    assert max(found.positions) == length - 1
    assert found.norms.shape == (distances + 1, positions)


@pytest.mark.parametrize(
    ("length", "options"), [(2, {}), (0, {}), (9, {"distances": 0}), (9, {"positions": 0})]
)
def test_too_few_characters_distances_or_positions_are_refused(length, options):
    with pytest.raises(ValueError, match="three characters, a distance and a position"):
        memory(model_of(cell="rnn"), text_of(length), **options)


def test_quartiles_and_the_distance_of_forgetting():
    """The norm is below 1% at k = 1 and above it at k = 2: only k = 3 counts."""
    rows = [[8.0, 10.0, 12.0, 20.0], [0.01] * 4, [1.0] * 4, [0.05] * 4, [0.02] * 4]
    found = Memory([4, 5, 6, 7], torch.tensor(rows, dtype=torch.float64))
    assert (found.lower[0], found.median[0], found.upper[0]) == (9.5, 11.0, 14.0)
    assert found.median[1:] == [0.01, 1.0, 0.05, 0.02]
    assert found.distances == 4
    assert found.forgotten == 3
