"""Layers of settings, what is refused and how it is said, and the presets."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import types
import typing
from pathlib import Path

import pytest

from charlm.config import (
    Config,
    CorpusConfig,
    LanguageTrainingConfig,
    ModelConfig,
    layer_for_text,
    layer_from_preset,
    layer_from_toml,
    preset,
    preset_names,
)
from charlm.errors import UsageError, shown

# What a field of text may hold is fixed for these alone; the others are checked where they are
# used: the loader knows the corpora, cleanings and encodings, torch the devices.
FREE_TEXT = {"corpus.source", "corpus.cleaning", "corpus.encoding", "training.device"}


def refused(*layers) -> UsageError:
    """The error that ``layers`` cause: a line, and a line of advice at most."""
    with pytest.raises(UsageError) as caught:
        Config.from_layers(layers)
    for line in (caught.value.message, caught.value.hint or "-"):
        assert line
        assert "\n" not in line
    assert caught.value.exit_code == 2
    return caught.value


def set_(*assignments: str) -> Config:
    return Config.from_layers([Config.layer_from_assignments(assignments)])


def kinds(section: str, key: str) -> set:
    """The types of a field: {int, NoneType} for ``int | None``."""
    hint = typing.get_type_hints(Config.sections()[section])[key]
    return set(typing.get_args(hint)) if isinstance(hint, types.UnionType) else {hint}


FIELDS = [
    (section, field.name)
    for section, cls in Config.sections().items()
    for field in dataclasses.fields(cls)
]
NUMBERS = [(section, key) for section, key in FIELDS if kinds(section, key) & {int, float}]
FLOATS = [(section, key) for section, key in FIELDS if float in kinds(section, key)]
CHOICES = [
    (section, key)
    for section, key in FIELDS
    if f"{section}.{key}" not in FREE_TEXT
    and any(
        kind is str or typing.get_origin(kind) is typing.Literal for kind in kinds(section, key)
    )
]


# Layers


def test_the_defaults_are_valid():
    config = Config()
    assert config == Config.from_layers([]) == Config.from_layers([{}, {"model": {}}])
    assert config.corpus.source == "traveller"
    assert config.training.epochs > 0
    assert config.training.minutes > 0


def test_later_layers_win_key_by_key():
    config = Config.from_layers(
        [
            {"model": {"cell": "gru", "hidden_size": 5}, "training": {"lr": 0.1}},
            {"model": {"hidden_size": 6}, "corpus": {"source": "a.txt"}},
            {"training": {"seed": 7}, "model": {"num_layers": 2}},
        ]
    )
    assert config.model == ModelConfig(cell="gru", hidden_size=6, num_layers=2)
    assert config.training == LanguageTrainingConfig(lr=0.1, seed=7)
    assert config.corpus == CorpusConfig(source="a.txt")


def test_layers_are_not_changed():
    layers = [{"training": {"epochs": 3}}, {"training": {"minutes": 2.0}}]
    Config.from_layers(layers)
    assert layers == [{"training": {"epochs": 3}}, {"training": {"minutes": 2.0}}]


def test_a_configuration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().model.hidden_size = 3


@pytest.mark.parametrize(
    ("layers", "ends"),
    [
        ([], (40, 1.6)),
        ([{"epochs": 3}], (3, None)),
        ([{"minutes": 2}], (None, 2.0)),
        ([{"minutes": 2}, {"epochs": 3}], (3, None)),
        ([{"epochs": 3}, {"minutes": 2}], (None, 2.0)),
        ([{"epochs": 3}, {"minutes": 2}, {"epochs": "4"}], (4, None)),
        ([{"epochs": 3}, {"lr": 1.0}], (3, None)),
        ([{"epochs": 3}, {"epochs": None, "minutes": 2}], (None, 2.0)),
        ([{"minutes": 2}, {"epochs": 3, "minutes": "none"}], (3, None)),
        ([{"epochs": "none"}], (None, 1.6)),
        ([{"epochs": 3, "minutes": 2}], (3, 2.0)),
        ([{"epochs": 5}, {"epochs": 3, "minutes": 2}], (3, 2.0)),
        ([{"epochs": 3}, {"minutes": None}], (3, None)),
    ],
)
def test_epochs_and_minutes_are_one_choice(layers, ends):
    config = Config.from_layers([{"training": layer} for layer in layers])
    assert (config.training.epochs, config.training.minutes) == ends


def test_training_without_an_end_is_refused():
    layer = {"epochs": None, "minutes": None}
    assert "give one of them" in refused({"training": layer}).message
    assert "give one of them" in refused({"training": {"epochs": 5}}, {"training": layer}).message


def test_unknown_names_tell_the_nearest():
    section = refused({"trainig": {"lr": 1.0}})
    assert section.message == "unknown section: 'trainig'"
    assert section.hint == "did you mean training?"
    key = refused({"model": {"hiden_size": 3}})
    assert key.message == "unknown key of [model]: 'hiden_size'"
    assert key.hint == "did you mean hidden_size?"
    elsewhere = refused({"model": {"qqq": 3}})
    assert elsewhere.hint.startswith("known: backend, cell, dropout")


@pytest.mark.parametrize("value", [3, "lr", None, [1]])
def test_a_section_is_no_value(value):
    assert refused({"training": value}).message.startswith("training is a section")


# Types


@pytest.mark.parametrize(
    ("section", "key", "value", "noun"),
    [
        ("training", "epochs", "many", "a whole number"),
        ("training", "epochs", 2.5, "a whole number"),
        ("training", "epochs", 3.0, "a whole number"),
        ("training", "epochs", "3.0", "a whole number"),
        ("training", "epochs", True, "a whole number"),
        ("training", "seed", None, "a whole number"),
        ("training", "seed", "none", "a whole number"),
        ("training", "lr", "x", "a number"),
        ("training", "lr", False, "a number"),
        ("training", "lr", [1.0], "a number"),
        ("training", "lr", 10**400, "a number"),
        ("training", "drop_last", 1, "true or false"),
        ("training", "drop_last", "yes", "true or false"),
        ("training", "drop_last", None, "true or false"),
        ("training", "prefixes", 3, "a list"),
        ("training", "prefixes", {"a": 1}, "a list"),
        ("training", "prefixes", [1, 2], "a list"),
        ("model", "cell", 3, "text"),
        ("model", "cell", True, "text"),
        ("corpus", "source", ["a", "b"], "text"),
        ("corpus", "vocabulary_from", 3, "text"),
        ("corpus", "cleaning", 3, "text"),
        ("corpus", "split", "0.8,a,0.1", "a list"),
        ("corpus", "split", [True, 0, 0], "a list"),
        ("corpus", "split", 0.8, "a list"),
    ],
)
def test_a_wrong_type_is_named(section, key, value, noun):
    message = refused({section: {key: value}}).message
    assert message == f"{section}.{key} is {shown(value)}; it must be {noun}"


@pytest.mark.parametrize(
    ("section", "key", "value", "wanted"),
    [
        ("training", "lr", 1, 1.0),
        ("training", "lr", "1e-3", 0.001),
        ("training", "epochs", "12", 12),
        ("training", "drop_last", True, True),
        ("training", "drop_last", "True", True),
        ("training", "drop_last", "false", False),
        ("training", "prefixes", [], ()),
        ("training", "prefixes", ["分开", "a, b"], ("分开", "a, b")),
        ("training", "prefixes", "分开,不分开", ("分开", "不分开")),
        ("corpus", "split", [0.8, 0.1, 0.1], (0.8, 0.1, 0.1)),
        ("corpus", "split", (80, 10, 10), (80.0, 10.0, 10.0)),
        ("corpus", "split", "0.8,0.1,0.1", (0.8, 0.1, 0.1)),
        ("corpus", "split", "0.8, 0.1, 0.1", (0.8, 0.1, 0.1)),
        ("corpus", "split", "none", None),
        ("corpus", "max_chars", "none", None),
        ("corpus", "max_chars", None, None),
        ("corpus", "encoding", "none", None),
        ("corpus", "cleaning", "none", "none"),
        ("corpus", "cleaning", None, None),
        ("corpus", "cleaning", "letters", "letters"),
        ("corpus", "vocabulary_from", "kept", "kept"),
        ("model", "embedding_size", "none", None),
        ("training", "sample_every", "none", None),
    ],
)
def test_values_become_what_the_field_holds(section, key, value, wanted):
    config = Config.from_layers([{section: {key: value}}])
    got = getattr(getattr(config, section), key)
    assert got == wanted
    assert type(got) is type(wanted)
    if isinstance(got, tuple):
        assert [type(part) for part in got] == [type(part) for part in wanted]


# Ranges


def test_the_fields_are_found():
    """Else the tests below would pass over nothing."""
    assert ("training", "epochs") in NUMBERS
    assert ("corpus", "max_chars") in NUMBERS
    assert ("model", "dropout") in FLOATS
    assert ("corpus", "vocabulary_from") in CHOICES
    assert ("training", "optimiser") in CHOICES


@pytest.mark.parametrize(("section", "key"), NUMBERS)
def test_no_number_may_be_negative(section, key):
    message = refused({"model": {"embedding": "learned"}}, {section: {key: -1}}).message
    assert message.startswith(f"{section}.{key} is -1")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("section", "key"), FLOATS)
def test_every_number_is_finite(section, key, value):
    assert refused({section: {key: value}}).message.startswith(f"{section}.{key} is {value}")


@pytest.mark.parametrize(("section", "key"), CHOICES)
@pytest.mark.parametrize("value", ["", "nonsense", "LSTM", "a\nb"])
def test_every_choice_is_checked_and_told(section, key, value):
    message = refused({section: {key: value}}).message
    assert message.startswith(f"{section}.{key} is {value!r}; it can be ")


@pytest.mark.parametrize(
    ("assignment", "allowed"),
    [
        ("corpus.max_chars=0", "more than 0"),
        ("hidden_size=0", "more than 0"),
        ("num_layers=0", "more than 0"),
        ("seq_len=0", "more than 0"),
        ("batch_size=0", "more than 0"),
        ("epochs=0", "more than 0"),
        ("minutes=0", "more than 0"),
        ("lr=0", "more than 0"),
        ("lr=1e999", "more than 0, and finite"),
        ("sample_every=0", "more than 0"),
        ("clip_norm=inf", "0 or more, and finite"),
        ("input_dropout=1", "from 0 to below 1"),
        ("dropout=1", "from 0 to below 1"),
        ("output_dropout=1.5", "from 0 to below 1"),
        ("weight_dropout=1", "from 0 to below 1"),
        ("warmup=1", "from 0 to below 1"),
        ("beta2=1", "from 0 to below 1"),
        (f"seed={2**63}", "below 2**63"),
        ("num_layers=101", "at most 100"),
        ("hidden_size=1000001", "at most 1,000,000"),
        ("embedding_size=1000001", "at most 1,000,000"),
        ("epochs=1000000001", "at most 1,000,000,000"),
        ("seq_len=1000000001", "at most 1,000,000,000"),
        ("batch_size=1000000001", "at most 1,000,000,000"),
        ("sample_length=1000001", "at most 1,000,000"),
        ("split=0.9,0.1", "has 2 parts; it needs three"),
        ("split=1,0,0,0", "has 4 parts; it needs three"),
    ],
)
def test_the_edges_are_refused(assignment, allowed):
    message = refused(Config.layer_from_assignments([assignment])).message
    key, _, value = assignment.partition("=")
    assert key.rpartition(".")[2] in message
    assert allowed in message
    assert value in message or key in ("split", "lr", "minutes")


@pytest.mark.parametrize(
    "assignment",
    ["weight_decay=0", "clip_norm=0", "sample_length=0", "sample_temperature=0", "seed=0",
     "dropout=0", "beta2=0.999", "warmup=0", f"seed={2**63 - 1}", "max_chars=1",
     "num_layers=100", "hidden_size=1000000", "embedding_size=1000000", "epochs=1000000000",
     "seq_len=1000000000", "batch_size=1000000000", "sample_length=1000000"],
)  # fmt: skip
def test_the_edges_that_are_allowed(assignment):
    key, _, value = assignment.partition("=")
    sections = dataclasses.asdict(set_(assignment)).values()
    assert float(value) in [float(section[key]) for section in sections if key in section]


def test_a_limit_is_told_in_one_clear_line():
    layer = {"model": {"num_layers": 1000}}
    assert refused(layer).message == "model.num_layers is 1000; it must be at most 100"


def test_a_number_too_large_for_a_float_is_no_bug():
    for key in ("seed", "epochs", "hidden_size"):
        assert key in refused(Config.layer_from_assignments([key + "=1" + "0" * 400])).message


def test_torch_has_no_gru_that_resets_before():
    error = refused({"model": {"cell": "gru-reset-before"}})
    assert "gru-reset-before has no torch layer" in error.message
    assert error.hint == "add --backend scratch, or take another --cell"
    assert set_("cell=gru-reset-before", "backend=scratch").model.backend == "scratch"


@pytest.mark.parametrize("embedding", ["one-hot", "tied"])
def test_only_a_learned_embedding_has_a_size(embedding):
    layer = {"embedding": embedding, "embedding_size": 8, "hidden_size": 16}
    assert "embedding_size is 8" in refused({"model": layer}).message
    learned = Config.from_layers([{"model": {**layer, "embedding": "learned"}}])
    assert learned.model.embedding_size == 8


# KEY=VALUE


def test_keys_with_and_without_a_section_and_with_dashes():
    words = ["lr=0.5", "model.hidden-size=7", "batch-size = 3", "training.seq_len=9"]
    assert Config.layer_from_assignments(words) == {
        "training": {"lr": "0.5", "batch_size": "3", "seq_len": "9"},
        "model": {"hidden_size": "7"},
    }
    assert set_(*words).training.batch_size == 3


def test_every_key_is_found_without_its_section():
    """A key that two sections had would be ambiguous."""
    assert len({key for _, key in FIELDS}) == len(FIELDS)
    for section, key in FIELDS:
        assert Config.layer_from_assignments([f"{key}=1"]) == {section: {key: "1"}}


def test_the_value_may_hold_an_equals_sign_and_the_last_one_wins():
    assert set_("source=a=b.txt", "lr=1", "lr=2").corpus.source == "a=b.txt"
    assert set_("lr=1", "training.lr=2").training.lr == 2


@pytest.mark.parametrize("word", ["lr", "", "two\nlines"])
def test_a_word_without_an_equals_sign(word):
    with pytest.raises(UsageError) as caught:
        Config.layer_from_assignments([word])
    assert caught.value.message == f"--set {word!r}: it takes KEY=VALUE"
    assert "lr=0.01" in caught.value.hint


@pytest.mark.parametrize(
    ("word", "message", "hint"),
    [
        ("hidden_sise=3", "unknown key: 'hidden_sise'", "did you mean hidden_size?"),
        ("=3", "unknown key: ''", "known: backend, "),
        ("modle.cell=gru", "unknown section: 'modle'", "did you mean model?"),
        ("model.lr=1", "unknown key of [model]: 'lr'", "known: backend"),
        ("a.b.c=1", "unknown section: 'a.b'", "known: corpus, model, training"),
    ],
)
def test_unknown_keys_of_assignments(word, message, hint):
    with pytest.raises(UsageError) as caught:
        set_(word)
    assert caught.value.message == message
    assert caught.value.hint.startswith(hint)


# TOML


def test_a_toml_file(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(
        '[corpus]\nsource = "分开.txt"\nsplit = [0.8, 0.1, 0.1]\ncleaning = "none"\n'
        '[training]\nepochs = 3\nlr = 1\nprefixes = ["分开"]\ndrop_last = true\n',
        encoding="utf-8",
    )
    config = Config.from_layers([layer_from_toml(path)])
    assert config.corpus == CorpusConfig(source="分开.txt", split=(0.8, 0.1, 0.1), cleaning="none")
    assert config.training == LanguageTrainingConfig(
        epochs=3, minutes=None, lr=1.0, prefixes=("分开",), drop_last=True
    )


def test_an_empty_toml_file_is_the_defaults(tmp_path):
    (tmp_path / "a.toml").touch()
    assert Config.from_layers([layer_from_toml(tmp_path / "a.toml")]) == Config()


def test_keys_outside_a_section(tmp_path):
    (tmp_path / "a.toml").write_text("lr = 1.0\n")
    layer = layer_from_toml(tmp_path / "a.toml")
    assert "unknown section: 'lr'" in refused(layer).message
    (tmp_path / "a.toml").write_text("model = 1.0\n")
    assert "under [model]" in refused(layer_from_toml(tmp_path / "a.toml")).message


@pytest.mark.skipif(os.name == "nt", reason="needs named pipes and devices")
def test_a_pipe_or_a_device_is_no_configuration(tmp_path):
    """A pipe that nobody writes to would keep the command waiting."""
    os.mkfifo(tmp_path / "a.toml")
    for path in (tmp_path / "a.toml", Path(os.devnull)):
        with pytest.raises(UsageError, match="it is not a regular file"):
            layer_from_toml(path)
    with pytest.raises(UsageError, match="Is a directory"):
        layer_from_toml(tmp_path)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "No such file or directory"),
        (b"lr = \xff", "it is not UTF-8 text"),
        ("lr = 1".encode("utf-16"), "it is not UTF-8 text"),
        (b"lr 1", "is not TOML: "),
        (b"[a]\n[a]\n", "is not TOML: "),
        (b"a = " + b"[" * 100_000, "is not TOML: "),
        (b"a = 1" + b"0" * 5000, "is not TOML: "),
        (b"\0", "is not TOML: "),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(tmp_path, data, reason):
    path = tmp_path / "a.toml"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UsageError) as caught:
        layer_from_toml(path)
    assert str(path) in caught.value.message
    assert reason in caught.value.message
    assert "\n" not in caught.value.message


def test_a_folder_is_no_toml_file(tmp_path):
    with pytest.raises(UsageError, match="cannot read the configuration"):
        layer_from_toml(tmp_path)


# There and back


@pytest.mark.parametrize(
    "config",
    [
        Config(),
        Config(training=LanguageTrainingConfig(epochs=3, minutes=None)),
        Config(
            corpus=CorpusConfig(
                source="-",
                cleaning="none",
                encoding="gb18030",
                max_chars=10,
                vocabulary_from="kept",
                split=(0.1 + 0.2, 0.7, 0.0),
            ),
            model=ModelConfig(
                cell="gru-reset-before",
                backend="scratch",
                embedding="learned",
                embedding_size=3,
                dropout=0.1,
            ),
            training=LanguageTrainingConfig(
                prefixes=("分开", '"\n\t', "a,b", ""),
                drop_last=True,
                lr=1 / 3,
                seed=2**63 - 1,
                sample_every=2,
            ),
        ),
        *(
            Config.from_layers([layer_from_preset("language-model", name)])
            for name in preset_names("language-model")
        ),
    ],
)
def test_a_configuration_goes_through_json_and_back(config):
    text = json.dumps(config.to_dict())
    assert Config.from_layers([json.loads(text)]) == config


def test_a_dictionary_has_every_field():
    assert [
        (section, key) for section, values in Config().to_dict().items() for key in values
    ] == FIELDS


# The contract's table of presets: what each sets, by source.
JAYCHOU = {
    "source": "jaychou", "cleaning": "spaces", "vocabulary_from": "kept", "max_chars": 10_000,
    "cell": "rnn", "backend": "scratch", "hidden_size": 256, "initialisation": "book",
    "batch_size": 32, "seq_len": 35, "lr": 100.0, "clip_norm": 0.01, "epochs": 250,
    "prefixes": ("分开", "不分开"), "sample_every": 50, "offset": "none",
}  # fmt: skip
TIMEMACHINE = {
    "source": "timemachine", "cleaning": "letters", "vocabulary_from": "whole",
    "max_chars": 10_000, "batch_size": 32, "seq_len": 35, "lr": 1.0, "clip_norm": 1.0,
    "epochs": 500, "prefixes": ("time traveller", "traveller"), "sampling": "consecutive",
    "offset": "random",
}  # fmt: skip
SCRATCH = {"cell": "rnn", "backend": "scratch", "hidden_size": 512, "initialisation": "book"}
TORCH = {"backend": "torch", "hidden_size": 256, "initialisation": "torch"}
PRESETS = {
    "jaychou-random": {**JAYCHOU, "sampling": "random", "drop_last": True},
    "jaychou-consecutive": {**JAYCHOU, "sampling": "consecutive"},
    "timemachine-scratch": {**TIMEMACHINE, **SCRATCH},
    "timemachine-scratch-random": {
        **TIMEMACHINE, **SCRATCH, "sampling": "random", "drop_last": True,
    },
    "timemachine-rnn": {**TIMEMACHINE, **TORCH, "cell": "rnn"},
    "timemachine-gru": {**TIMEMACHINE, **TORCH, "cell": "gru"},
    "timemachine-lstm": {**TIMEMACHINE, **TORCH, "cell": "lstm"},
    "timemachine-relu": {
        **TIMEMACHINE, **TORCH, "cell": "rnn-relu", "hidden_size": 64, "epochs": 2000,
        "clip_norm": 0.5,
    },
}  # fmt: skip
# And what they have in common: plain SGD on all of the text, from one-hot characters.
COMMON = {
    "embedding": "one-hot", "num_layers": 1, "optimiser": "sgd", "schedule": "constant",
    "split": (1.0, 0.0, 0.0), "sample_length": 50, "sample_temperature": 0.0, "minutes": None,
    "warmup": 0.0, "dropout": 0.0, "input_dropout": 0.0, "precision": "float32",
    "output_dropout": 0.0, "weight_dropout": 0.0, "encoding": None,
}  # fmt: skip


# Presets


def test_preset_names():
    assert preset_names("language-model") == sorted(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_preset_settings(name):
    config = Config.from_layers([layer_from_preset("language-model", name)])
    settings = {key: getattr(getattr(config, section), key) for section, key in FIELDS}
    wanted = {**COMMON, **PRESETS[name]}
    assert {key: settings[key] for key in wanted} == wanted


@pytest.mark.parametrize("name", PRESETS)
def test_a_presets_source_is_named_but_is_no_setting(name):
    published = preset("language-model", name)["published"]
    assert published["source"]
    assert "perplexity" in published["quantity"]
    assert published.keys() <= {"source", "quantity", "value", "at_most"}
    assert published.get("value", 1.0) <= published.get("at_most", math.inf)
    assert set(layer_from_preset("language-model", name)) == set(Config.sections())


def test_a_users_own_settings_come_over_a_preset():
    config = Config.from_layers(
        [layer_from_preset("language-model", "timemachine-lstm"), {"training": {"minutes": 1}}]
    )
    assert (config.training.epochs, config.training.minutes) == (None, 1.0)
    assert config.training.clip_norm == 1.0


@pytest.mark.parametrize("read", [preset, layer_from_preset])
def test_an_unknown_preset_tells_the_nearest(read):
    with pytest.raises(UsageError) as caught:
        read("language-model", "timemachine-lstmm")
    assert caught.value.message == "unknown preset: 'timemachine-lstmm'"
    assert caught.value.hint == "did you mean timemachine-lstm?"
    with pytest.raises(UsageError, match="unknown preset"):
        read("language-model", "../language-model/timemachine-lstm")


@pytest.mark.parametrize("name", PRESETS)
def test_no_default_can_change_a_preset(name):
    """What bears on its perplexity stands in its file, or has no part in it."""
    written = layer_from_preset("language-model", name)
    left = {f"{section}.{key}" for section, key in FIELDS if key not in written.get(section, {})}
    no_part = {
        "corpus.encoding", "corpus.vocabulary_from", "model.embedding_size", "training.minutes",
        "training.beta2", "training.weight_decay", "training.seed", "training.device",
        "training.drop_last", "training.patience", "training.deterministic",
        "training.save_minutes", "training.save_steps",
    }  # fmt: skip
    assert left <= no_part


# What suits a text


@pytest.mark.parametrize(
    ("characters", "vocabulary", "embedding", "dropouts"),
    [
        (28_000, 60, "learned", (0.2, 0.6, 0.5)),
        (49_999, 256, "learned", (0.2, 0.6, 0.5)),
        (50_000, 256, "learned", (0.05, 0.5, 0.3)),
        (153_522, 28, "learned", (0.05, 0.5, 0.3)),
        (57_000, 2583, "tied", (0.4, 0.6, 0.5)),
        (6_000, 793, "tied", (0.4, 0.6, 0.5)),
        (500_001, 66, "learned", (0.0, 0.1, 0.0)),
        (5_000_000, 4000, "tied", (0.0, 0.1, 0.0)),
    ],
)
def test_what_suits_a_text(characters, vocabulary, embedding, dropouts):
    model = Config.from_layers([layer_for_text(characters, vocabulary)]).model
    assert model.embedding == embedding
    assert (model.input_dropout, model.output_dropout, model.weight_dropout) == dropouts


@pytest.mark.parametrize("name", PRESETS)
def test_what_suits_a_text_gives_way_to_a_preset(name):
    alone = Config.from_layers([layer_from_preset("language-model", name)])
    for characters, vocabulary in ((9_000, 28), (9_000, 1028), (10**6, 28)):
        suited = layer_for_text(characters, vocabulary)
        assert Config.from_layers([suited, layer_from_preset("language-model", name)]) == alone
