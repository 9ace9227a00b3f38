"""Dynamic evaluation: equations, and that no score depends on later characters."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from charlm.errors import Stopped
from charlm.tasks.language_model import dynamic as module
from charlm.tasks.language_model.config import LanguageModelSection
from charlm.tasks.language_model.dynamic import EPSILON, Dynamic, Settings, search
from charlm.tasks.language_model.model import build_language_model
from charlm.tasks.language_model.perplexity import character_nats, evaluate_windows


@pytest.fixture(
    params=[
        {},
        {"embedding": "tied"},
        {"cell": "gru", "backend": "scratch"},
        {"ngram_order": 3, "ngram_rows": 50},
    ]
)
def model(request):
    section = LanguageModelSection(**{"hidden_size": 6, **request.param})
    return build_language_model(section, 7).eval()


@pytest.fixture
def text():
    return np.random.default_rng(0).integers(1, 7, 400)


@pytest.fixture(autouse=True)
def few_squares(monkeypatch):
    monkeypatch.setattr(module, "SQUARES", 5)


STRONG = Settings(learning_rate=0.01, decay=0.01, segment=8)


def test_without_steps_it_is_the_static_score(model, text):
    dynamic, ids = Dynamic(model, text), text[:100]
    still = Settings(learning_rate=0.0, decay=0.5, segment=8)
    np.testing.assert_allclose(dynamic.nats(ids, still), character_nats(model, ids), atol=1e-5)
    windows = evaluate_windows(model, ids, window=30, each=True).each
    np.testing.assert_allclose(dynamic.nats(ids, still, 30), windows, atol=1e-5)


@pytest.mark.parametrize("window", [None, 30])
def test_no_score_depends_on_later_characters(model, text, window):
    """Another ending changes the scores after it and none before it."""
    dynamic, ids = Dynamic(model, text), text[:100]
    nats = dynamic.nats(ids, STRONG, window)
    for place in (17, 40, 63):
        other = ids.copy()
        other[place:] = 1 + other[place:] % 6
        changed = dynamic.nats(other, STRONG, window)
        np.testing.assert_array_equal(nats[: place - 1], changed[: place - 1])
        assert (nats[place:] != changed[place:]).any()


def test_the_trained_model_stays_as_it_is_and_learns_in_the_copy(model, text):
    before = [each.detach().clone() for each in model.parameters()]
    dynamic, ids = Dynamic(model, text), np.tile(text[:10], 60)
    small_steps = STRONG._replace(learning_rate=0.002)  # large ones make rounding errors grow
    nats = dynamic.nats(ids, small_steps)
    assert nats[-50:].mean() < 0.8 * character_nats(model, ids)[-50:].mean()
    for one, other in zip(before, model.parameters(), strict=True):
        assert torch.equal(one, other)
    np.testing.assert_array_equal(nats, dynamic.nats(ids, small_steps))


def test_two_segments_worked_with_the_equation(model, text):
    dynamic, ids = Dynamic(model, text), torch.from_numpy(text[:17])
    nats = dynamic.nats(text[:17], STRONG)
    logits, state = model(ids[:8].unsqueeze(1), model.initial_state(1))
    loss = F.cross_entropy(logits[:, 0], ids[1:9])
    weights = module._trainable(model)
    gradients = torch.autograd.grad(loss, weights)
    mean = torch.cat([each.flatten() for each in dynamic.roots]).mean()
    with torch.no_grad():
        for weight, gradient, root in zip(weights, gradients, dynamic.roots, strict=True):
            trained = weight.clone()
            weight -= STRONG.learning_rate * gradient / (root + EPSILON * mean)
            weight += (STRONG.decay * root / mean).clamp(max=1) * (trained - weight)
        logits, _ = model(ids[8:16].unsqueeze(1), state)
    second = F.cross_entropy(logits[:, 0], ids[9:17], reduction="none")
    np.testing.assert_allclose(nats[8:], second.numpy(), rtol=1e-4)


def test_the_search_finds_settings_that_are_no_worse(model, text):
    dynamic, ids = Dynamic(model, text), np.tile(text[:10], 10)
    found = search(dynamic, ids)
    assert dynamic.nats(ids, found).mean() <= dynamic.nats(ids, Settings()).mean()
    assert found.learning_rate == max(module.LEARNING_RATES)  # a text that repeats

    def stop():
        return True

    with pytest.raises(Stopped):
        Dynamic(model, text, stop)
