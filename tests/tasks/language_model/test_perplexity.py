"""The loss in rows against a loop of single steps; each predicted character counts once."""

from __future__ import annotations

import functools
import itertools
import math
import statistics

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from charlm.errors import Stopped
from charlm.recurrent.states import HiddenState
from charlm.tasks.language_model import perplexity as module
from charlm.tasks.language_model.config import LanguageModelSection
from charlm.tasks.language_model.model import LanguageModel, build_language_model, cross_entropy_sum
from charlm.tasks.language_model.perplexity import evaluate, evaluate_lines, evaluate_windows
from charlm.training.loss import LossSum, perplexity

VOCABULARY_SIZE = 11
DROPOUTS = ("input_dropout", "dropout", "output_dropout", "weight_dropout")
PLAIN = {"embedding": "one-hot", **dict.fromkeys(DROPOUTS, 0.0)}
MODELS = [
    {"cell": "lstm", "embedding": "tied"},
    {"cell": "lstm", "backend": "scratch"},
    {"cell": "gru", "num_layers": 2},
    {"cell": "gru-reset-before", "backend": "scratch", "embedding": "learned"},
    {"cell": "rnn", "backend": "scratch", "num_layers": 2, "embedding": "tied"},
    {"cell": "rnn-relu"},
    {"cell": "gru", "embedding": "learned", "ngram_order": 5, "ngram_rows": 40},
]


def model_of(scale: float = 1.0, size: int = VOCABULARY_SIZE, **options) -> LanguageModel:
    """A model in double precision. Larger weights make it remember longer."""
    model = build_language_model(
        LanguageModelSection(**{**PLAIN, "hidden_size": 12, **options}), size
    )
    with torch.no_grad():
        if model.ngrams is not None:  # its first weights are zeros
            torch.nn.init.normal_(model.ngrams.table, std=0.1)
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model.double()


def text_of(length: int) -> torch.Tensor:
    return torch.randint(VOCABULARY_SIZE, (length,), generator=torch.Generator().manual_seed(3))


class Memoryless(nn.Module):
    """A model whose loss at a position depends on two characters only; it records its inputs."""

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__()
        self.vocabulary_size = vocabulary_size
        self.table = torch.randn(vocabulary_size, vocabulary_size, dtype=torch.float64)
        self.inputs: list[torch.Tensor] = []

    def initial_state(self, batch_size):
        return (HiddenState(torch.zeros(batch_size, 1)),)

    def read(self, inputs, state):
        self.inputs.append(inputs)
        return state

    def forward(self, inputs, state):
        return self.table[inputs], self.read(inputs, state)


def step_by_step(model: LanguageModel, ids: torch.Tensor, only: int | None = None) -> float:
    """The sum of the cross-entropies, one step at a time; of the targets ``only`` if given."""
    model.eval()
    state, nats = model.initial_state(1), 0.0
    with torch.no_grad():
        for token, target in itertools.pairwise(ids):
            logits, state = model(token.view(1, 1), state)
            if only is None or target == only:
                nats -= float(logits[0, 0].log_softmax(0)[target])
    return nats


@pytest.mark.parametrize("options", MODELS)
def test_single_row_is_the_loop_of_steps(options):
    model, ids = model_of(2.0, **options), text_of(150)
    loss = evaluate(model, ids, row_length=None)
    assert loss.count == 149
    assert loss.nats == pytest.approx(step_by_step(model, ids), rel=1e-9)


@pytest.mark.parametrize("options", MODELS)
@pytest.mark.parametrize("warm_up", [150, 151, 1000])
def test_rows_whose_warm_up_covers_the_whole_past_are_exact(options, warm_up):
    """With large weights, so that the model does not forget the first character."""
    model, ids = model_of(3.0, **options), text_of(151)
    exact = step_by_step(model, ids)
    for row_length in (1, 7, 30, 149, 150, 151):
        loss = evaluate(model, ids, row_length=row_length, warm_up=warm_up)
        assert loss.count == 150
        assert loss.nats == pytest.approx(exact, rel=1e-6), row_length


def test_warm_up_that_covers_the_past_of_some_rows_is_exact_for_these():
    """Three rows of ten: the second reads its whole past, the third all but five characters."""
    model, ids = model_of(4.0), text_of(31)
    rows = step_by_step(model, ids[:21])
    cut = step_by_step(model, ids[5:31]) - step_by_step(model, ids[5:21])
    loss = evaluate(model, ids, row_length=10, warm_up=15)
    assert loss.nats == pytest.approx(rows + cut, rel=1e-9)
    assert loss.nats != pytest.approx(step_by_step(model, ids), rel=1e-9)


def test_no_warm_up_starts_each_row_from_zeros():
    model, ids = model_of(3.0), text_of(31)
    rows = sum(step_by_step(model, ids[start : start + 11]) for start in (0, 10, 20))
    assert evaluate(model, ids, row_length=10, warm_up=0).nats == pytest.approx(rows, rel=1e-9)


@pytest.mark.parametrize("options", MODELS)
def test_rows_with_a_warm_up_come_close_to_a_single_row(options):
    """A new model in single precision, and a model that remembers longer."""
    ids = text_of(3001)
    for model in (model_of(**options).float(), model_of(1.5, **options).float()):
        exact = evaluate(model, ids, row_length=None)
        close = evaluate(model, ids, row_length=256, warm_up=128)
        assert close.count == exact.count == 3000
        assert close.nats == pytest.approx(exact.nats, rel=1e-3)


def test_trained_model_is_scored_the_same_in_rows():
    """A text with a period of 7, so that the predictions depend on the past."""
    ids = torch.tensor([1, 2, 1, 3, 1, 1, 4] * 300)
    model = model_of(size=5, hidden_size=16, embedding="tied").float()
    parameters = list(model.parameters())
    inputs, targets = ids[:350].view(10, 35).T, ids[1:351].view(10, 35).T
    for _ in range(150):
        logits, _ = model(inputs, model.initial_state(10))
        loss = cross_entropy_sum(logits, targets) / 350
        gradients = torch.autograd.grad(loss, parameters)
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= 0.3 * gradient / norm.clamp(min=0.1)
    exact = evaluate(model, ids, row_length=None)
    assert exact.perplexity < 1.5
    rows = evaluate(model, ids, row_length=100, warm_up=50)
    assert rows.nats == pytest.approx(exact.nats, rel=1e-3)


@settings(derandomize=True, deadline=None, max_examples=250)
@given(
    length=st.integers(2, 90),
    row_length=st.none() | st.integers(1, 100),
    warm_up=st.integers(0, 100),
    chunk=st.integers(1, 20_000),
    rows=st.sampled_from([2, 128]),
)
def test_every_predicted_character_is_counted_once(length, row_length, warm_up, chunk, rows):
    """All characters differ, and so do the losses that are added up."""
    model = Memoryless(length)
    ids = torch.randperm(length)
    losses = F.cross_entropy(model.table[ids[:-1]], ids[1:], reduction="none")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", chunk)
        patch.setattr(module, "CPU_ROWS", rows)
        loss = evaluate(model, ids, row_length=row_length, warm_up=warm_up)
    assert loss.count == loss.characters == length - 1
    assert loss.standard_error is None
    assert loss.nats == pytest.approx(float(losses.sum()), rel=1e-12)


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 15, 16, 17, 63, 64, 65])
def test_lengths_around_a_row(count):
    model, ids = model_of(2.0), text_of(count + 1)
    loss = evaluate(model, ids, row_length=8, warm_up=count)
    assert loss.count == count
    assert loss.nats == pytest.approx(step_by_step(model, ids), rel=1e-9)


@pytest.mark.parametrize("row_length", [None, 40])
@pytest.mark.parametrize("chunk", [1, 100, 1000])
def test_chunks_of_logits_change_nothing_and_are_limited(monkeypatch, row_length, chunk):
    model, ids = model_of(3.0), text_of(201)
    whole = evaluate(model, ids, row_length=row_length, warm_up=30)
    monkeypatch.setattr(module, "CHUNK", chunk)
    sizes = []
    model.head.register_forward_hook(lambda head, inputs, logits: sizes.append(logits.shape))
    loss = evaluate(model, ids, row_length=row_length, warm_up=30)
    assert loss.nats == pytest.approx(whole.nats, rel=1e-9)
    assert all(steps == 1 or steps * rows * size <= chunk for steps, rows, size in sizes)
    assert len(sizes) > 1


def test_warm_up_reads_the_characters_before_the_row():
    """A prediction depends neither on the predicted character nor on later ones."""
    model = Memoryless(31)
    evaluate(model, torch.arange(31), row_length=10, warm_up=4)
    read = torch.cat(model.inputs)  # (T, rows)
    assert read.shape == (14, 3)
    assert read[:, 1].tolist() == list(range(6, 20))
    assert read[:, 2].tolist() == list(range(16, 30))
    assert read[4:, 0].tolist() == list(range(10))


@pytest.mark.parametrize("options", MODELS)
@pytest.mark.parametrize("row_length", [None, 13])
def test_perplexity_of_equal_probabilities_is_the_vocabulary_size(options, row_length):
    model = model_of(0.0, **options)
    loss = evaluate(model, text_of(100), row_length=row_length)
    assert loss.mean == pytest.approx(math.log(VOCABULARY_SIZE), rel=1e-9)
    assert loss.perplexity == pytest.approx(VOCABULARY_SIZE, rel=1e-9)


@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_off_and_the_mode_is_kept(training):
    options = {"dropout": 0.5, "input_dropout": 0.5, "output_dropout": 0.5, "weight_dropout": 0.5}
    model, ids = model_of(2.0, embedding="tied", num_layers=2, **options), text_of(80)
    expected = step_by_step(model, ids)
    model.train(training)
    loss = evaluate(model, ids, row_length=None)
    assert loss.nats == pytest.approx(expected, rel=1e-9)
    assert model.training is training
    assert all(part.training is training for part in model.modules())


def test_no_random_number_and_no_gradient():
    model = model_of(weight_dropout=0.5).train()
    before = torch.get_rng_state()
    evaluate(model, text_of(100), row_length=10, warm_up=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.is_grad_enabled()


def test_repeated_evaluation_is_equal_bit_for_bit():
    model, ids = model_of().float(), text_of(500)
    first, second = (evaluate(model, ids, row_length=64, warm_up=32) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("length", [2, 9, 10, 21, 22, 151])
@pytest.mark.parametrize("chunk", [1, 300, 10**6])
def test_windows_are_texts_of_their_own(monkeypatch, length, chunk):
    """nanoGPT's x[i : i + 10] and y = x[i + 1 : i + 11], each window from a zero state."""
    monkeypatch.setattr(module, "CHUNK", chunk)
    model, ids = model_of(3.0, num_layers=2), text_of(length)
    windows = [ids[start : start + 11] for start in range(0, length - 1, 10)]
    loss = evaluate_windows(model, ids, window=10)
    assert loss.count == length - 1 == sum(len(window) - 1 for window in windows)
    assert loss.nats == pytest.approx(sum(step_by_step(model, each) for each in windows), rel=1e-9)
    if length > 22:
        assert loss.nats != pytest.approx(step_by_step(model, ids), rel=1e-9)


@pytest.mark.parametrize("length", [2, 200, 256, 257])
def test_one_window_is_a_text_that_is_carried(length):
    model, ids = model_of(2.0), text_of(length)
    assert evaluate_windows(model, ids).nats == pytest.approx(evaluate(model, ids).nats, rel=1e-9)


def test_windows_can_be_stopped_and_need_two_characters():
    model = model_of()
    with pytest.raises(Stopped):
        evaluate_windows(model, text_of(9), should_stop=lambda: True)
    with pytest.raises(ValueError, match="fewer than two characters"):
        evaluate_windows(model, text_of(1))


@pytest.mark.parametrize("score", [evaluate, evaluate_windows, evaluate_lines])
def test_the_losses_of_the_characters_are_those_of_the_loop(score):
    """In the order of the text; of a sample, those that are scored."""
    model = model_of(3.0)
    ids = lines_of(LINES) if score is evaluate_lines else text_of(68)
    loss = score(model, ids, each=True)
    assert loss.each.sum() == pytest.approx(loss.nats, rel=1e-9)
    begins = [0, *((ids[1:-1] == ids[0]).nonzero().squeeze(1) + 1).tolist()]
    for index, nats in enumerate(loss.each.tolist()):
        first = max(begin for begin in begins if begin <= index) if score is evaluate_lines else 0
        before = step_by_step(model, ids[first : index + 1])
        assert nats == pytest.approx(step_by_step(model, ids[first : index + 2]) - before, abs=1e-6)
    sample = score(model, ids, at_most=30, each=True)
    assert len(sample.each) == sample.count < 68
    assert sample.each.sum() == pytest.approx(sample.nats, rel=1e-9)
    assert score(model, ids).each is None


@pytest.mark.parametrize("score", [evaluate, evaluate_windows])
def test_unknown_characters_are_counted_apart(score):
    """Id 0 is a character that the vocabulary lacks. The first character is not predicted."""
    model, ids = model_of(2.0), text_of(150)
    ids[0] = 0
    number = int((ids[1:] == 0).sum())
    assert number > 5
    loss = score(model, ids)
    assert loss.nats == pytest.approx(step_by_step(model, ids), rel=1e-9)
    assert loss.unknown.count == number
    assert loss.unknown.nats == pytest.approx(step_by_step(model, ids, only=0), rel=1e-9)
    assert loss.known.count == 149 - number
    assert loss.known.nats == pytest.approx(loss.nats - loss.unknown.nats)
    known = score(model, ids.clamp(min=1))
    assert known.unknown == LossSum(0.0, 0)
    assert known.known == LossSum(known.nats, known.count)


@pytest.mark.parametrize(
    ("score", "starts"),
    [
        (functools.partial(evaluate, row_length=9, warm_up=5), [0, 37, 75, 112]),
        (functools.partial(evaluate_windows, window=9), [0, 37, 75, 112]),
        (evaluate, [0]),
    ],
)
def test_sample_is_of_parts_that_are_spread_evenly(score, starts, monkeypatch):
    """At most 40 of 150 characters, in parts of 9, or in a single one."""
    monkeypatch.setattr(module, "CPU_ROWS", 3)
    model, ids = model_of(3.0), text_of(151)
    length = 9 if len(starts) > 1 else 40
    begins = [max(0, start - 5) if "row_length" in str(score) else start for start in starts]
    nats = [
        step_by_step(model, ids[begin : start + length + 1])
        - (step_by_step(model, ids[begin : start + 1]) if start > begin else 0)
        for begin, start in zip(begins, starts, strict=True)
    ]
    loss = score(model, ids, at_most=40)
    assert (loss.count, loss.characters) == (len(starts) * length, 150)
    assert loss.nats == pytest.approx(sum(nats), rel=1e-9)
    if len(starts) == 1:
        assert loss.standard_error is None  # nothing says how much parts differ
    else:  # that of a mean of four numbers
        error = statistics.stdev(nats) / length / math.sqrt(4) * math.sqrt(1 - 36 / 150)
        assert loss.standard_error == pytest.approx(error)
    assert score(model, ids, at_most=150) == score(model, ids)


def test_standard_error_says_how_far_a_sample_is_from_the_text():
    """A text whose parts differ, in 20 samples of another size each."""
    model = Memoryless(VOCABULARY_SIZE)
    parts = torch.rand(200, VOCABULARY_SIZE, generator=torch.Generator().manual_seed(1)) ** 4
    ids = torch.cat([each.multinomial(50, replacement=True) for each in parts])
    whole = evaluate(model, ids).mean
    samples = [evaluate(model, ids, row_length=20, at_most=size) for size in range(400, 2400, 100)]
    errors = [(loss.mean - whole) / loss.standard_error for loss in samples]
    assert 0.5 < math.sqrt(statistics.fmean(error**2 for error in errors)) < 1.5


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_ids_of_any_integer_type(dtype):
    model, ids = model_of(2.0), text_of(151)
    for score in (evaluate, evaluate_windows):
        found = [score(model, each) for each in (ids, ids.to(dtype), ids.to(dtype).numpy())]
        assert found == [found[0]] * 3


@pytest.mark.parametrize("length", [0, 1])
@pytest.mark.parametrize("row_length", [None, 10])
def test_fewer_than_two_characters_are_refused(length, row_length):
    model = model_of().train()
    with pytest.raises(ValueError, match="fewer than two characters"):
        evaluate(model, text_of(length), row_length=row_length)
    assert model.training


# Lines

END = 1
LINES = [[2, 3], [4], [5, 2, 2, 6, 3, 9, 10, 4, 4, 7, 8, 2, 5], [4], [0, 3, 3, 7], [8] * 40]


def lines_of(lines) -> torch.Tensor:
    return torch.tensor([END, *(token for line in lines for token in [*line, END])])


@pytest.mark.parametrize("options", MODELS)
@pytest.mark.parametrize("rows", [1, 2, 4, 100])
def test_lines_side_by_side_are_the_loop_over_one_line_at_a_time(options, rows, monkeypatch):
    """Each line starts from a zero state and a line end, and ends with a predicted line end."""
    monkeypatch.setattr(module, "CHUNK", 5 * rows * VOCABULARY_SIZE)  # parts of five steps
    model = model_of(3.0, **options)
    alone = sum(step_by_step(model, torch.tensor([END, *line, END])) for line in LINES)
    loss = evaluate_lines(model.train(), lines_of(LINES), rows=rows)
    assert loss.count == sum(len(line) + 1 for line in LINES)
    assert loss.nats == pytest.approx(alone, rel=1e-9)
    assert model.training
    again = evaluate_lines(model, lines_of(LINES[::-1]), rows=rows)
    assert again.nats == pytest.approx(alone, rel=1e-9)


def test_sample_of_lines():
    model = model_of(3.0)
    every = [step_by_step(model, torch.tensor([END, *line, END])) for line in LINES]
    loss = evaluate_lines(model, lines_of(LINES), at_most=35)  # of 67 characters: 3 of 6 lines
    assert (loss.count, loss.characters) == (3 + 14 + 5, 67)
    assert loss.nats == pytest.approx(sum(every[::2]), rel=1e-9)
    mean = loss.mean
    rest = [nats - mean * count for nats, count in zip(every[::2], (3, 14, 5), strict=True)]
    error = math.sqrt(3 / 2 * sum(each**2 for each in rest) * (1 - 22 / 67)) / 22
    assert loss.standard_error == pytest.approx(error)


def test_a_huge_line_needs_little_memory(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 1000)
    model, sizes = model_of().float(), []
    model.head.register_forward_hook(lambda head, inputs, logits: sizes.append(logits.shape))
    evaluate_lines(model, lines_of([*LINES, [3, 4] * 1000]), rows=4)
    assert max(steps * rows * size for steps, rows, size in sizes) <= 1000
    assert [rows for _, rows, _ in sizes[10:90]] == [1] * 80  # the others have ended


def test_scoring_lines_can_be_stopped():
    with pytest.raises(Stopped):
        evaluate_lines(model_of(), lines_of(LINES), should_stop=lambda: True)


def test_losses_add_up_and_are_divided_once():
    """The mean of the means would be 1.5."""
    both = LossSum(2.0, 1) + LossSum(3.0, 3)
    assert both == LossSum(5.0, 4)
    assert both.mean == 1.25
    assert both.perplexity == pytest.approx(math.exp(1.25))
    assert LossSum(0.0, 0) + both == both


def test_perplexity_too_large_is_infinite():
    assert perplexity(0.0) == 1.0
    assert perplexity(math.log(7)) == pytest.approx(7)
    assert perplexity(709.0) < math.inf
    assert perplexity(710.0) == math.inf
    assert LossSum(1e9, 2).perplexity == math.inf
    assert LossSum(math.inf, 2).perplexity == math.inf
    assert math.isnan(perplexity(math.nan))
