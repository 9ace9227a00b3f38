"""Side by side with d2l 0.17.0: the same text, ids, batches, perplexities and predictions.

Our side is what ``charlm train`` runs; the book's side is its own code, given the same first
weights and the same batches.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from benchmarks.peers import gru, lstm, rnn
from charlm.errors import CorpusError
from charlm.runs import Run
from charlm.task import settings_from_preset
from charlm.tasks.language_model.batches import Batch
from charlm.tasks.language_model.config import LanguageModelConfig, LanguageModelSection
from charlm.tasks.language_model.corpus import Corpus, load_corpus
from charlm.tasks.language_model.decoding import generate
from charlm.tasks.language_model.model import LanguageModel, build_language_model
from charlm.training import Measured, train
from charlm.training.loop import open_trainer
from charlm.training.trainer import Trainer

CPU = torch.device("cpu")
EPOCHS, BATCH, STEPS, HIDDEN = 10, 32, 35, 64
CHARACTERS, TRAINING_CHARACTERS = 10_000, 5_000

# The book hands losses to float() without detaching them.
pytestmark = pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad:UserWarning")

samplings = pytest.mark.parametrize("sampling", ["random", "consecutive"])


TEXTS = ("traveller", "timemachine")


@pytest.fixture(params=TEXTS)
def text_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A text that needs no download, and the book's own text if $CHARLM_CORPORA has it."""
    if request.param == "timemachine":
        return request.getfixturevalue("real_corpus")("timemachine.txt")
    path = tmp_path / "text.txt"
    path.write_text(load_corpus("traveller", max_chars=12_000, split=(1, 0, 0)).text("train"))
    return path


@pytest.fixture
def book(d2l: ModuleType, text_file: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """d2l, which reads ``text_file`` as its Time Machine."""

    def download(name: str) -> str:
        assert name == "time_machine"
        return str(text_file)

    monkeypatch.setattr(d2l, "download", download)
    return d2l


def settings(text_file: Path, **sections: dict[str, Any]) -> LanguageModelConfig:
    """The preset of the book's section 8.6, but smaller."""
    smaller = {
        "corpus": {"source": str(text_file), "max_chars": CHARACTERS},
        "model": {"hidden_size": HIDDEN},
        "training": {"epochs": EPOCHS, "batch_size": BATCH, "seq_len": STEPS},
    }
    return LanguageModelConfig.from_settings(
        [settings_from_preset("language-model", "timemachine-rnn"), smaller, sections]
    )


def load(config: LanguageModelConfig) -> Corpus:
    about = config.corpus
    return load_corpus(
        about.source, cleaning=about.cleaning, max_chars=about.max_chars, split=about.split
    )


# The text


def test_same_text_vocabulary_and_ids(book, text_file):
    whole = load_corpus(str(text_file), cleaning="letters", split=(1, 0, 0))
    assert whole.text("train") == "".join(book.read_time_machine())
    for characters in (-1, 1000, CHARACTERS):
        ids, vocabulary = book.load_corpus_time_machine(characters)
        ours = load_corpus(
            str(text_file), cleaning="letters", max_chars=None if characters < 0 else characters
        )
        assert ours.ids.tolist() == ids
        assert ["<unk>", *ours.vocabulary.characters] == vocabulary.idx_to_token
        assert len(ours.vocabulary) == len(vocabulary)


def test_text_is_as_long_as_the_comparison_needs(text_file):
    assert load(settings(text_file)).characters == CHARACTERS


# The batches


def next_epoch(trainer: Trainer) -> list[Batch]:
    """The batches of a trainer's current epoch; the trainer begins the next epoch."""
    batches = list(trainer.batches)
    trainer.begin_epoch()
    return batches


@samplings
@pytest.mark.parametrize("seed", [0, 1])
def test_same_batches(book, text_file, sampling, seed, tmp_path, monkeypatch):
    config = settings(text_file, training={"sampling": sampling, "seed": seed, "drop_last": True})
    corpus = load(config)
    run = Run.create(tmp_path / "run", config, corpus)
    trainer = open_trainer(run, corpus, CPU)[0]
    # The book draws from Python's generator; here it draws from one with our seed.
    generator = torch.Generator().manual_seed(seed)

    def randint(low: int, high: int) -> int:
        return low + int(torch.randint(high - low + 1, (), generator=generator))

    def shuffle(starts: list[int]) -> None:
        starts[:] = [starts[i] for i in torch.randperm(len(starts), generator=generator)]

    monkeypatch.setattr(book, "random", SimpleNamespace(randint=randint, shuffle=shuffle))
    loader, _ = book.load_data_time_machine(BATCH, STEPS, sampling == "random", CHARACTERS)
    for _ in range(3):
        ours, theirs = next_epoch(trainer), list(loader)
        assert len(ours) == len(theirs) > 0
        for batch, (inputs, targets) in zip(ours, theirs, strict=True):
            assert torch.equal(batch.inputs, inputs.T)
            assert torch.equal(batch.targets, targets.T)


@pytest.mark.parametrize("text_file", ["traveller"], indirect=True)
@samplings
def test_shortest_text_fills_a_batch_from_all_of_the_books_offsets(text_file, sampling, tmp_path):
    highest = STEPS - 1 if sampling == "random" else STEPS
    needed = BATCH * STEPS + 1 + highest

    def trainer(characters: int) -> Trainer:
        limit = {"max_chars": characters}
        config = settings(text_file, corpus=limit, training={"sampling": sampling})
        corpus = load(config)
        run = Run.create(tmp_path / str(characters), config, corpus)
        return open_trainer(run, corpus, CPU)[0]

    shortest = trainer(needed)
    assert all(next_epoch(shortest) for _ in range(50))
    with pytest.raises(CorpusError, match=f"needs {needed:,}"):
        trainer(needed - 1)


# The networks of the book, chapters 8 and 9: parameters in its order, and its equations


def copies(*weights: Tensor) -> list[Tensor]:
    return [weight.detach().clone().requires_grad_() for weight in weights]


def columns(cell: nn.Module, *order: int) -> list[Tensor]:
    """W_x, W_h and b of each gate, the gates in the book's order."""
    parts = [
        weight.split(HIDDEN, dim=-1)
        for weight in (cell.weight_input, cell.weight_hidden, cell.bias)
    ]
    return [part[gate] for gate in order for part in parts]


class Scratch(NamedTuple):
    """A network of the book, as `d2l.RNNModelScratch` takes it."""

    forward: Callable[..., Any]
    gates: tuple[int, ...]  # ours, in the book's order
    states: int

    def build(self, book: ModuleType, model: LanguageModel) -> Any:
        def get_params(vocab_size, num_hiddens, device):
            cell, head = model.stack.layers[0].cell, model.head
            return copies(*columns(cell, *self.gates), head.weight.T, head.bias)

        def init_state(batch_size, num_hiddens, device):
            zeros = (torch.zeros((batch_size, num_hiddens), device=device),)
            return tuple(tensor.clone() for tensor in zeros * self.states)

        return book.RNNModelScratch(
            model.vocabulary_size, HIDDEN, CPU, get_params, init_state, self.forward
        )


class Concise(NamedTuple):
    """A layer of torch in `d2l.RNNModel`."""

    layer: type[nn.RNNBase]

    def build(self, book: ModuleType, model: LanguageModel) -> Any:
        network = self.layer(model.vocabulary_size, HIDDEN)
        net = book.RNNModel(network, model.vocabulary_size)
        network.load_state_dict(model.stack.layers[0].network.state_dict())
        net.linear.load_state_dict(model.head.state_dict())
        return net


NETWORKS = {
    ("scratch", "rnn"): Scratch(rnn, (0,), 1),
    ("scratch", "gru-reset-before"): Scratch(gru, (1, 0, 2), 1),
    ("scratch", "lstm"): Scratch(lstm, (0, 1, 3, 2), 2),
    ("torch", "rnn"): Concise(nn.RNN),
    ("torch", "gru"): Concise(nn.GRU),
    ("torch", "lstm"): Concise(nn.LSTM),
}
CHAPTER_8 = [("scratch", "rnn"), ("torch", "rnn"), ("torch", "gru"), ("torch", "lstm")]


# Training and prediction


def trainings():
    """Each network with one sampling on one text, and the other on the other; the rest is slow."""
    for number, network in enumerate(NETWORKS):
        for sampling, text in itertools.product(("random", "consecutive"), TEXTS):
            if text == "traveller" or network in CHAPTER_8:
                slow = (sampling == "random") ^ (text == "traveller") ^ number % 2
                marks = [pytest.mark.slow] if slow else []
                yield pytest.param(text, *network, sampling, marks=marks)


@pytest.mark.parametrize(
    ("text_file", "backend", "cell", "sampling"), [*trainings()], indirect=["text_file"]
)
def test_same_perplexities_and_predictions(book, text_file, backend, cell, sampling, tmp_path):
    config = settings(
        text_file,
        corpus={"max_chars": TRAINING_CHARACTERS},
        model={"backend": backend, "cell": cell},
        training={"sampling": sampling},
    )
    corpus = load(config)
    run = Run.create(tmp_path / "run", config, corpus)
    twin = open_trainer(run, corpus, CPU)[0]  # the same seed: the same first weights and batches
    net = NETWORKS[backend, cell].build(book, twin.model)
    events = train(run, corpus, device=CPU)
    ours = [event.train for event in events if isinstance(event, Measured)]

    if backend == "scratch":

        def updater(batch_size):
            book.sgd(net.params, 1.0, batch_size)

    else:
        updater = torch.optim.SGD(net.parameters(), lr=1.0)
    theirs = [
        book.train_epoch_ch8(
            net,
            [(batch.inputs.T, batch.targets.T) for batch in next_epoch(twin)],
            nn.CrossEntropyLoss(),
            updater,
            CPU,
            sampling == "random",
        )[0]
        for _ in range(EPOCHS)
    ]
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert len(ours) == EPOCHS
    assert ours[-1] < 0.9 * ours[0]  # something was learned

    model = run.load_model("last")
    assert_same_predictions(book, model, net, corpus, "time traveller")


@pytest.mark.parametrize("text_file", ["traveller"], indirect=True)
@pytest.mark.parametrize(("backend", "cell"), NETWORKS)
def test_same_predictions_of_a_lively_network(book, text_file, backend, cell):
    # After a short training the text is "the the the"; large weights make it varied.
    corpus = load(settings(text_file))
    no_dropout = dict.fromkeys(("weight_dropout", "input_dropout", "output_dropout"), 0.0)
    config = LanguageModelSection(
        cell=cell, backend=backend, hidden_size=HIDDEN, embedding="one-hot", **no_dropout
    )
    model = build_language_model(config, len(corpus.vocabulary))
    recurrent = (
        0.3 if cell == "rnn" else 0.5
    )  # with larger weights, rounding would decide on the text
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=recurrent if "weight_h" in name else 1.0)
        model.head.bias[0] = -100.0  # only the book would choose <unk>
    net = NETWORKS[backend, cell].build(book, model)
    text = corpus.text("train")
    prefixes = [text[start : start + 12] for start in range(0, CHARACTERS, 1000)]
    predictions = [assert_same_predictions(book, model, net, corpus, it) for it in prefixes]
    assert len(set(predictions)) > 5
    assert len(set("".join(predictions))) > 5


def assert_same_predictions(book, model, net, corpus, prefix) -> str:
    _, vocabulary = book.load_corpus_time_machine(CHARACTERS)
    steps = generate(model, corpus.vocabulary.encode(prefix).tolist(), length=50)
    text = prefix + corpus.vocabulary.decode([int(chosen) for chosen in steps])
    assert text == book.predict_ch8(prefix, 50, net, vocabulary, CPU)
    assert len(text) == len(prefix) + 50
    return text[len(prefix) :]
