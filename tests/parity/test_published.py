"""Published results and the result of the default settings, from new trainings; all slow."""

import json
import subprocess
import sys

import pytest

from charlm.task import preset

pytestmark = pytest.mark.slow

KNESER_NEY = 4.15  # modified, order 6, on the same validation split


@pytest.fixture
def train(corpora, tmp_path):
    """Runs ``charlm train`` in an empty folder and gives its summary."""

    def trained(*options, task=()):
        command = [sys.executable, "-m", "charlm", *task, "train", "--device", "cpu", *options]
        command += ["--corpora-dir", str(corpora), "--json", "--quiet"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return trained


@pytest.mark.parametrize(
    ("name", "file"),
    [("jaychou-consecutive", "jaychou_lyrics.txt.zip"), ("timemachine-rnn", "timemachine.txt")],
)
def test_a_preset_reaches_its_published_perplexity(real_corpus, train, name, file):
    real_corpus(file)
    result = train("--preset", name, "--seed", "0")
    assert result["valid_perplexity"] is None
    assert result["train_perplexity"] <= preset("language-model", name)["published"]["at_most"]


def test_slots_reach_their_published_f1(real_corpus, train):
    real_corpus("atis/test/seq.out")
    result = train("--preset", "atis-elman", task=["tag"])
    assert result["test_f1"] >= preset("tag", "atis-elman")["published"]["at_least"]


def test_reviews_reach_their_published_accuracy(real_corpus, train):
    options = ("--preset", "imdb-simple-rnn", "--data", str(real_corpus("aclImdb.tar.gz")))
    result = train(*options, task=["classify"])
    assert result["test_accuracy"] >= preset("classify", "imdb-simple-rnn")["published"]["at_least"]


def test_the_default_settings_beat_the_n_gram_on_the_time_machine(real_corpus, train):
    """By epochs, not minutes, so that a busy machine does not change the result."""
    real_corpus("timemachine.txt")
    result = train("--corpus", "timemachine", "--epochs", "50")
    assert result["valid_perplexity"] <= KNESER_NEY
    assert len(result["samples"]) == 2
