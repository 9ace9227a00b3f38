"""Integrated gradients add up, and say what networks with a known memory use."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from charlm.errors import Stopped
from charlm.recurrent.cells import CELLS
from charlm.tasks.language_model.attribution import EXACT, attribution
from charlm.tasks.language_model.config import LanguageModelSection
from charlm.tasks.language_model.model import LanguageModel, build_language_model

VOCABULARY_SIZE = 7
DROPOUT = {"input_dropout": 0.5, "dropout": 0.5, "output_dropout": 0.5, "weight_dropout": 0.5}
MODELS = [
    *({"cell": cell, "backend": "scratch"} for cell in CELLS),
    *({"cell": cell, "backend": "torch"} for cell in ("rnn", "rnn-relu", "gru", "lstm")),
    {"embedding": "one-hot", "num_layers": 2, "residual": True},
    {"embedding": "tied", "cell": "gru"},
    {"num_layers": 3, "residual": True, "skip": True},
    {"ngram_order": 4, "ngram_rows": 50, "num_layers": 2, "skip": True},
    {"embedding": "learned", "ngram_order": 2, "ngram_rows": 5, "cell": "mingru"},
]


def model_of(**settings) -> LanguageModel:
    section = LanguageModelSection(
        **{"hidden_size": 9, "backend": "scratch", **DROPOUT, **settings}
    )
    model = build_language_model(section, VOCABULARY_SIZE)
    with torch.no_grad():  # so that the inputs matter, and the tables of n-grams are not zero
        for parameter in model.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape))
    return model


def text_of(length: int) -> torch.Tensor:
    return torch.randint(VOCABULARY_SIZE, (length,), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("settings", MODELS, ids=lambda each: "-".join(map(str, each.values())))
def test_the_bits_add_up_to_the_difference_of_the_log_probabilities(settings):
    """And the log probability of the text is the model's own."""
    model, ids = model_of(**settings), text_of(23)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    found = attribution(model, ids)
    assert len(found.bits) == 23
    assert sum(found.bits) == pytest.approx(found.with_text - found.without, abs=EXACT)
    assert found.missing == pytest.approx(
        found.with_text - found.without - sum(found.bits), abs=1e-9
    )
    assert model.training
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())
    with torch.no_grad():
        logits, _ = model.eval()(ids.unsqueeze(1), model.initial_state(1))
    logs = logits[-1, 0].log_softmax(0) / math.log(2)
    assert found.target == int(logs.argmax())
    assert found.with_text == pytest.approx(float(logs.max()), abs=1e-4)
    other = attribution(model, ids, (found.target + 1) % VOCABULARY_SIZE)
    assert other.with_text == pytest.approx(float(logs[other.target]), abs=1e-4)
    assert other.with_text < found.with_text


def test_it_is_the_integral_of_the_gradient():
    """Against a sum of small steps along the path, with the whole model in single precision."""
    model, ids = model_of(cell="lstm", embedding="one-hot").eval(), text_of(12)
    one_hot = F.one_hot(ids, VOCABULARY_SIZE).float()
    total, steps, mean = torch.zeros(12), 1000, 1 / VOCABULARY_SIZE
    for step in range(steps):
        read = mean + ((one_hot - mean) * (step + 0.5) / steps).unsqueeze(1)
        read.requires_grad_()
        outputs, _ = model.stack(read, model.stack.initial_state(1))
        log = model.head(outputs[-1, 0]).log_softmax(0)[2] / math.log(2)
        (gradient,) = torch.autograd.grad(log, read)
        total += (gradient[:, 0] * (one_hot - mean)).sum(1) / steps
    assert attribution(model, ids, 2).bits == pytest.approx(total.tolist(), abs=1e-3)


def test_a_network_without_memory_leans_on_the_last_character_alone():
    model = model_of(cell="rnn")
    with torch.no_grad():
        model.stack.layers[0].get_parameter("layer.cell.weight_hidden").zero_()
    *earlier, last = attribution(model, text_of(9)).bits
    assert earlier == pytest.approx([0.0] * 8, abs=1e-12)
    assert abs(last) > 0.1


def test_the_bits_of_an_ngram_are_divided_equally_among_its_characters():
    model = model_of(cell="rnn", ngram_order=3, ngram_rows=50)
    with torch.no_grad():
        model.stack.layers[0].get_parameter("layer.cell.weight_hidden").zero_()
        model.embedding.weight.zero_()
        model.ngrams.table[:50].zero_()  # bigrams: trigrams are left
    *earlier, a, b, c = attribution(model, text_of(9)).bits
    assert earlier == pytest.approx([0.0] * 6, abs=1e-12)
    assert a == pytest.approx(b) == pytest.approx(c)
    assert abs(a) > 0.05
    assert attribution(model, text_of(1)).missing == pytest.approx(0, abs=EXACT)


def test_should_stop_stops_it():
    with pytest.raises(Stopped):
        attribution(model_of(), text_of(5), should_stop=lambda: True)
