"""``charlm train --from-run``: a language model that starts with the weights of another one."""

from __future__ import annotations

import pytest
import torch

from charlm.errors import RunError, UsageError
from charlm.runs import Run
from charlm.tasks import CLASSIFICATION, LANGUAGE_MODEL
from charlm.training import Measured, Started

OLD = "The lazy dog sleeps; the quick fox jumps. " * 8
NEW = "Zwei lazy hogs? The quick fox & the dog sleep! " * 6
NETWORKS = {
    "one-hot": {"embedding": "one-hot"},
    "one-hot, scratch": {"embedding": "one-hot", "backend": "scratch", "cell": "gru-reset-before"},
    "one-hot, two layers": {"embedding": "one-hot", "num_layers": 2, "weight_dropout": 0.3},
    "learned": {"embedding": "learned", "embedding_size": 3, "weight_dropout": 0.3},
    "tied": {"embedding": "tied", "cell": "rnn"},
    "jordan": {"embedding": "learned", "backend": "scratch", "cell": "jordan"},
}
TRAINING = {
    **{"batch_size": 3, "seq_len": 10, "epochs": 2, "lr": 0.05, "sample_length": 1},
    **{"device": "cpu", "prefixes": ("the",), "sample_every": 9},
}


@pytest.fixture
def texts(tmp_path):
    for name, text in (("old", OLD), ("new", NEW)):
        (tmp_path / f"{name}.txt").write_text(text, "utf-8")
    return tmp_path


def planned(texts, name, **sections):
    corpus = {"source": str(texts / f"{name}.txt"), "split": (0.8, 0.2, 0.0)}
    sections["corpus"] = {**corpus, **sections.pop("corpus", {})}
    if "from_run" not in sections.get("model", {}):  # without n-grams unless a test is about them
        sections["model"] = {"ngram_order": 1, **sections.pop("model", {})}
    return LANGUAGE_MODEL.plan([{"training": TRAINING}, sections], None, progress=False)


@pytest.fixture
def train(texts, follow):
    """A function that trains a run and returns it, with its events."""

    def trained(name, folder, *, stop_after=None, **sections):
        plan = planned(texts, name, **sections)
        run = Run.create(texts / folder, plan.config, plan.corpus)
        return run, follow(run, plan.corpus, stop_after)

    return trained


@pytest.fixture
def source(train):
    run, _ = train("old", "source", model={"hidden_size": 5})
    return run


def logits(model, vocabulary, text):
    ids = torch.from_numpy(vocabulary.encode(text)).unsqueeze(1)
    return model(ids, model.initial_state(1))[0].squeeze(1)  # (T, V)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_known_characters_keep_their_weights(texts, train, network):
    """On a text of known characters, their logits and that of <unk> are the old model's."""
    source, _ = train("old", "source", model={"hidden_size": 5, **network})
    # The dropout may differ, and with it the names of the weights.
    dropout = {"weight_dropout": 0.0 if network.get("weight_dropout") else 0.5}
    plan = planned(texts, "new", model={"from_run": str(source.folder), **dropout})
    run = Run.create(texts / "run", plan.config, plan.corpus)
    old = source.load_model()
    torch.manual_seed(1)
    new = run.first_model().eval()
    torch.manual_seed(1)
    fresh = run.new_model().eval()
    known = "".join(c for c in run.vocabulary.characters if c in source.vocabulary.characters)
    assert 10 < len(known) < len(run.vocabulary.characters)
    with torch.no_grad():
        before, after = (
            logits(model, vocabulary, known)[:, [0, *vocabulary.encode(known)]]
            for model, vocabulary in ((old, source.vocabulary), (new, run.vocabulary))
        )
    assert torch.equal(before, after)
    new_ids = run.vocabulary.encode("Zw&!")
    assert torch.equal(new.head.weight[new_ids], fresh.head.weight[new_ids])
    assert torch.equal(new.head.bias[new_ids], fresh.head.bias[new_ids])
    if new.embedding is not None:
        assert torch.equal(new.embedding.weight[new_ids], fresh.embedding.weight[new_ids])
    assert (new.embedding is not None and new.head.weight is new.embedding.weight) == (
        network["embedding"] == "tied"
    )


def test_n_grams_are_copied_where_the_characters_have_the_same_ids(texts, train):
    """A row of a table belongs to a hash of ids. Other weights are copied as in any network."""
    network = {"hidden_size": 5, "embedding_size": 3, "ngram_order": 3, "ngram_rows": 40}
    source, _ = train("old", "source", model=network)
    table = source.load_model().ngrams.table
    assert table.any()
    (texts / "old and more.txt").write_text(OLD + 3 * "~", "utf-8")  # the last character by its id
    for name, same in (("old", True), ("old and more", True), ("new", False)):
        plan = planned(texts, name, model={"from_run": str(source.folder)})
        model = Run.create(texts / f"run on {name}", plan.config, plan.corpus).first_model()
        assert torch.equal(model.ngrams.table, table if same else torch.zeros_like(table))
        assert torch.equal(model.head.weight[0], source.load_model().head.weight[0])
        assert any("the n-grams start at zero" in line for line in plan.corpus.notices) == (
            not same
        )
    run, _ = train("new", "trained", model={"from_run": str(source.folder), "freeze": True})
    assert Run.open(run.folder).load_model("last").ngrams.table.any()  # it learns, as the embedding


def test_network_and_cleaning_come_from_the_run(texts, train):
    network = {"cell": "gru", "hidden_size": 6, "num_layers": 2, "embedding_size": 4}
    source, _ = train("old", "source", model=network, corpus={"cleaning": "letters"})
    given = {"from_run": str(source.folder), "hidden_size": 6, "output_dropout": 0.25}
    plan = planned(texts, "new", model=given)
    model = plan.config.model
    assert {key: getattr(model, key) for key in network} == network
    assert (model.output_dropout, plan.corpus.cleaning) == (0.25, "letters")
    other = planned(texts, "new", model=given, corpus={"cleaning": "none"})
    assert other.corpus.cleaning == "none"
    knows, new, dropped = other.corpus.notices
    known = set(NEW) & set(source.vocabulary.characters)
    assert f"it knows {len(known)} of the {len(set(NEW))} characters" in knows
    assert new == "new characters, with new weights: 'Z' 'w' '?' 'T' '&' '!'"
    assert dropped == "dropped, because this text lacks them: 'j' 'm'"


def test_long_lists_of_characters_are_shortened(texts, source):
    (texts / "new.txt").write_text("".join(map(chr, range(0x4E00, 0x4E00 + 300))), "utf-8")
    plan = planned(texts, "new", model={"from_run": str(source.folder)})
    knows, new, _ = plan.corpus.notices
    assert "it knows 0 of the 300 characters" in knows
    assert new.endswith(" and 280 more")
    assert len(new) < 200


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("cell", "gru"), ("backend", "scratch"), ("hidden_size", 6), ("num_layers", 2)),
        *(("embedding", "tied"), ("embedding_size", 4), ("ngram_order", 3)),
        ("residual", True),
    ],
)
def test_another_network_is_refused(texts, source, one_line, key, value):
    with pytest.raises(UsageError) as caught:
        planned(texts, "new", model={"from_run": str(source.folder), key: value})
    assert one_line(caught.value).startswith(f"model.{key} is ")
    assert one_line(caught.value).endswith(f" in {source.folder}, not {value}")
    same = {"hidden_size": 5, "embedding_size": 5, "cell": "lstm"}
    assert planned(texts, "new", model={"from_run": str(source.folder), **same})


def test_layers_of_other_sizes_are_refused(texts, source):
    """Without the task's plan, which takes the sizes from the run."""
    plan = planned(texts, "new", model={"hidden_size": 6})
    run = Run.create(texts / "run", plan.config, plan.corpus)
    given = {"model": {"from_run": str(source.folder)}}
    config = run.config.from_settings([run.config.to_dict(), given])
    with pytest.raises(UsageError, match="not those of the run"):
        LANGUAGE_MODEL.first_model(config, run.vocabulary)


def test_first_score_is_that_of_the_other_model(train, source):
    """Trained further on the same text; the first report comes before the first step."""
    run, events = train("old", "run", model={"from_run": str(source.folder)})
    first = next(event for event in events if isinstance(event, Measured))
    assert (first.epoch, first.step, first.train) == (0, 0, None)
    assert first.valid == source.training["progress"]["best_valid"]
    opened = Run.open(run.folder)
    assert opened.metrics[0]["valid_perplexity"] == first.valid
    assert opened.metrics[0]["gradient_norm"] is None


def test_best_weights_may_be_those_of_the_start(train, source):
    run, _ = train(
        "old", "run", model={"from_run": str(source.folder)}, training={"lr": 10.0, "warmup": 0.0}
    )
    opened = Run.open(run.folder)
    assert opened.training["progress"]["best_valid"] == opened.metrics[0]["valid_perplexity"]
    ours, theirs = opened.read_weights("best"), source.read_weights("best")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("embedding", ["tied", "one-hot"])
def test_frozen_layers_do_not_change(texts, train, embedding):
    source, _ = train("old", "source", model={"hidden_size": 5, "embedding": embedding})
    model = {"from_run": str(source.folder), "freeze": True}
    warnings = planned(texts, "new", model=model).warnings
    assert any("new characters keep random weights" in line for line in warnings) == (
        embedding == "one-hot"
    )
    run, events = train("new", "run", model=model)
    torch.manual_seed(run.config.training.seed)
    before, after = run.first_model(), Run.open(run.folder).load_model("last")
    pairs = zip(before.stack.parameters(), after.stack.parameters(), strict=True)
    assert all(torch.equal(old, new) for old, new in pairs)
    assert not torch.equal(before.head.weight, after.head.weight)
    started = next(event for event in events if isinstance(event, Started))
    frozen = sum(each.numel() for each in after.stack.parameters())
    assert started.parameters == sum(each.numel() for each in after.parameters()) - frozen


@pytest.mark.parametrize(("freeze", "stop_after"), [(False, 0), (True, 9)])
def test_resumes_without_the_other_run(
    texts, train, follow, source, checkpoint_content, freeze, stop_after
):
    """Also before the first step: the weights are saved at the start."""
    sections = {"model": {"from_run": str(source.folder), "freeze": freeze}}
    expected, _ = train("new", "undisturbed", **sections)
    run, events = train("new", "run", stop_after=stop_after, **sections)
    assert events[-1].interrupted
    source.folder.rename(texts / "gone")
    opened = Run.open(run.folder)
    follow(opened, opened.load_corpus())
    assert checkpoint_content(run) == checkpoint_content(expected)


def test_no_validation_split(train, source):
    run, events = train(
        "new", "run", model={"from_run": str(source.folder)}, corpus={"split": (1.0, 0.0, 0.0)}
    )
    assert all(event.step > 0 for event in events if isinstance(event, Measured))
    assert Run.open(run.folder).metrics


def test_a_run_of_another_task_is_refused(texts, one_line):
    data = texts / "labelled.csv"
    data.write_text("text,label\n" + "good,1\nbad,0\n" * 20)
    settings = {"corpus": {"source": str(data)}, "model": {"hidden_size": 2, "buckets": 2}}
    plan = CLASSIFICATION.plan([settings], None, progress=False)
    run = Run.create(texts / "classifier", plan.config, plan.corpus)
    with pytest.raises(RunError, match="is a run of charlm classify train, not of a language"):
        planned(texts, "new", model={"from_run": str(run.folder)})


def test_a_run_without_weights_is_refused(texts, one_line):
    plan = planned(texts, "old", model={"hidden_size": 5})
    run = Run.create(texts / "untrained", plan.config, plan.corpus)
    with pytest.raises(RunError, match="has no checkpoint yet") as caught:
        planned(texts, "new", model={"from_run": str(run.folder)})
    one_line(caught.value)
