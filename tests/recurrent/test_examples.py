"""The worked examples have the numbers that a person gets by hand."""

from __future__ import annotations

import math

import pytest
import torch

from charlm.recurrent import examples
from charlm.recurrent.examples import gradient_norms, gru_by_hand, lstm_by_hand, memory


def test_the_same_input_gives_another_output_when_it_comes_again():
    assert [step.outputs for step in memory()] == [[4, 4], [12, 12], [32, 32]]
    assert [step.memory for step in memory()] == [[0, 0], [2, 2], [6, 6]]
    another_order = memory([(2, 2), (1, 1), (1, 1)])
    assert [step.outputs for step in another_order] == [[8, 8], [20, 20], [44, 44]]


def test_the_lstm_by_hand():
    steps = lstm_by_hand()
    assert [round(step.memory, 2) for step in steps] == [3, 7, 7, 7, 0]
    assert [round(step.output, 2) for step in steps] == [0, 0, 0, 7, 0]
    assert [round(step.input_gate) for step in steps] == [1, 1, 0, 0, 0]
    assert [round(step.forget_gate) for step in steps] == [1, 1, 1, 1, 0]
    assert [round(step.output_gate) for step in steps] == [0, 0, 0, 1, 0]
    steps = lstm_by_hand([(5, 0, 1), (5, 1, 1), (0, 0, 1), (0, -1, 1), (0, 0, 1)])
    assert [round(step.output, 2) for step in steps] == [0, 5, 5, 0, 0]


def test_the_gru_by_hand():
    steps = gru_by_hand()
    added = math.tanh(0.5 + math.tanh(0.5))
    half = (math.tanh(1) + math.tanh(-0.2)) / 2
    expected = [math.tanh(0.5), added, added, *[math.tanh(-0.2)] * 2, half]
    assert [step.output for step in steps] == pytest.approx(expected, abs=2e-4)
    before = 0.0
    for step in steps:
        z = step.update_gate
        assert step.output == pytest.approx((1 - z) * step.candidate + z * before, abs=1e-6)
        before = step.output


@pytest.mark.parametrize("radius", [0.9, 1.2])
def test_powers_go_as_the_spectral_radius(radius):
    rows = gradient_norms(radius, steps=1000)
    assert [row.steps for row in rows] == list(range(1, 1001))
    growth = (rows[999].linear / rows[499].linear) ** (1 / 500)
    assert growth == pytest.approx(radius, rel=1e-3)


def test_powers_vanish_below_one_and_tanh_holds_them_above_one():
    vanishing, exploding = (gradient_norms(radius)[-1] for radius in (0.9, 1.2))
    assert vanishing.tanh < vanishing.linear < 1e-3
    assert exploding.linear > 1e6
    assert exploding.tanh < 1e3


def test_the_norm_with_tanh_is_that_of_the_jacobian():
    rows = gradient_norms(1.2, steps=7, size=5, seed=3)
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    weight *= 1.2 / torch.linalg.eigvals(weight).abs().max()
    first = torch.randn(5, generator=generator, dtype=torch.float64)

    def last(hidden):
        for _ in range(7):
            hidden = torch.tanh(hidden @ weight)
        return hidden

    jacobian = torch.autograd.functional.jacobian(last, first)
    assert rows[-1].tanh == pytest.approx(float(torch.linalg.matrix_norm(jacobian, ord=2)))


def test_the_same_seed_gives_the_same_matrix():
    assert gradient_norms(0.9, seed=1) == gradient_norms(0.9, seed=1) != gradient_norms(0.9, seed=2)


def test_parameter_counts():
    cells = {count.part: count.total for count in examples.cell_counts()}
    assert cells["rnn"] == 2_080
    assert cells["lstm"] == 4 * 2_080
    assert cells["lstm-peephole"] == 4 * 2_080 + 3 * 32
    assert cells["gru-reset-before"] == 3 * 2_080
    assert cells["gru"] == 3 * 2_080 + 32
    *parts, together = examples.classifier_counts()
    assert together.total == sum(part.total for part in parts) == 377_985
    assert [part.total for part in parts] == [320_000, 49_664, 8_256, 65]
