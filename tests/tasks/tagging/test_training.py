"""Training a tagger: what it learns, its loss and its batches."""

import pytest
import torch
import torch.nn.functional as F

from charlm.runs import Run
from charlm.tasks.tagging.objective import TagOfWord
from charlm.tasks.tagging.scores import Sentences, predict_tags, tags_of, words_of
from charlm.tasks.tagging.spans import score_spans
from charlm.training import Stepped

CPU = torch.device("cpu")
EPOCH = 4  # batches
NO_DROPOUT = dict.fromkeys(
    ("input_dropout", "dropout", "output_dropout", "weight_dropout", "word_dropout"), 0.0
)


def f1(run, corpus, split):
    """The F1 of the best weights, with one sentence in a batch."""
    rows = corpus.data.splits[split]
    read = Sentences(words_of(rows), run.vocabulary, run.config.corpus, CPU)
    found = predict_tags(run.load_model(), read, run.vocabulary.tags, rows=1)
    return score_spans(tags_of(rows), found).overall.f1


@pytest.mark.parametrize(
    ("cell", "backend", "more"),
    [
        ("lstm", "torch", {}),
        ("rnn", "torch", {"bidirectional": False, "window": 2}),
        ("jordan", "scratch", {"bidirectional": False, "window": 1}),
        ("gru", "scratch", {"num_layers": 2}),
    ],
)
def test_tagger_learns(new_run, corpus, follow, cell, backend, more):
    model = {**NO_DROPOUT, "cell": cell, "backend": backend, "hidden_size": 16, **more}
    run = new_run(model=model, training={"epochs": 15, "lr": 0.03})
    finished = follow(run, corpus)[-1]
    assert finished.valid == f1(run, corpus, "valid") > 90
    assert finished.train < 0.5
    assert f1(run, corpus, "test") > 80
    assert f1(run, corpus, "train") > 80


def test_loss_is_the_mean_over_words(new_run, corpus):
    """The loss on a padded batch is the sum of the losses on its sentences."""
    run = new_run()
    objective = TagOfWord(run, corpus, CPU)
    model = run.new_model().double().eval()
    for rows in ([0, 1, 2], [5], [36, 3]):
        nats, count, state = objective.loss(model, torch.tensor(rows), None)
        expected, words = 0.0, 0
        for row in rows:
            sentence = corpus.data.splits["train"][row]
            logits = model(objective.train.inputs(torch.tensor([row])))[:, 0]
            targets = torch.tensor(run.vocabulary.encode_tags(sentence.tags))
            expected += F.cross_entropy(logits, targets, reduction="sum").item()
            words += len(sentence.words)
        assert nats.item() == pytest.approx(expected, rel=1e-6)
        assert (count, state) == (words, None)


def test_epoch_has_each_sentence_once(new_run, corpus):
    objective = TagOfWord(new_run(), corpus, CPU)
    generator = torch.Generator().manual_seed(3)
    orders = []
    for _ in range(2):
        batches = objective.draw_batches(generator)
        assert len(batches) == EPOCH
        orders.append(torch.cat(batches).tolist())
        assert sorted(orders[-1]) == list(range(37))
    assert orders[0] != orders[1]


def test_validation_split_changes_no_weight(
    new_run, corpus, tmp_path, write_tagged, sentences, load, follow, checkpoint_content
):
    splits = {"train": sentences(37), "valid": sentences(4, 99)}
    other = load(write_tagged(tmp_path / "other", **splits))
    assert other.vocabulary == corpus.vocabulary
    runs = new_run(), new_run(other)
    follow(runs[0], corpus)
    follow(runs[1], other)
    first, second = map(checkpoint_content, runs)
    assert first["last.safetensors"] == second["last.safetensors"]
    assert first["training"]["progress"]["items"] == second["training"]["progress"]["items"]


@pytest.mark.parametrize(
    "settings",
    [{"ngrams": []}, {"ngrams": [], "shapes": True}, {"min_count": 100}, {"buckets": 1}],
)
def test_parts_of_words(new_run, corpus, load, follow, settings):
    other = load(corpus.source, **settings)
    run = new_run(other, corpus={"source": corpus.source, **settings})
    assert follow(run, other)[-1].epochs == 3
    assert Run.open(run.folder).load_model().eval()


def test_tags_of_the_test_split_alone_count_as_errors(
    new_run, tmp_path, write_tagged, sentences, load, follow
):
    test = [row.replace("B-to", "B-new") for row in sentences(5, 2)]
    splits = {"train": sentences(37), "valid": sentences(9, 1), "test": test}
    corpus = load(write_tagged(tmp_path / "more", **splits))
    assert "B-new" not in corpus.vocabulary.tags
    run = new_run(corpus)
    follow(run, corpus, stop_after=1)
    gold = sum(tag.startswith("B-") for row in corpus.data.splits["test"] for tag in row.tags)
    unseen = sum(tag == "B-new" for row in corpus.data.splits["test"] for tag in row.tags)
    assert 0 < unseen < gold
    best_possible = 200 * (gold - unseen) / gold
    assert f1(run, corpus, "test") < best_possible


def test_sentences_of_one_word_in_batches_of_one(new_run, tmp_path, write_tagged, load, follow):
    rows = ["boston|B-place", "now|O"]
    corpus = load(write_tagged(tmp_path / "single", train=rows, valid=rows))
    run = new_run(corpus, model={"window": 3}, training={"batch_size": 1})
    events = follow(run, corpus)
    assert sum(isinstance(event, Stepped) for event in events) == 6
    assert 0 <= events[-1].valid <= 100


@pytest.mark.cuda
def test_cuda_and_cpu_predict_the_same(new_run, corpus, follow):
    run = new_run(model=NO_DROPOUT, training={"epochs": 15, "lr": 0.03})
    assert follow(run, corpus, device="cuda")[-1].valid > 90
    model, rows = run.load_model(), corpus.data.splits["test"]
    found = []
    for device in (CPU, torch.device("cuda")):
        read = Sentences(words_of(rows), run.vocabulary, run.config.corpus, device)
        found.append(predict_tags(model.to(device), read, run.vocabulary.tags))
    assert found[0] == found[1]
