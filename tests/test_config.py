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
    ClassifyConfig,
    Config,
    CorpusConfig,
    LanguageTrainingConfig,
    ModelConfig,
    TagConfig,
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
        ("=3", "unknown key: ''", "known: averaging, "),
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


# The other tasks: every setting of theirs, by what its type says of it

TASKS = {"classify": ClassifyConfig, "tag": TagConfig}
OTHER_FREE_TEXT = {
    "corpus.source", "corpus.encoding", "corpus.text_column", "corpus.label_column",
    "model.from_run", "training.device",
}  # fmt: skip


def refused_by(task: str, *layers) -> UsageError:
    """The error that ``layers`` cause: a line, and a line of advice at most."""
    with pytest.raises(UsageError) as caught:
        TASKS[task].from_layers(layers)
    for line in (caught.value.message, caught.value.hint or "-"):
        assert line.isprintable()
        assert len(line) < 300
    assert caught.value.exit_code == 2
    return caught.value


def settings_of(*wanted: type) -> list:
    """Task, section and key of the settings whose type is one of these."""
    return [
        pytest.param(task, section, field.name, id=f"{task}-{section}.{field.name}")
        for task, config in TASKS.items()
        for section, kind in config.sections().items()
        for field in dataclasses.fields(kind)
        if {*_types(kind, field.name)} & {*wanted}
        and not (wanted == (str,) and f"{section}.{field.name}" in OTHER_FREE_TEXT)
    ]


def _types(kind: type, key: str) -> set:
    hint = typing.get_type_hints(kind)[key]
    return set(typing.get_args(hint)) if isinstance(hint, types.UnionType) else {hint}


every = pytest.mark.parametrize


def test_every_setting_of_the_other_tasks_has_a_type_that_is_looked_at():
    tried = settings_of(int, float, bool, str, tuple[int, ...])
    count = sum(
        len(dataclasses.fields(kind))
        for task in TASKS.values()
        for kind in task.sections().values()
    )
    assert len(tried) == count > 60


@every(("task", "section", "key"), settings_of(int, float))
def test_no_number_of_another_task_may_be_negative(task, section, key):
    message = refused_by(task, {section: {key: -1}}).message
    assert message.startswith(f"{section}.{key} is -1")


@every("value", [math.nan, math.inf, -math.inf])
@every(("task", "section", "key"), settings_of(float))
def test_every_number_of_another_task_is_finite(task, section, key, value):
    assert refused_by(task, {section: {key: value}}).message.startswith(
        f"{section}.{key} is {value}"
    )


@every("value", [10**10, 10**400])
@every(("task", "section", "key"), settings_of(int))
def test_no_whole_number_of_another_task_is_huge(task, section, key, value):
    if key == "seed" and value < 2**63:
        assert TASKS[task].from_layers([{section: {key: value}}]).training.seed == value
        return
    message = refused_by(task, {section: {key: value}}).message
    assert message.startswith(f"{section}.{key} is ")


@every("value", ["", "nonsense", "LSTM", "a\nb", "x" * 10**6])
@every(("task", "section", "key"), settings_of(str))
def test_every_choice_of_another_task_is_checked_and_told(task, section, key, value):
    message = refused_by(task, {section: {key: value}}).message
    assert message.startswith(f"{section}.{key} is {shown(value)}; it can be ")


NOUNS = {
    int: "a whole number", float: "a number", bool: "true or false", str: "text",
    tuple[int, ...]: "a list of whole numbers",
}  # fmt: skip
WRONG = {
    int: ["many", 2.5, "3.0", True, [1], {}],
    float: ["x", False, [1.0], 10**400],
    bool: [1, 0, "yes", "", [True]],
    str: [3, True, ["a"], {"a": 1}],
    tuple[int, ...]: [3, "2,x", "2;3", [2.5], ["x"], [True], {"a": 1}, [None], [[2]]],
}  # fmt: skip


@every(("task", "section", "key"), settings_of(*NOUNS))
def test_a_wrong_type_in_another_task_is_named(task, section, key):
    (kind,) = _types(TASKS[task].sections()[section], key) - {type(None)}
    for value in WRONG[kind]:
        message = refused_by(task, {section: {key: value}}).message
        assert message == f"{section}.{key} is {shown(value)}; it must be {NOUNS[kind]}"
    if type(None) not in _types(TASKS[task].sections()[section], key):
        message = refused_by(task, {section: {key: None}}).message
        assert message == f"{section}.{key} is None; it must be {NOUNS[kind]}"


@every("task", TASKS)
def test_every_key_of_another_task_is_found_without_its_section(task):
    keys = [
        (section, field.name)
        for section, kind in TASKS[task].sections().items()
        for field in dataclasses.fields(kind)
    ]
    assert len({key for _, key in keys}) == len(keys)
    for section, key in keys:
        layer = TASKS[task].layer_from_assignments([f"{key.replace('_', '-')}=1"])
        assert layer == {section: {key: "1"}}


@every("task", TASKS)
def test_what_another_task_does_not_know(task):
    key = refused_by(task, {"model": {"hiden_size": 3}})
    assert (key.message, key.hint) == (
        "unknown key of [model]: 'hiden_size'", "did you mean hidden_size?",
    )  # fmt: skip
    assert refused_by(task, {"modle": {}}).hint == "did you mean model?"
    assert refused_by(task, {"training": {"seq_len": 3}}).message.endswith("'seq_len'")
    assert "torch layer" in refused_by(task, {"model": {"cell": "jordan"}}).message
    ends = {"training": {"epochs": None, "minutes": None}}
    assert "give one of them" in refused_by(task, ends).message


@pytest.mark.parametrize(
    ("assignment", "allowed"),
    [
        ("valid=0", "between 0 and 1"), ("valid=1", "between 0 and 1"),
        ("min_count=0", "more than 0"), ("min_count=1000001", "at most 1,000,000"),
        ("buckets=0", "more than 0"), ("buckets=1000001", "at most 1,000,000"),
        ("ngrams=0", "from 1 to 100"), ("ngrams=2,101", "from 1 to 100"),
        ("ngrams=1,2,3,4,5,6,7,8,9,10,11", "at most ten lengths"), ("ngrams=-2", "from 1 to 100"),
        ("window=-1", "from 0 to 100"), ("window=101", "from 0 to 100"),
        ("word_dropout=1", "from 0 to below 1"), ("averaging=1", "from 0 to below 1"),
        ("hidden_size=1000001", "at most 1,000,000"), ("num_layers=101", "at most 100"),
    ],
)  # fmt: skip
def test_the_edges_of_a_tagger_are_refused(assignment, allowed):
    message = refused_by("tag", TagConfig.layer_from_assignments([assignment])).message
    assert allowed in message
    assert assignment.partition("=")[0] in message


@pytest.mark.parametrize(
    ("assignment", "wanted"),
    [
        ("valid=0.5", 0.5), ("min_count=1", 1), ("buckets=1", 1), ("buckets=1000000", 1_000_000),
        ("ngrams=", ()), ("ngrams=none", ()), ("ngrams=3", (3,)), ("ngrams=2, 100", (2, 100)),
        ("ngrams=1,2,3,4,5,6,7,8,9,10", tuple(range(1, 11))), ("window=0", 0), ("window=100", 100),
        ("word_dropout=0", 0.0), ("shapes=True", True), ("embedding-size=none", None),
        ("encoding=gb18030", "gb18030"), ("bidirectional=false", False), ("source=a=b", "a=b"),
    ],
)  # fmt: skip
def test_the_edges_of_a_tagger_that_are_allowed(assignment, wanted):
    config = TagConfig.from_layers([TagConfig.layer_from_assignments([assignment])])
    key = assignment.partition("=")[0].replace("-", "_")
    (got,) = [section[key] for section in config.to_dict().values() if key in section]
    assert got == wanted
    assert type(got) is type(wanted)


@pytest.mark.parametrize("value", [[], (), "", "none"])
def test_no_ngrams_at_all(value):
    assert TagConfig.from_layers([{"corpus": {"ngrams": value}}]).corpus.ngrams == ()


# Their presets

OTHER_PRESETS = [(task, name) for task in TASKS for name in preset_names(task)]


def test_each_task_has_presets_of_its_own():
    """A name tells the task, so that a preset of another one is known by it."""
    names = [name for task in ("language-model", *TASKS) for name in preset_names(task)]
    assert len({*names}) == len(names)
    assert {task for task, _ in OTHER_PRESETS} == {*TASKS}


@pytest.mark.parametrize(("task", "name"), OTHER_PRESETS)
def test_a_preset_of_another_task_loads_and_names_its_source(task, name):
    config = TASKS[task].from_layers([layer_from_preset(task, name)])
    assert TASKS[task].from_layers([json.loads(json.dumps(config.to_dict()))]) == config
    published = preset(task, name)["published"]
    assert published.keys() == {"source", "quantity", "value", "at_least"}
    assert published["source"]
    assert published["quantity"] in ("test accuracy", "test F1")
    assert 50 < float(str(published["value"]).split()[0]) < 100
    assert 50 < published["at_least"] < 100


@pytest.mark.parametrize(("task", "name"), OTHER_PRESETS)
def test_a_preset_of_another_task_is_no_more_than_settings(task, name):
    """What it sets is a setting of its task, by a value of its type and in its place."""
    layer = layer_from_preset(task, name)
    assert set(layer) <= set(TASKS[task].sections())
    settings = TASKS[task].from_layers([layer]).to_dict()
    for section, values in layer.items():
        for key, value in values.items():
            got = settings[section][key]
            assert (list(got) if isinstance(got, tuple) else got) == value
    assert "seed" not in layer.get("training", {})


@pytest.mark.parametrize(
    ("task", "name", "hint"),
    [
        ("tag", "timemachine-lstm", "charlm train --preset timemachine-lstm"),
        ("tag", "imdb-best", "charlm classify train --preset imdb-best"),
        ("classify", "atis-jordan", "charlm tag train --preset atis-jordan"),
        ("language-model", "atis-elman", "charlm tag train --preset atis-elman"),
    ],
)
@pytest.mark.parametrize("read", [preset, layer_from_preset])
def test_a_preset_of_another_task_is_refused_with_a_hint(read, task, name, hint):
    with pytest.raises(UsageError) as caught:
        read(task, name)
    assert caught.value.message == f"the preset {name} is for another task"
    assert caught.value.hint == hint


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ["", "nonsense", "../language-model/timemachine-lstm", "a\nb"])
def test_an_unknown_preset_of_another_task(task, name):
    with pytest.raises(UsageError) as caught:
        preset(task, name)
    assert caught.value.message == f"unknown preset: {shown(name)}"
    assert caught.value.hint
