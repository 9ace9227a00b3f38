"""Tagged sentences about places, and runs of taggers on them."""

import itertools
import random

import pytest

from charlm.runs import Run
from charlm.tasks.tagging.config import TaggingConfig
from charlm.tasks.tagging.slots import load_slots

SETTINGS = {
    "corpus": {"buckets": 30, "min_count": 1},
    "model": {"hidden_size": 6, "embedding_size": 5},
    "training": {"epochs": 3, "batch_size": 10, "lr": 0.02},
}


@pytest.fixture
def sentences():
    """A function that draws sentences: the places after "from" and after "to" differ in kind."""

    def draw(count, seed=0):
        generator, rows = random.Random(seed), []
        for _ in range(count):
            words, tags = [], []
            for word in generator.choice((("from", "to"), ("to", "from"), ("to",))):
                kinds = (("Boston",), ("new", "york"), ("Dallas",), ("san", "jose", "9"))
                places = generator.choice(kinds)
                words += [word, *places]
                tags += ["O", f"B-{word}", *(f"I-{word}" for _ in places[1:])]
            rows.append(f"{' '.join(words)}|{' '.join(tags)}")
        return rows

    return draw


@pytest.fixture
def load():
    """A function that reads tagged sentences with the small settings."""

    def load(folder, **settings):
        layer = {"corpus": {"source": str(folder), **settings}}
        return load_slots(TaggingConfig.from_settings([SETTINGS, layer]).corpus)

    return load


@pytest.fixture
def corpus(tmp_path, write_tagged, sentences, load):
    splits = {"train": sentences(37), "valid": sentences(9, 1), "test": sentences(5, 2)}
    return load(write_tagged(tmp_path / "data", **splits))


@pytest.fixture
def new_run(tmp_path, corpus):
    """A function that makes a run; it takes sections of settings."""
    number = itertools.count()

    def make(data=corpus, **sections):
        source = {"corpus": {"source": data.source}}
        config = TaggingConfig.from_settings([SETTINGS, source, sections])
        return Run.create(tmp_path / f"run{next(number)}", config, data)

    return make
