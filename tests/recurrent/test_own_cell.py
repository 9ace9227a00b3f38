"""A cell that is defined outside the package: registered in one line, it does all a cell does."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charlm.recurrent import parity
from charlm.recurrent.build import build_layer
from charlm.recurrent.cell import RecurrentCell
from charlm.recurrent.cells import CELLS, CellKind
from charlm.recurrent.stack import WeightDropout
from charlm.recurrent.states import HiddenState
from charlm.recurrent.unroll import Unrolled
from charlm.runs import Run
from charlm.tasks.language_model.config import LanguageModelConfig, LanguageModelSection
from charlm.tasks.language_model.corpus import load_corpus
from charlm.tasks.language_model.decoding import generate
from charlm.tasks.language_model.model import build_language_model

INPUTS, HIDDEN, BATCH = 5, 4, 3


class MinGRUCell(RecurrentCell[HiddenState]):
    """z = sigmoid(x W_z + b_z), n = x W_n + b_n, h' = (1 - z) * h + z * n; the output is h'.

    Shapes: x (B, I); z, n and h (B, H). Feng et al. (2024), "Were RNNs all we needed?",
    arXiv:2410.01201, section 3.1.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.gate = nn.Linear(input_size, hidden_size)
        self.candidate = nn.Linear(input_size, hidden_size)

    def initial_state(self, batch_size: int) -> HiddenState:
        return HiddenState(self.gate.weight.new_zeros(batch_size, self.output_size))

    def step(self, projected: Tensor, state: HiddenState) -> tuple[Tensor, HiddenState]:
        gate = torch.sigmoid(self.gate(projected))
        hidden = (1 - gate) * state.hidden + gate * self.candidate(projected)
        return hidden, HiddenState(hidden)

    def to_torch(self):
        parts = self.gate, self.candidate
        return {
            "weight_ih": torch.cat([part.weight for part in parts]),
            "bias_ih": torch.cat([part.bias for part in parts]),
        }

    def from_torch(self, weights):
        (gate, candidate), (gate_bias, candidate_bias) = (
            weights[name].chunk(2) for name in ("weight_ih", "bias_ih")
        )
        gate_weights = {"gate.weight": gate, "gate.bias": gate_bias}
        return {**gate_weights, "candidate.weight": candidate, "candidate.bias": candidate_bias}


class ParallelMinGRU(nn.Module):
    """All steps at once, as weighted sums of the candidates; with the interface of nn.GRU.

    h_t = sum over i <= t of (product over i < j <= t of (1 - z_j)) z_i n_i, and h_0 likewise.
    """

    def __init__(self, input_size, hidden_size, num_layers, bidirectional):
        super().__init__()
        assert not bidirectional
        self.num_layers = num_layers
        for depth in range(num_layers):
            weight = torch.empty(2 * hidden_size, hidden_size if depth else input_size)
            self.register_parameter(f"weight_ih_l{depth}", nn.Parameter(weight))
            bias = torch.empty(2 * hidden_size)
            self.register_parameter(f"bias_ih_l{depth}", nn.Parameter(bias))

    def forward(self, xs, first):
        last = []
        for depth in range(self.num_layers):
            names = f"weight_ih_l{depth}", f"bias_ih_l{depth}"
            gate, candidate = F.linear(xs, *map(self.get_parameter, names)).chunk(2, dim=-1)
            kept = F.logsigmoid(-gate).cumsum(0)  # (T, B, H), log of the product up to each step
            later = torch.ones(len(xs), len(xs)).triu(1).bool()[:, :, None, None]
            between = (kept.unsqueeze(1) - kept).masked_fill(later, -torch.inf)  # (T, T, B, H)
            sums = (between.exp() * gate.sigmoid() * candidate).sum(1)
            xs = kept.exp() * first[depth] + sums
            last.append(xs[-1])
        return xs, torch.stack(last)


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(CELLS, "mine", CellKind(MinGRUCell))


@pytest.mark.parametrize("ids", [False, True], ids=["features", "ids"])
def test_unrolled_it_is_one_step_at_a_time(ids):
    layer = build_layer("mine", "scratch", input_size=INPUTS, hidden_size=HIDDEN).double()
    xs = torch.randint(INPUTS, (6, BATCH)) if ids else torch.randn(6, BATCH, INPUTS).double()
    state = first = HiddenState(torch.randn(BATCH, HIDDEN).double())
    outputs, states = [], []
    for x in xs:
        output, state = layer.cell(x, state)
        outputs.append(output)
        states.append(state.hidden)
    found = layer(xs, first)
    torch.testing.assert_close(found, (torch.stack(outputs), state), rtol=0, atol=1e-12)
    outputs, last = layer(xs, first, torch.tensor([2, 6, 1]))
    ends = torch.stack([states[1][0], states[5][1], states[0][2]])
    torch.testing.assert_close(last.hidden, ends, rtol=0, atol=1e-12)
    assert not outputs[2:, 0].any()


def test_gradcheck(gradcheck):
    layer = Unrolled(MinGRUCell(INPUTS, HIDDEN).double())
    first = HiddenState(torch.randn(BATCH, HIDDEN).double())
    assert gradcheck(layer, torch.randn(3, BATCH, INPUTS).double(), first)


@pytest.mark.parametrize("initialisation", ["torch", "book", "glorot"])
def test_it_is_initialised_as_any_cell(initialisation):
    model = build_language_model(
        LanguageModelSection(cell="mine", backend="scratch", initialisation=initialisation), 11
    )
    cell = model.stack.layers[0].layer.cell
    assert isinstance(cell, MinGRUCell)
    weight = cell.gate.weight.detach()
    bound = (6 / sum(weight.shape)) ** 0.5 if initialisation == "glorot" else 64**-0.5
    if initialisation == "book":
        assert float(weight.std()) == pytest.approx(0.01, rel=0.05)
    else:
        assert 0.95 * bound < float(weight.abs().max()) <= bound
    assert bool(cell.gate.bias.any()) == (initialisation == "torch")


def test_weight_dropout_drops_nothing_where_no_weight_is_recurrent():
    plain = Unrolled(MinGRUCell(INPUTS, HIDDEN))
    xs, state = torch.randn(6, BATCH, INPUTS), plain.initial_state(BATCH)
    layer = WeightDropout(plain, 0.9).train()
    torch.testing.assert_close(layer(xs, state), plain(xs, state), rtol=0, atol=0)
    assert torch.equal(layer.outputs(xs, state), plain.outputs(xs, state))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_verify_compares_it_with_a_twin(dtype, monkeypatch):
    monkeypatch.setitem(CELLS, "mine", CellKind(MinGRUCell, ParallelMinGRU))
    assert parity.compare("mine", dtype, 0, bidirectional=False).agree
    step = MinGRUCell.step
    monkeypatch.setattr(MinGRUCell, "step", lambda cell, x, state: step(cell, 1.001 * x, state))
    assert not parity.compare("mine", dtype, 0, bidirectional=False).agree


def test_it_trains_resumes_bit_for_bit_and_generates(tmp_path, follow):
    corpus = load_corpus("traveller", max_chars=1050, split=(930, 120, 0))
    model = {"cell": "mine", "backend": "scratch", "hidden_size": 8, "num_layers": 2}
    training = {"epochs": 2, "batch_size": 5, "seq_len": 20, "lr": 0.01}
    config = LanguageModelConfig.from_settings([{"model": model, "training": training}])

    def trained(run, stop_after=None):
        assert follow(run, corpus, stop_after)
        return Run.open(run.folder)

    whole = trained(Run.create(tmp_path / "whole", config, corpus)).load_model("last")
    stopped = trained(Run.create(tmp_path / "stopped", config, corpus), stop_after=13)
    assert stopped.training["progress"]["step"] == 13
    resumed = trained(stopped).load_model("last")
    for ours, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    ids = [row[0] for row in generate(whole, corpus.vocabulary.encode("The ").tolist(), length=20)]
    assert len(corpus.vocabulary.decode(ids)) == 20
