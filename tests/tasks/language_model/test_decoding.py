"""Decoding against a slow twin, and generation against a model that rereads the whole text."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.compiled import can_compile
from charlm.errors import RunError, UsageError
from charlm.recurrent.cells import CELLS
from charlm.recurrent.stepping import state_array
from charlm.tasks.language_model import decoding as decoding_module
from charlm.tasks.language_model.config import LanguageModelSection
from charlm.tasks.language_model.decoding import (
    GREEDY,
    ROWS,
    Decoding,
    generate,
    generate_blocks,
    generate_lines,
)
from charlm.tasks.language_model.model import LanguageModel, build_language_model

MODELS = [
    {"cell": cell, "backend": backend, "embedding": embedding}
    for backend, cells in (
        ("torch", ("rnn", "rnn-relu", "gru", "lstm")),
        ("scratch", ("rnn", "rnn-relu", "gru", "gru-reset-before", "lstm")),
    )
    for cell, embedding in itertools.product(cells, ("one-hot", "tied"))
]
NGRAMS = {"embedding": "learned", "ngram_order": 4, "ngram_rows": 50}
VOCABULARY_SIZE = 12
DROPOUTS = ("input_dropout", "dropout", "output_dropout", "weight_dropout")
PLAIN = {"embedding": "one-hot", **dict.fromkeys(DROPOUTS, 0.0)}


def plain_model(size: int, **options) -> LanguageModel:
    model = build_language_model(LanguageModelSection(**{**PLAIN, **options}), size)
    if model.ngrams is not None:
        torch.nn.init.normal_(model.ngrams.table, std=0.2)
    return model


def small_model(**options) -> LanguageModel:
    """In double precision and with large weights, so that no two logits are close."""
    options = {"cell": "lstm", "hidden_size": 8, "num_layers": 2, **options}
    model = plain_model(VOCABULARY_SIZE, **options).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    return model


def row(*probabilities: float, unknown: float = -5.0) -> torch.Tensor:
    """(1, V) logits with these probabilities, after a logit for <unk>."""
    return torch.tensor([[unknown, *map(math.log, probabilities)]])


def kept(decoding: Decoding, logits: torch.Tensor) -> list[int]:
    return decoding.probabilities(logits)[0].nonzero().flatten().tolist()


def slow_probabilities(
    logits: list[float], temperature: float, top_k: int | None, top_p: float | None
) -> list[float]:
    """Temperature, then top-k, then top-p, by sorted lists; the sort keeps the order of ties."""
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
    ties=st.booleans(),
    size=st.integers(2, 40),
    spread=st.sampled_from([0.1, 1.0, 10.0]),
    temperature=st.floats(0.05, 20),
    top_k=st.none() | st.integers(1, 45),
    top_p=st.none() | st.floats(0.01, 0.99),
)
def test_probabilities_are_the_slow_twins(seed, ties, size, spread, temperature, top_k, top_p):
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(3, size, generator=generator, dtype=torch.float64)
    logits = logits.round() if ties else logits
    decoding = Decoding(temperature=temperature, top_k=top_k, top_p=top_p)
    got = decoding.probabilities(logits)
    expected = [slow_probabilities(line, temperature, top_k, top_p) for line in logits.tolist()]
    assert got.shape == logits.shape
    assert torch.allclose(got, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12)
    assert torch.allclose(got.sum(1), torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [{}, {"top_k": 1}, {"top_p": 1e-9}, *({"temperature": value} for value in (0, 1e-30, 1e30))],
)
def test_unknown_is_never_chosen(options):
    decoding, logits = Decoding(**options), row(0.5, 0.3, 0.2, unknown=1000.0)
    probabilities = decoding.probabilities(logits)
    assert probabilities[0, 0] == 0
    assert float(probabilities.sum()) == pytest.approx(1)
    chosen = decoding.choose(logits.expand(500, -1), torch.Generator().manual_seed(0))
    assert chosen.dtype == torch.int64
    assert chosen.shape == (500,)
    assert int(chosen.min()) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits_do_not_change(dtype):
    logits = torch.randn(2, 5, dtype=dtype)
    before = logits.clone()
    Decoding(top_k=2, top_p=0.5).choose(logits, torch.Generator())
    GREEDY.choose(logits, torch.Generator())
    assert torch.equal(logits, before)


@pytest.mark.parametrize("temperature", [1e-300, 0.7, 1e300])
def test_greedy_and_top_k_of_one_are_the_argmax_with_ties_and_without(temperature):
    close = 1e-30 * torch.arange(9, dtype=torch.float64)
    logits = torch.randn(50, 9).double()
    logits = torch.cat([logits, logits.round(), torch.zeros(1, 9), close.unsqueeze(0)])
    chosen = GREEDY.choose(logits, torch.Generator())
    assert torch.equal(chosen, logits[:, 1:].argmax(1) + 1)
    assert chosen[-2:].tolist() == [1, 8]
    assert torch.equal(GREEDY.probabilities(logits).max(1).values, torch.ones(102).double())
    top = Decoding(temperature=temperature, top_k=1)
    assert torch.equal(top.choose(logits, torch.Generator()), chosen)


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
def test_tiny_temperature_is_finite_and_all_but_greedy(temperature, filters):
    logits = torch.tensor([[0.0, 50.0, -3000.0, 49.0, 1e30], [9.0, 1.0, 3.0, 2.0, -1e30]])
    probabilities = Decoding(temperature=temperature, **filters).probabilities(logits)
    assert probabilities.isfinite().all()
    assert torch.allclose(probabilities, GREEDY.probabilities(logits))


@pytest.mark.parametrize(
    ("top_k", "logits", "expected"),
    [
        (1, row(0.1, 0.4, 0.2, 0.3), [2]),
        (2, row(0.1, 0.4, 0.2, 0.3), [2, 4]),
        (3, row(0.1, 0.4, 0.2, 0.3), [2, 3, 4]),
        (2, torch.tensor([[9.0, 1.0, 2.0, 1.0, 0.0]]), [1, 2]),
        (1, torch.zeros(1, 5), [1]),
        (3, torch.zeros(1, 5), [1, 2, 3]),
    ],
)
def test_top_k_keeps_k_and_of_ties_the_lowest_ids(top_k, logits, expected):
    assert kept(Decoding(top_k=top_k), logits) == expected


@pytest.mark.parametrize("options", [*({"top_k": k} for k in (299, 300, 1000)), {"top_p": 1.0}])
def test_filter_of_everything_changes_nothing(options):
    logits = 5 * torch.randn(20, 300)
    expected = Decoding().probabilities(logits)
    assert torch.allclose(
        Decoding(**options).probabilities(logits), expected, rtol=1e-9, atol=1e-15
    )


@pytest.mark.parametrize(
    ("top_p", "expected"),
    [(1e-9, [2]), (0.39, [2]), (0.41, [2, 4]), (0.71, [2, 3, 4]), (0.91, [1, 2, 3, 4])],
)
def test_top_p_keeps_the_smallest_set_that_reaches_p(top_p, expected):
    assert kept(Decoding(top_p=top_p), row(0.1, 0.4, 0.2, 0.3)) == expected


@pytest.mark.parametrize(("top_p", "count"), [(0.25, 1), (0.26, 2), (0.5, 2), (0.75, 3), (0.76, 4)])
def test_top_p_keeps_the_lowest_ids_of_ties(top_p, count):
    """The probabilities are quarters, which floats represent exactly."""
    assert kept(Decoding(top_p=top_p), torch.zeros(1, 5)) == [1, 2, 3, 4][:count]


def test_order_is_temperature_then_top_k_then_top_p():
    logits = row(0.4, 0.3, 0.2, 0.1)
    # The first character has 4/7 of the two that top-k keeps, but only 0.4 of all four.
    assert kept(Decoding(top_p=0.5), logits) == [1, 2]
    assert kept(Decoding(top_k=2, top_p=0.5), logits) == [1]
    # With squared probabilities the first character has 16/30.
    assert kept(Decoding(temperature=0.5, top_p=0.5), logits) == [1]
    # With flatter probabilities all four are needed to reach 0.8.
    assert kept(Decoding(top_p=0.8), logits) == [1, 2, 3]
    assert kept(Decoding(temperature=10, top_p=0.8), logits) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "options",
    [{"temperature": value} for value in (-1, -1e-9, math.nan, math.inf, -math.inf)]
    + [{"top_k": value} for value in (0, -1)]
    + [{"top_p": value} for value in (0, 0.0, -0.5, 1.0001, math.nan, math.inf)],
)
def test_settings_out_of_range_are_refused_in_one_line(options):
    with pytest.raises(UsageError) as caught:
        Decoding(**options)
    [(name, value)] = options.items()
    assert str(value) in caught.value.message
    assert name.replace("_", "-") in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "decoding", [Decoding(), Decoding(temperature=0.7, top_k=6), Decoding(top_p=0.9)]
)
def test_frequencies_of_draws_are_the_probabilities(decoding):
    logits = row(0.32, 0.2, 0.15, 0.12, 0.1, 0.06, 0.04, 0.01)
    draws = 20_000
    chosen = decoding.choose(logits.expand(draws, -1), torch.Generator().manual_seed(1))
    counts = chosen.bincount(minlength=9).double()
    expected = draws * decoding.probabilities(logits)[0]
    assert torch.equal(counts[expected == 0], torch.zeros_like(counts[expected == 0]))
    allowed = expected > 0
    chi_squared = float(((counts - expected) ** 2 / expected)[allowed].sum())
    assert chi_squared < 24.3  # the 99.9th percentile for 7 degrees of freedom


def slow_generate(model, prefix, length, decoding, num_samples, seed) -> list[list[int]]:
    """(length, B) ids; the model reads the whole text from a zero state at every step."""
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


@pytest.mark.parametrize(
    "options", [*MODELS, NGRAMS], ids=lambda options: "-".join(map(str, options.values()))
)
@pytest.mark.parametrize("prefix", [[3], [0, 5, 2, 2, 11]])
def test_generation_is_that_of_rereading_the_whole_text(options, prefix):
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


def test_shorter_text_is_the_beginning_of_a_longer_one():
    model = small_model()
    longer = fast_generate(model, [1], 20, Decoding(), 2, seed=4)
    assert fast_generate(model, [1], 7, Decoding(), 2, seed=4) == longer[:7]
    assert fast_generate(model, [1], 0, Decoding(), 2, seed=4) == []


def test_same_seed_gives_the_same_text_and_another_seed_another():
    model = small_model()
    texts = [fast_generate(model, [1], 30, Decoding(), seed=seed) for seed in (5, 5, 6)]
    assert texts[0] == texts[1] != texts[2]


def test_greedy_does_not_depend_on_the_seed_and_its_rows_are_equal():
    model = small_model()
    rows = fast_generate(model, [1], 30, num_samples=4, seed=1)
    assert all(len(set(step)) == 1 for step in rows)
    assert [step[:1] for step in rows] == fast_generate(model, [1], 30, seed=2)


def test_samples_differ_and_depend_on_their_number():
    """All samples share one generator, so the first of three is not the one of the same seed."""
    model = small_model()
    three = fast_generate(model, [1], 30, Decoding(), num_samples=3, seed=5)
    texts = list(zip(*three, strict=True))
    assert len(set(texts)) == 3
    assert texts[0] != tuple(step[0] for step in fast_generate(model, [1], 30, Decoding(), seed=5))


DROPOUT = {"dropout": 0.5, "input_dropout": 0.5, "output_dropout": 0.5, "embedding": "tied"}


def modes(model: LanguageModel) -> set[bool]:
    return {part.training for part in model.modules()}


@pytest.mark.parametrize("training", [True, False])
def test_model_is_in_its_own_mode_whenever_generation_pauses_or_ends(training):
    model = small_model(**DROPOUT).train(training)
    for _ in generate(model, [1], length=4):
        assert modes(model) == {training}
    assert modes(model) == {training}
    steps = generate(model, [1], length=4)
    next(steps)
    steps.close()
    assert modes(model) == {training}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("good_steps", "error"), [(0, RunError), (2, RunError), (2, ZeroDivisionError)]
)
def test_model_is_in_its_own_mode_after_an_error(training, good_steps, error, monkeypatch):
    model = small_model(**DROPOUT).train(training)
    steps = generate(model, [1], length=5)
    for _ in range(good_steps):
        next(steps)
    if error is RunError:
        model.head.bias.data.fill_(math.nan)
    else:
        monkeypatch.setattr(model.stack, "forward", lambda *_: 1 / 0)
    with pytest.raises(error):
        next(steps)
    assert modes(model) == {training}


def test_dropout_is_off_whatever_the_mode():
    model = small_model(**DROPOUT)
    assert fast_generate(model.train(), [1], 20) == fast_generate(model.eval(), [1], 20)


def test_no_global_random_number_and_no_gradient_is_used():
    model = small_model(weight_dropout=0.3).train()
    before = torch.get_rng_state()
    fast_generate(model, [1], 5, Decoding(), num_samples=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("vocabulary_size", "prefix", "message"),
    [(12, [], "the prefix is empty"), (1, [0], "no character to choose")],
)
def test_empty_prefix_or_vocabulary_is_refused(vocabulary_size, prefix, message):
    model = plain_model(vocabulary_size, cell="rnn", hidden_size=2)
    with pytest.raises(UsageError, match=message):
        next(generate(model, prefix, length=3))


def test_vocabulary_of_one_character_has_one_text():
    model = plain_model(2, cell="rnn", hidden_size=2)
    assert fast_generate(model, [0], 5, Decoding(temperature=0.5, top_k=3)) == [[1]] * 5


# Compiled functions

NOT_COMPILED = ("mogrifier", "mlstm", "mingru", "minlstm", "lstm-layernorm", "gru-layernorm")
COMPILED = [
    {"cell": cell, "backend": backend, "embedding": embedding, "num_layers": layers}
    for (backend, cell), (embedding, layers) in zip(
        [
            *(("torch", cell) for cell in ("rnn", "rnn-relu", "gru", "lstm", "lstm")),
            *(("scratch", cell) for cell in CELLS if cell not in NOT_COMPILED),
        ],
        itertools.cycle([("tied", 2), ("learned", 1), ("one-hot", 3)]),
        strict=False,
    )
]
COMPILED += [
    {**NGRAMS, "cell": "lstm", "backend": "torch", "num_layers": 2, "embedding_size": 9},
    {**NGRAMS, "cell": "gru", "num_layers": 1, "ngram_order": 2},
    {**NGRAMS, "cell": "gru-reset-before", "num_layers": 1, "ngram_order": 16, "ngram_rows": 7},
    {**NGRAMS, "cell": "lstm", "num_layers": 2, "skip": True, "embedding_size": 9},
    {"cell": "lstm", "num_layers": 2, "residual": True, "embedding": "tied"},
    {"cell": "gru", "num_layers": 3, "skip": True, "embedding": "learned"},
    {"cell": "jordan", "num_layers": 3, "skip": True, "residual": True, "embedding": "learned"},
]
needs_numba = pytest.mark.skipif(not can_compile(), reason="numba cannot compile here")


def lively_model(**options) -> LanguageModel:
    """In single precision, with weights that make the texts vary; 19 is not a multiple of 4."""
    torch.manual_seed(1)
    model = plain_model(
        VOCABULARY_SIZE, **{"cell": "lstm", "backend": "scratch", "hidden_size": 19, **options}
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    return model


def in_both_ways(monkeypatch, model, *arguments) -> list[list[list[int]]]:
    """The ids of compiled functions, and those of the model called for each character."""
    monkeypatch.setattr(decoding_module, "LONG", 0)
    compiled = fast_generate(model, *arguments)
    with monkeypatch.context() as patch:
        patch.setattr(decoding_module, "can_compile", lambda: False)
        return [compiled, fast_generate(model, *arguments)]


@needs_numba
@pytest.mark.parametrize(
    "options", COMPILED, ids=lambda options: "-".join(map(str, options.values()))
)
def test_compiled_functions_write_the_same_texts(options, monkeypatch):
    model = lively_model(weight_dropout=0.2, **options)
    assert decoding_module.compiled_weights(model) is not None
    settings = (GREEDY, Decoding(temperature=0.8, top_p=0.8), Decoding(temperature=1.3, top_k=7))
    for decoding, rows in itertools.product(settings, (1, 6)):
        compiled, slow = in_both_ways(monkeypatch, model, [1, 4, 0], 60, decoding, rows, 3)
        assert compiled == slow
        assert len(compiled) == 60


@needs_numba
@pytest.mark.parametrize(
    "options", COMPILED, ids=lambda options: "-".join(map(str, options.values()))
)
@pytest.mark.parametrize("rows", [1, 5])
def test_logits_of_compiled_functions_are_the_model_s(options, rows):
    from charlm.tasks.language_model.decoding_numba import write

    model = lively_model(**options)
    weights = decoding_module.compiled_weights(model)
    state = model.initial_state(rows)
    states = state_array(state[: len(model.stack.layers)])
    logits = torch.zeros(rows, VOCABULARY_SIZE)
    before = 0 if model.ngrams is None else model.ngrams.order - 1
    previous = np.zeros((rows, before), np.int64)
    logits[:, 1:] = torch.randn(rows, VOCABULARY_SIZE - 1)
    values, chosen = logits.numpy(), torch.empty(1, rows, dtype=torch.int64)
    for _ in range(40):
        drawn = torch.rand(1, rows, dtype=torch.float64).numpy()
        choice = (1.0, VOCABULARY_SIZE, 1.0)
        step = (states, previous, values, drawn, choice, chosen.numpy())
        assert write(*weights.stack, *weights[1:], *step) == 1
        with torch.no_grad():
            expected, state = model(chosen, state)
        assert torch.allclose(torch.from_numpy(values), expected[0], rtol=0, atol=1e-5)


@needs_numba
@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    seed=st.integers(0, 10**6),
    ties=st.booleans(),
    size=st.integers(2, 60),
    spread=st.sampled_from([0.1, 1.0, 10.0]),
    temperature=st.just(0.0) | st.floats(0.05, 20) | st.sampled_from([1e-300, 1e300]),
    top_k=st.none() | st.integers(1, 65),
    top_p=st.none() | st.floats(0.01, 0.99) | st.sampled_from([0.25, 0.5, 1.0]),
)
def test_compiled_choice_is_that_of_torch(seed, ties, size, spread, temperature, top_k, top_p):
    from charlm.tasks.language_model.decoding_numba import choose

    logits = spread * torch.randn(8, size, generator=torch.Generator().manual_seed(seed))
    logits = logits.round() if ties else logits
    decoding = Decoding(temperature=temperature, top_k=top_k, top_p=top_p)
    expected = decoding.choose(logits, torch.Generator().manual_seed(seed)).tolist()
    drawn = torch.rand(8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    odds, heap = np.empty(size), np.empty(size, np.int64)
    choice = (temperature, min(top_k or size, size), 1.0 if top_p is None else top_p)
    rows = zip(logits.numpy(), drawn.tolist(), strict=True)
    assert [choose(row, choice, number, odds, heap) for row, number in rows] == expected


@needs_numba
def test_blocks_grow_and_a_weight_that_is_not_finite_is_an_error(monkeypatch):
    monkeypatch.setattr(decoding_module, "LONG", 0)
    model = lively_model()
    arguments = {"length": 100, "decoding": Decoding(), "num_samples": 3, "seed": 2}
    blocks = [*generate_blocks(model, [1], **arguments)]
    assert [len(block) for block in blocks[:4]] == [1, 2, 4, 8]
    assert sum(map(len, blocks)) == 100
    assert all((block.shape[1], block.dtype) == (3, torch.int64) for block in blocks)
    with torch.no_grad():
        model.stack.layers[0].cell.weight_hidden[3, 5] = math.nan
    with pytest.raises(RunError, match="not finite"):
        fast_generate(model, [1], 100)


@needs_numba
def test_other_models_are_not_compiled(monkeypatch):
    compiled_weights = decoding_module.compiled_weights
    assert compiled_weights(small_model()) is None  # in double precision
    model = lively_model(cell="rnn", backend="scratch")
    model.stack.layers[0].cell.step = lambda projected, state: (state.hidden, state)
    assert compiled_weights(model) is None
    monkeypatch.setattr(decoding_module, "can_compile", lambda: False)
    assert compiled_weights(lively_model()) is None


@pytest.mark.parametrize(
    "options",
    [
        *({"cell": cell, "num_layers": 2} for cell in NOT_COMPILED),
        {"cell": "mingru", "num_layers": 2, "residual": True, "embedding": "tied"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_the_model_writes_where_no_compiled_function_can(options, monkeypatch):
    """Each character is the most likely one after all before it, read at once from the start."""
    monkeypatch.setattr(decoding_module, "LONG", 0)
    model = lively_model(**options).eval()
    assert decoding_module.compiled_weights(model) is None
    ids = [row[0] for row in fast_generate(model, [1, 4], 30, GREEDY)]
    with torch.no_grad():
        read = torch.tensor([1, 4, *ids[:-1]]).unsqueeze(1)
        logits, _ = model(read, model.initial_state(1))
    logits[..., 0] = -math.inf  # never written
    assert logits[1:, 0].argmax(1).tolist() == ids


# Lines


def test_lines_are_the_samples_of_generate_up_to_their_ends():
    """Row by row; the second batch of lines has the next seed."""
    model, end, length = small_model(), 3, 6
    decoding = Decoding(temperature=2.0)
    expected = []
    for seed in (7, 8):
        steps = generate(
            model, [end, 5], length=length + 1, decoding=decoding, num_samples=ROWS, seed=seed
        )
        for tokens in torch.stack([*steps]).T.tolist():
            ended = end in tokens
            expected.append((tokens[: tokens.index(end) if ended else length], ended))
    stream = generate_lines(model, [end, 5], length=length, decoding=decoding, seed=7)
    found = [*itertools.islice(stream, 2 * ROWS)]
    assert found == expected
    assert {ended for _, ended in found} == {True, False}
    assert max(len(line) for line, _ in found) == length
