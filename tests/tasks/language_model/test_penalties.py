"""Terms that are added to the loss: their equations, and that the metric does not see them."""

from __future__ import annotations

import pytest
import torch

from charlm.tasks.language_model.batches import PADDING
from charlm.tasks.language_model.config import LanguageModelSection
from charlm.tasks.language_model.model import build_language_model
from charlm.tasks.language_model.penalties import (
    PastDecoder,
    activation_penalty,
    add_activation_gradient,
    add_gradient,
)

STEPS, BATCH, VOCABULARY = 4, 3, 7


def model_of(**settings):
    torch.manual_seed(0)
    dropout = dict.fromkeys(("input_dropout", "output_dropout", "weight_dropout"), 0.0)
    section = LanguageModelSection(hidden_size=5, **{**dropout, **settings})
    return build_language_model(section, VOCABULARY)


def batch():
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(VOCABULARY, (STEPS + 1, BATCH), generator=generator)
    return ids[:-1], ids[1:]


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: each.grad for name, each in model.named_parameters() if each.grad is not None}


def test_activation_penalty_by_its_equation():
    outputs, dropped = torch.randn(2, STEPS, BATCH, 5)
    changes = [(outputs[t + 1] - outputs[t]) ** 2 for t in range(STEPS - 1)]
    expected = 2 * (dropped**2).mean() + 3 * torch.stack(changes).mean()
    penalty = activation_penalty(outputs, dropped, norm=2.0, change=3.0)
    torch.testing.assert_close(penalty, expected)
    single = activation_penalty(outputs[:1], dropped[:1], norm=0.0, change=3.0)
    assert float(single) == 0  # a step has no change


def test_past_decoder_by_its_equation():
    decoder = PastDecoder(VOCABULARY, 2)
    torch.nn.init.normal_(decoder.bias)
    logits, table = torch.randn(STEPS, BATCH, VOCABULARY), torch.randn(VOCABULARY, 2)
    total, last = torch.tensor(0.0), batch()[0]
    for t in range(STEPS):
        for b in range(BATCH):
            p = logits[t, b].exp()
            expected = (p / p.sum()) @ table
            hidden = (decoder.hidden.weight @ expected + decoder.hidden.bias).tanh()
            q = (table @ hidden + decoder.bias).exp()
            total = total - (q[last[t, b]] / q.sum()).log()
    found = decoder(logits, table, last)
    torch.testing.assert_close(found, total / (STEPS * BATCH))
    padded = last.clone()
    padded[1:, 0] = PADDING
    assert not torch.isclose(decoder(logits, table, padded), found)


def test_a_gradient_without_a_value_counts_characters():
    weight = torch.tensor(3.0, requires_grad=True)
    targets = torch.tensor([[1, 2], [0, PADDING]])
    loss = add_gradient(weight * 0 + 5, weight**2, targets)
    loss.backward()
    assert float(loss.detach()) == 5
    assert float(weight.grad) == 3 * 2 * 3.0


@pytest.mark.parametrize("steps", [1, 2, STEPS])
@pytest.mark.parametrize("kinds", [{"norm": 2.0, "change": 0.0}, {"norm": 0.5, "change": 3.0}])
def test_the_gradient_of_the_activation_penalty_is_that_of_its_equation(steps, kinds):
    targets = torch.ones(steps, BATCH, dtype=torch.int64)
    targets[0, 0] = PADDING
    outputs = torch.randn(steps, BATCH, 5, dtype=torch.float64, requires_grad=True)
    found = []
    for quick in (False, True):
        dropped = outputs * 2
        loss = outputs.sum() + dropped.square().sum()
        if quick:
            total = add_activation_gradient(loss, outputs, dropped, targets, **kinds)
        else:
            penalty = activation_penalty(outputs, dropped, **kinds)
            total = add_gradient(loss, penalty, targets)
        assert float(total.detach()) == float(loss.detach())
        found += torch.autograd.grad(total * 1.5, outputs)
    torch.testing.assert_close(found[1], found[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("embedding", ["learned", "tied"])
@pytest.mark.parametrize(
    "settings", [{"activation": 2.0}, {"temporal_activation": 1.5}, {"past_decode": 0.3}]
)
def test_the_model_adds_the_gradient_in_training_only(embedding, settings, monkeypatch):
    """Also where the vocabulary is so large that the logits are made in chunks."""
    (name, factor), (inputs, targets) = *settings.items(), batch()
    plain, model = model_of(embedding=embedding), model_of(embedding=embedding, **settings)
    own = plain.state_dict()
    model.load_state_dict(own, strict=False)
    state = plain.initial_state(BATCH)
    outputs, _ = model.stack(model.embed(inputs), state)
    if name == "past_decode":
        term = model.past_decoder(model.head(outputs), model.embedding.weight, inputs)
    else:
        kinds = {"norm": name == "activation", "change": name != "activation"}
        term = activation_penalty(outputs, outputs, **kinds)
    loss, _ = plain.loss(inputs, targets, state)
    wanted = gradients(model, model.loss(inputs, targets, state)[0])
    for large in (False, True):
        if large:
            monkeypatch.setattr("charlm.tasks.language_model.model.LEAST_VOCABULARY", 1)
        found, _ = model.loss(inputs, targets, state)
        torch.testing.assert_close(found, loss)
        for key, gradient in gradients(model, found).items():
            torch.testing.assert_close(gradient, wanted[key], rtol=1e-5, atol=1e-6)
    whole = model.eval().loss(inputs, targets, state)[0]
    torch.testing.assert_close(whole, loss)
    for key, gradient in gradients(model, whole + targets.numel() * factor * term).items():
        torch.testing.assert_close(gradient, wanted[key], rtol=1e-5, atol=1e-6)


def test_past_decode_has_weights_that_writing_does_not_need():
    plain, model = model_of(), model_of(past_decode=0.1)
    extra = {name for name, _ in model.named_parameters()} - {
        n for n, _ in plain.named_parameters()
    }
    assert {name.partition(".")[0] for name in extra} == {"past_decoder"}
    for name, weight in plain.named_parameters():  # the seed draws the others as without it
        assert torch.equal(weight, model.get_parameter(name))


def test_embedding_dropout_drops_whole_characters_once_per_batch():
    torch.manual_seed(2)
    section = LanguageModelSection(
        hidden_size=5, embedding_size=3, embedding_dropout=0.25, input_dropout=0.0
    )
    model = build_language_model(section, 4000)
    ids = torch.arange(4000).repeat(2, 1).T  # (T, B): each character twice
    found, table = model.vectors(ids, model.initial_state(2))[0], model.embedding.weight
    kept = found[:, 0].abs().sum(1) > 0
    assert float(kept.double().mean()) == pytest.approx(0.75, abs=0.03)
    torch.testing.assert_close(found[kept, 0], table[kept] / 0.75)
    assert torch.equal(found[:, 0], found[:, 1])
    assert not torch.equal(found, model.vectors(ids, model.initial_state(2))[0])
    found.sum().backward()
    assert torch.equal(table.grad != 0, kept.unsqueeze(1).expand(-1, 3))
    assert torch.equal(model.eval().vectors(ids, model.initial_state(2))[0][:, 0], table)
