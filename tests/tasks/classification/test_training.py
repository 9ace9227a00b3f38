"""Training a classifier: what it learns, its batches and its loss, and layers of another run."""

import math

import pytest
import torch

from charlm.errors import RunError, UsageError
from charlm.runs import Run
from charlm.tasks.classification.config import ClassificationConfig
from charlm.tasks.classification.objective import LabelOfText, load_sequences
from charlm.tasks.classification.reviews import load_reviews
from charlm.tasks.classification.scores import class_logits, class_scores

CPU = torch.device("cpu")
STEPS = 8  # of an epoch; the last batch is smaller
NO_DROPOUT = dict.fromkeys(
    ("input_dropout", "dropout", "output_dropout", "weight_dropout", "word_dropout"), 0.0
)
SCRATCH = {"backend": "scratch"}
NETWORKS = {
    "rnn": ({"cell": "rnn", "features": "last", "bidirectional": False}, {"optimiser": "sgd"}),
    "relu": ({"cell": "rnn-relu", "features": "all"}, {"averaging": 0.9}),
    "gru": (
        {"cell": "gru", "features": "mean", "embedding": "one-hot", "ngrams": 1},
        {"optimiser": "rmsprop"},
    ),
    "lstm": (
        {"cell": "lstm", "num_layers": 2, "ngrams": 3, "dense_size": 3},
        {"optimiser": "adam", "precision": "bfloat16"},
    ),
    "padded": (
        {"cell": "lstm", "features": "all", "padding": "before", "skip_padding": False},
        {"optimiser": "rmsprop", "averaging": 0.99},
    ),
    "jordan": ({"cell": "jordan", "features": "max", "standardise": True, **SCRATCH}, {}),
    "peephole": ({"cell": "lstm-peephole", "features": "last", **SCRATCH}, {"optimiser": "adam"}),
}


def score(run, corpus, split):
    logits = class_logits(run.load_model(), load_sequences(corpus, split, CPU))
    return class_scores(logits, corpus.labels(split))


@pytest.mark.parametrize("name", NETWORKS)
def test_classifier_learns_which_words_tell_the_label(new_run, corpus, follow, name):
    model, training = NETWORKS[name]
    lr = 2.0 if training.get("optimiser") == "sgd" else 0.02
    settings = {**training, "epochs": 12, "lr": lr}
    run = new_run(model={**model, **NO_DROPOUT, "hidden_size": 8}, training=settings)
    finished = follow(run, corpus)[-1]
    assert finished.items == 12 * 60
    assert finished.valid == score(run, corpus, "valid").accuracy >= 80
    assert finished.train < 0.5 * math.log(2)
    assert score(run, corpus, "test").accuracy >= 80


def test_three_labels(write_texts, new_run, follow):
    rows = [
        (split, label, f"a {label} film {number}")
        for split in ("train", "valid", "test")
        for number in range(8)
        for label in ("bad", "fair", "good")
    ]
    source = {"corpus": {"source": write_texts("three.jsonl", rows)}}
    corpus = load_reviews(ClassificationConfig.from_settings([source]).corpus)
    run = new_run(corpus, **source, model=NO_DROPOUT, training={"epochs": 20})
    assert follow(run, corpus)[-1].valid == 100
    assert run.load_model().head.out_features == 3


def test_first_loss_is_that_of_equal_probabilities(new_run, corpus, follow):
    """It is the mean over the texts of an epoch, in nats."""
    training = {"epochs": 1, "lr": 1e-30, "precision": "float32"}
    run = new_run(model=NO_DROPOUT, training=training)
    finished = follow(run, corpus)[-1]
    assert finished.train == pytest.approx(math.log(2), abs=0.05)
    torch.manual_seed(run.config.training.seed)
    logits = class_logits(run.new_model(), load_sequences(corpus, "train", CPU))
    expected = class_scores(logits, corpus.labels("train")).loss
    assert finished.train == pytest.approx(expected, rel=1e-5)


def test_epoch_has_each_text_once(corpus, new_run):
    objective = LabelOfText(new_run(), corpus, CPU)
    batches = objective.draw_batches(torch.Generator().manual_seed(0))
    assert len(batches) == STEPS
    assert sorted(torch.cat(batches).tolist()) == list(range(60))


def test_last_weights_are_the_best_without_a_validation_split(
    write_texts, texts, new_run, corpus, follow, checkpoint_content
):
    """The validation split changes no weight."""
    rows = [row for row in texts if row[0] != "valid"]
    sections = {"corpus": {"source": write_texts("other.jsonl", rows), "valid": 0}}
    alone = load_reviews(ClassificationConfig.from_settings([sections]).corpus)
    assert alone.split_sizes == (60, 0, 20)
    run, validated = new_run(alone, **sections, training={"patience": 1}), new_run()
    finished = follow(run, alone)[-1]
    assert (finished.valid, finished.epochs) == (None, 3)
    follow(validated, corpus)
    found, expected = checkpoint_content(run), checkpoint_content(validated)
    assert found["best.safetensors"] == found["last.safetensors"] == expected["last.safetensors"]


def test_class_weights(write_texts, new_run, follow):
    """Each text's loss is multiplied by the weight of its label; scores are not."""
    rows = [("train", "good", "a b"), *[("train", "bad", f"c {n}") for n in range(3)]]
    rows += [("valid", "good", "a"), ("test", "fair", "d")]
    source = {"corpus": {"source": write_texts("few.jsonl", rows)}}
    corpus = load_reviews(ClassificationConfig.from_settings([source]).corpus)
    assert corpus.class_weights("balanced") == {"bad": 2 / 3, "fair": 0, "good": 2}
    model = new_run(corpus, **source).new_model().eval()
    losses = {}
    for wanted in (None, "bad=1,good=1", "balanced", "good=3"):
        run = new_run(corpus, **source, training={"class_weights": wanted})
        objective = LabelOfText(run, corpus, CPU)
        losses[wanted] = [
            objective.loss(model, torch.tensor(batch), None)[0].item()
            for batch in ([0], [1], [0, 1, 2, 3])
        ]
        assert objective.loss(model, torch.arange(4), None)[1] == 4
    good, bad, everything = losses[None]
    assert losses["bad=1,good=1"] == [good, bad, everything]
    assert losses["good=3"] == pytest.approx([3 * good, bad, everything + 2 * good])
    expected = [2 * good, bad * 2 / 3, 2 * good + (everything - good) * 2 / 3]
    assert losses["balanced"] == pytest.approx(expected)
    runs = [new_run(corpus, **source, training={"class_weights": w}) for w in (None, "bad=1")]
    finished = [follow(run, corpus)[-1] for run in runs]
    assert finished[0].train == finished[1].train
    assert finished[0].valid == finished[1].valid


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("good", "training.class_weights is 'good'"),
        ("", "training.class_weights is ''"),
        ("good=2,bad", "training.class_weights is 'good=2,bad'"),
        ("god=2", "unknown label in training.class_weights: 'god'"),
        ("good=two", "training.class_weights has 'two' for 'good'"),
        *((f"good={n}", f"training.class_weights has '{n}'") for n in ("-1", "0", "nan", "inf")),
    ],
)
def test_class_weights_that_are_none(corpus, wanted, message):
    with pytest.raises(UsageError, match=message) as caught:
        corpus.class_weights(wanted)
    assert caught.value.hint


def test_class_weights_of_labels_with_commas(write_texts):
    rows = [("train", label, "a") for label in ("yes, it is", "a=b")] * 2
    source = {"corpus": {"source": write_texts("odd.jsonl", rows)}}
    corpus = load_reviews(ClassificationConfig.from_settings([source]).corpus)
    found = corpus.class_weights("yes, it is=2,a=b=0.5")
    assert found == {"yes, it is": 2, "a=b": 0.5}


# From a language model


def layers_of(model):
    names = ("embedding.", "stack.", "ngrams.", "source_ngrams.")
    return [each for name, each in model.named_parameters() if name.startswith(names)]


@pytest.mark.parametrize("freeze", [False, True], ids=["fine-tuned", "frozen"])
def test_layers_come_from_the_language_model(language_model, from_run, follow, freeze):
    source = language_model(num_layers=2, ngram_order=3, ngram_rows=40)
    run, corpus = from_run(source, model={"freeze": freeze})
    expected = layers_of(source.load_model())
    first = layers_of(run.first_model())
    assert len(first) == 1 + 2 * 4 + 1
    assert all(map(torch.equal, first, expected))
    assert {each.requires_grad for each in first} == {not freeze}
    started, *_ = follow(run, corpus)
    model = Run.open(run.folder).load_model("last")
    assert [*map(torch.equal, layers_of(model), expected)] == [freeze] * len(expected)
    head = 2 * 4 + 1  # mean and maximum of four units
    everything = sum(parameter.numel() for parameter in model.parameters())
    assert started.parameters == (head if freeze else everything)
    assert Run.open(run.folder).training["parameters"] == started.parameters


@pytest.mark.parametrize("freeze", [False, True], ids=["fine-tuned", "frozen"])
def test_training_resumes_without_the_language_model(
    tmp_path, language_model, from_run, follow, checkpoint_content, freeze
):
    source = language_model(ngram_order=3, ngram_rows=40)
    sections = {"model": {"freeze": freeze}, "training": {"averaging": 0.9}}
    run, corpus = from_run(source, **{key: dict(value) for key, value in sections.items()})
    follow(run, corpus)
    expected = checkpoint_content(run)
    run.folder.rename(tmp_path / "undisturbed")
    run, corpus = from_run(source, **sections)
    follow(run, corpus, stop_after=STEPS + 3)
    source.folder.rename(tmp_path / "gone")
    opened = Run.open(run.folder)
    again = opened.load_corpus()
    assert again.vocabulary == corpus.vocabulary
    follow(opened, again)
    assert checkpoint_content(run) == expected


def test_first_step_needs_the_language_model(tmp_path, language_model, from_run, follow):
    source = language_model()
    run, corpus = from_run(source)
    source.folder.rename(tmp_path / "gone")
    with pytest.raises(RunError, match="lm is not a run folder"):
        follow(run, corpus)


def test_other_layers_than_the_language_models_are_refused(language_model, from_run, follow):
    run, corpus = from_run(language_model(), model={"hidden_size": 5})
    with pytest.raises(UsageError, match="not those of the run"):
        follow(run, corpus)
