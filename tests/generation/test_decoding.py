"""The choice of a character against a slow twin, and generation against reading it all anew."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.errors import RunError, UsageError
from charlm.generation.decoding import GREEDY, Decoding, generate
from charlm.models.language_model import LanguageModel

# Every cell, layer and embedding that text can come from.
MODELS = [
    {"cell": cell, "backend": backend, "embedding": embedding}
    for backend, cells in (
        ("torch", ("rnn", "rnn-relu", "gru", "lstm")),
        ("scratch", ("rnn", "rnn-relu", "gru", "gru-reset-before", "lstm")),
    )
    for cell, embedding in itertools.product(cells, ("one-hot", "tied"))
]
VOCABULARY_SIZE = 12


def small_model(**options) -> LanguageModel:
    """In double precision and with large weights, so that no two characters come close."""
    options = {"cell": "lstm", "hidden_size": 8, "num_layers": 2, **options}
    model = LanguageModel(VOCABULARY_SIZE, **options).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    return model


def row(*probabilities: float, unknown: float = -5.0) -> torch.Tensor:
    """(1, V) logits with these probabilities, and a logit for <unk> in front."""
    return torch.tensor([[unknown, *map(math.log, probabilities)]])


def kept(decoding: Decoding, logits: torch.Tensor) -> list[int]:
    return decoding.probabilities(logits)[0].nonzero().flatten().tolist()


def slow_probabilities(
    logits: list[float], temperature: float, top_k: int | None, top_p: float | None
) -> list[float]:
    """Temperature, then top-k, then top-p, by sorted lists."""
    weights = {i: logit / temperature for i, logit in enumerate(logits) if i != 0}
    highest = max(weights.values())
    weights = {i: math.exp(weight - highest) for i, weight in weights.items()}
    ranked = sorted(weights, key=weights.__getitem__, reverse=True)[:top_k]
    if top_p is not None:
        total = sum(weights[i] for i in ranked)
        for count in range(1, len(ranked) + 1):
            if sum(weights[i] for i in ranked[:count]) / total >= top_p:
                ranked = ranked[:count]
                break
    total = sum(weights[i] for i in ranked)
    return [weights[i] / total if i in ranked else 0.0 for i in range(len(logits))]


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(2, 40),
    spread=st.sampled_from([0.1, 1.0, 10.0]),
    temperature=st.floats(0.05, 20),
    top_k=st.none() | st.integers(1, 45),
    top_p=st.none() | st.floats(0.01, 0.99),
)
def test_probabilities_are_the_slow_twins(seed, size, spread, temperature, top_k, top_p):
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(3, size, generator=generator, dtype=torch.float64)
    decoding = Decoding(temperature=temperature, top_k=top_k, top_p=top_p)
    got = decoding.probabilities(logits)
    wanted = [slow_probabilities(line, temperature, top_k, top_p) for line in logits.tolist()]
    assert got.shape == logits.shape
    assert torch.allclose(got, torch.tensor(wanted, dtype=torch.float64), rtol=1e-9, atol=1e-12)
    assert torch.allclose(got.sum(1), torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "decoding",
    [
        GREEDY,
        Decoding(),
        Decoding(top_k=1),
        Decoding(top_k=100),
        Decoding(top_p=1.0),
        Decoding(top_p=1e-9),
        Decoding(temperature=1e-30),
        Decoding(temperature=1e30),
    ],
)
def test_unknown_is_never_chosen_even_where_it_is_the_most_probable(decoding):
    logits = row(0.5, 0.3, 0.2, unknown=1000.0)
    probabilities = decoding.probabilities(logits)
    assert probabilities[0, 0] == 0
    assert float(probabilities.sum()) == pytest.approx(1)
    chosen = decoding.choose(logits.expand(500, -1), torch.Generator().manual_seed(0))
    assert chosen.dtype == torch.int64
    assert chosen.shape == (500,)
    assert int(chosen.min()) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_logits_are_left_as_they_are(dtype):
    logits = torch.randn(2, 5, dtype=dtype)
    before = logits.clone()
    Decoding(top_k=2, top_p=0.5).choose(logits, torch.Generator())
    GREEDY.choose(logits, torch.Generator())
    assert torch.equal(logits, before)


def test_temperature_zero_is_the_argmax():
    logits = torch.randn(50, 9)
    chosen = GREEDY.choose(logits, torch.Generator())
    assert torch.equal(chosen, logits[:, 1:].argmax(1) + 1)
    assert torch.equal(GREEDY.probabilities(logits).max(1).values, torch.ones(50).double())
    assert torch.equal(chosen, Decoding(top_k=1).choose(logits, torch.Generator()))


def test_temperature_zero_takes_the_first_of_equals():
    assert GREEDY.choose(torch.zeros(3, 6), torch.Generator()).tolist() == [1, 1, 1]


def test_temperature_is_the_power_of_the_probabilities():
    logits = row(0.6, 0.3, 0.1)
    halved = Decoding(temperature=0.5).probabilities(logits)[0, 1:]
    squares = torch.tensor([0.36, 0.09, 0.01]).double()
    assert torch.allclose(halved, squares / squares.sum())
    assert torch.allclose(
        Decoding(temperature=1e12).probabilities(logits)[0, 1:], torch.full((3,), 1 / 3).double()
    )


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-300, 5e-324])
@pytest.mark.parametrize("filters", [{}, {"top_k": 3}, {"top_p": 0.9}, {"top_k": 3, "top_p": 0.9}])
def test_a_tiny_temperature_is_finite_and_all_but_greedy(temperature, filters):
    logits = torch.tensor([[0.0, 50.0, -3000.0, 49.0, 1e30], [9.0, 1.0, 3.0, 2.0, -1e30]])
    probabilities = Decoding(temperature=temperature, **filters).probabilities(logits)
    assert probabilities.isfinite().all()
    assert torch.allclose(probabilities, GREEDY.probabilities(logits))


def test_top_k_keeps_k():
    logits = row(0.1, 0.4, 0.2, 0.3)
    assert kept(Decoding(top_k=1), logits) == [2]
    assert kept(Decoding(top_k=2), logits) == [2, 4]
    assert kept(Decoding(top_k=3), logits) == [2, 3, 4]
    shares = Decoding(top_k=2).probabilities(logits)[0, [2, 4]]
    assert torch.allclose(shares, torch.tensor([4 / 7, 3 / 7]).double())


def test_top_k_keeps_all_that_are_as_probable_as_the_last_of_the_k():
    """So that no character is left out for its place in the vocabulary."""
    assert kept(Decoding(top_k=2), torch.tensor([[9.0, 1.0, 2.0, 1.0, 0.0]])) == [1, 2, 3]
    assert kept(Decoding(top_k=1), torch.zeros(1, 5)) == [1, 2, 3, 4]


@pytest.mark.parametrize("top_k", [4, 5, 6, 1000])
def test_top_k_of_the_whole_vocabulary_leaves_nothing_out(top_k):
    logits = row(0.1, 0.4, 0.2, 0.3)
    wanted = Decoding().probabilities(logits)
    assert torch.allclose(Decoding(top_k=top_k).probabilities(logits), wanted)


def test_top_p_keeps_the_smallest_set_that_reaches_p():
    logits = row(0.1, 0.4, 0.2, 0.3)
    for top_p, wanted in [
        (1e-9, [2]), (0.39, [2]), (0.41, [2, 4]), (0.69, [2, 4]), (0.71, [2, 3, 4]),
        (0.89, [2, 3, 4]), (0.91, [1, 2, 3, 4]), (1.0, [1, 2, 3, 4]),
    ]:  # fmt: skip
        assert kept(Decoding(top_p=top_p), logits) == wanted, top_p


def test_top_p_keeps_as_many_of_equals_as_it_takes():
    """Four quarters, which floats hold exactly: the sum that equals p is enough."""
    decodings = [Decoding(top_p=top_p) for top_p in (0.25, 0.26, 0.5, 0.75, 0.76)]
    counts = [len(kept(decoding, torch.zeros(1, 5))) for decoding in decodings]
    assert counts == [1, 2, 2, 3, 4]


def test_top_p_of_one_is_no_filter():
    logits = 5 * torch.randn(20, 300)
    wanted = Decoding().probabilities(logits)
    assert torch.allclose(Decoding(top_p=1.0).probabilities(logits), wanted, rtol=1e-9, atol=1e-15)


def test_the_order_is_temperature_then_top_k_then_top_p():
    logits = row(0.4, 0.3, 0.2, 0.1)
    # Of the two that top-k keeps, the first alone has 4/7; of all four, only 0.4.
    assert kept(Decoding(top_p=0.5), logits) == [1, 2]
    assert kept(Decoding(top_k=2, top_p=0.5), logits) == [1]
    # Squared, the first alone has 16/30.
    assert kept(Decoding(temperature=0.5, top_p=0.5), logits) == [1]
    # Flattened, it takes all four to have 0.8.
    assert kept(Decoding(top_p=0.8), logits) == [1, 2, 3]
    assert kept(Decoding(temperature=10, top_p=0.8), logits) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "options",
    [{"temperature": value} for value in (-1, -1e-9, math.nan, math.inf, -math.inf)]
    + [{"top_k": value} for value in (0, -1)]
    + [{"top_p": value} for value in (0, 0.0, -0.5, 1.0001, math.nan, math.inf)],
)
def test_values_out_of_range_are_refused_in_one_line(options):
    with pytest.raises(UsageError) as caught:
        Decoding(**options)
    [(name, value)] = options.items()
    assert str(value) in caught.value.message
    assert name.replace("_", "-") in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "decoding", [Decoding(), Decoding(temperature=0.7, top_k=6), Decoding(top_p=0.9)]
)
def test_the_frequencies_of_draws_are_the_probabilities(decoding):
    logits = row(0.32, 0.2, 0.15, 0.12, 0.1, 0.06, 0.04, 0.01)
    draws = 20_000
    chosen = decoding.choose(logits.expand(draws, -1), torch.Generator().manual_seed(1))
    counts = chosen.bincount(minlength=9).double()
    expected = draws * decoding.probabilities(logits)[0]
    assert torch.equal(counts[expected == 0], torch.zeros_like(counts[expected == 0]))
    allowed = expected > 0
    chi_squared = float(((counts - expected) ** 2 / expected)[allowed].sum())
    assert chi_squared < 24.3  # 0.1 % of the draws with 7 degrees of freedom have more


def slow_generate(model, prefix, length, decoding, num_samples, seed) -> list[list[int]]:
    """(length, B): read the whole text from a zero state at every step."""
    generator = torch.Generator().manual_seed(seed)
    texts = [list(prefix) for _ in range(num_samples)]
    for _ in range(length):
        inputs = torch.tensor(texts).T
        with torch.no_grad():
            logits, _ = model.eval()(inputs, model.initial_state(num_samples))
        for text, chosen in zip(texts, decoding.choose(logits[-1], generator), strict=True):
            text.append(int(chosen))
    return [list(step) for step in zip(*(text[len(prefix) :] for text in texts), strict=True)]


def fast_generate(model, prefix, length, decoding=GREEDY, num_samples=1, seed=0):
    steps = generate(
        model, prefix, length=length, decoding=decoding, num_samples=num_samples, seed=seed
    )
    return [step.tolist() for step in steps]


@pytest.mark.parametrize("options", MODELS, ids=lambda options: "-".join(options.values()))
@pytest.mark.parametrize("prefix", [[3], [0, 5, 2, 2, 11]])
def test_generation_is_that_of_reading_all_from_the_start_at_every_step(options, prefix):
    model = small_model(**options)
    greedy = fast_generate(model, prefix, 25)
    assert greedy == slow_generate(model, prefix, 25, GREEDY, 1, 0)
    drawn = (Decoding(temperature=1.5, top_k=9), 3, 7)
    assert fast_generate(model, prefix, 12, *drawn) == slow_generate(model, prefix, 12, *drawn)


def test_steps_come_one_at_a_time_as_int64_on_the_cpu():
    steps = list(generate(small_model(), [1, 2], length=4, decoding=Decoding(), num_samples=3))
    assert len(steps) == 4
    for step in steps:
        assert (step.shape, step.dtype, step.device.type) == ((3,), torch.int64, "cpu")
        assert not step.requires_grad


def test_a_length_of_nothing_gives_nothing():
    assert fast_generate(small_model(), [1], 0) == []


def test_a_shorter_text_is_the_beginning_of_a_longer_one():
    model = small_model()
    longer = fast_generate(model, [1], 20, Decoding(), 2, seed=4)
    assert fast_generate(model, [1], 7, Decoding(), 2, seed=4) == longer[:7]


def test_the_same_seed_gives_the_same_text_and_another_seed_another():
    model = small_model()
    texts = [fast_generate(model, [1], 30, Decoding(), seed=seed) for seed in (5, 5, 6)]
    assert texts[0] == texts[1] != texts[2]


def test_greedy_knows_no_seed_and_its_rows_are_equal():
    model = small_model()
    rows = fast_generate(model, [1], 30, num_samples=4, seed=1)
    assert all(len(set(step)) == 1 for step in rows)
    assert [step[:1] for step in rows] == fast_generate(model, [1], 30, seed=2)


def test_rows_are_draws_of_their_own():
    """All rows share one generator: how many there are decides what each of them draws.

    So the first of three is not the one that the same seed draws alone.
    """
    model = small_model()
    three = fast_generate(model, [1], 30, Decoding(), num_samples=3, seed=5)
    texts = list(zip(*three, strict=True))
    assert len(set(texts)) == 3
    alone = tuple(step[0] for step in fast_generate(model, [1], 30, Decoding(), seed=5))
    assert texts[0] != alone
    assert three == fast_generate(model, [1], 30, Decoding(), num_samples=3, seed=5)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_as_before_between_the_steps_and_after(training):
    model = small_model(dropout=0.5, input_dropout=0.5, output_dropout=0.5, embedding="tied")
    model.train(training)
    for _ in generate(model, [1], length=4):
        assert model.training is training
        assert model.stack.training is training
    assert model.training is training
    steps = generate(model, [1], length=4)
    next(steps)
    steps.close()  # a reader that has enough
    assert model.training is training


def test_dropout_is_off_whatever_the_mode():
    model = small_model(dropout=0.5, input_dropout=0.5, output_dropout=0.5, embedding="tied")
    assert fast_generate(model.train(), [1], 20) == fast_generate(model.eval(), [1], 20)


def test_no_number_of_the_global_generator_is_used_and_no_gradient_kept():
    model = small_model(weight_dropout=0.3).train()
    before = torch.get_rng_state()
    fast_generate(model, [1], 5, Decoding(), num_samples=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.is_grad_enabled()


def test_an_empty_prefix_is_refused():
    with pytest.raises(UsageError, match="the prefix is empty") as caught:
        next(generate(small_model(), [], length=3))
    assert "--prefix" in caught.value.hint


def test_a_vocabulary_of_unknown_alone_is_refused():
    model = LanguageModel(1, cell="rnn", hidden_size=2)
    with pytest.raises(UsageError, match="no character to choose"):
        next(generate(model, [0], length=3))


def test_a_vocabulary_of_one_character_has_one_text():
    model = LanguageModel(2, cell="rnn", hidden_size=2)
    assert fast_generate(model, [0], 5, Decoding(temperature=0.5, top_k=3)) == [[1]] * 5


def test_weights_that_are_no_numbers_give_one_line():
    with pytest.raises(RunError, match="not finite"):
        Decoding().choose(torch.tensor([[0.0, float("nan"), 1.0]]), torch.Generator())
