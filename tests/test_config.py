"""Settings are merged, converted, and refused if they are wrong; presets; the settings page."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from charlm.cli.settings_page import settings_page
from charlm.config import NetworkSection, Section, TrainingSection, setting, settings_from_toml
from charlm.corpus.cleaning import CLEANINGS
from charlm.errors import UsageError, shown
from charlm.task import preset, preset_names, settings_from_preset
from charlm.tasks.classification.config import ClassificationConfig, LabelledTextsSection
from charlm.tasks.language_model.config import (
    LanguageModelConfig,
    LanguageModelSection,
    LanguageTrainingSection,
    TextSection,
)
from charlm.tasks.language_model.plan import Text, planned_settings
from charlm.tasks.tagging.config import TaggerSection, TaggingConfig

CONFIGS = {
    config.task: config for config in (LanguageModelConfig, ClassificationConfig, TaggingConfig)
}
ALL = [
    (task, name, key)
    for task, config in CONFIGS.items()
    for name, section in config.sections().items()
    for key in section.settings()
]


def type_of(task, section, key):
    return CONFIGS[task].sections()[section].type_of(key)[0]


def about(task, section, key):
    return CONFIGS[task].sections()[section].settings()[key]


def of_type(*types):
    """Task, section and key of the settings with one of these types."""
    return [each for each in ALL if type_of(*each) in types]


def refused(task: str, *sources) -> UsageError:
    """The error that settings cause: one line, and at most one hint."""
    with pytest.raises(UsageError) as caught:
        CONFIGS[task].from_settings(sources)
    for line in (caught.value.message, caught.value.hint or "-"):
        assert line.isprintable()
        assert 0 < len(line) < 600
    assert caught.value.exit_code == 2
    return caught.value


def set_(task: str, *assignments: str):
    config = CONFIGS[task]
    return config.from_settings([config.settings_from_assignments(assignments)])


def value_of(config, key):
    (value,) = [section[key] for section in config.to_dict().values() if key in section]
    return value


def language(**sections) -> LanguageModelConfig:
    return LanguageModelConfig.from_settings([sections])


# Merging


@pytest.mark.parametrize("task", CONFIGS)
def test_the_defaults_are_valid(task):
    config = CONFIGS[task]()
    assert config == CONFIGS[task].from_settings([]) == CONFIGS[task].from_settings([{"model": {}}])
    names = [(task, name, key) for name, keys in config.to_dict().items() for key in keys]
    assert names == [each for each in ALL if each[0] == task]


def test_later_sources_win_key_by_key_and_are_not_changed():
    sources = [
        {"model": {"cell": "gru", "hidden_size": 5}, "training": {"lr": 0.1, "epochs": 3}},
        {"model": {"hidden_size": 6}, "corpus": {"source": "a.txt"}},
        {"training": {"seed": 7, "minutes": 2.0}, "model": {"num_layers": 2}},
    ]
    before = json.dumps(sources)
    config = LanguageModelConfig.from_settings(sources)
    assert config.model == LanguageModelSection(cell="gru", hidden_size=6, num_layers=2)
    assert config.training == LanguageTrainingSection(lr=0.1, seed=7, epochs=None, minutes=2.0)
    assert config.corpus == TextSection(source="a.txt")
    assert json.dumps(sources) == before


def test_a_configuration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        LanguageModelConfig().model.hidden_size = 3


@pytest.mark.parametrize(
    ("sources", "ends"),
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
def test_epochs_and_minutes_replace_each_other(sources, ends):
    config = LanguageModelConfig.from_settings([{"training": each} for each in sources])
    assert (config.training.epochs, config.training.minutes) == ends


@pytest.mark.parametrize("task", CONFIGS)
def test_every_task_refuses(task):
    error = refused(task, {"trainig": {"lr": 1.0}})
    assert error.message == "unknown section: 'trainig'"
    assert error.hint == "did you mean training?"
    error = refused(task, {"model": {"hiden_size": 3}})
    assert error.message == "unknown key of [model]: 'hiden_size'"
    assert error.hint == "did you mean hidden_size?"
    assert "backend, " in refused(task, {"model": {"qqq": 3}}).hint
    for value in (3, "lr", None, [1]):
        message = refused(task, {"training": value}).message
        assert message == "training is a section; write its keys under [training]"
    ends = {"training": {"epochs": None, "minutes": None}}
    assert "give one of them" in refused(task, ends).message
    assert "give one of them" in refused(task, {"training": {"epochs": 5}}, ends).message
    cell = refused(task, {"model": {"cell": "jordan", "backend": "torch"}})
    assert cell.message.startswith("the cell jordan has no torch layer")
    assert cell.hint == "give --backend auto, or take another --cell"
    assert set_(task, "cell=jordan").model.backend == "auto"


def test_what_decides_what_a_training_learns():
    """The settings without the incidental ones, and without those that are idle."""
    incidental = {key for task, section, key in ALL if about(task, section, key).incidental}
    assert incidental == {
        "source", "seed", "save_minutes", "save_steps",
        "prefixes", "sample_every", "sample_length", "sample_temperature",
    }  # fmt: skip
    assert set_("tag", "source=a", "seed=3").essential() == set_("tag").essential()
    essential = set_("language-model", "optimiser=sgd", "schedule=plateau").essential()
    assert essential["training.plateau_patience"] == 1
    assert "training.beta1" not in essential
    assert "corpus.source" not in essential


# Types

NOUNS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    tuple[int, ...]: "a list of whole numbers",
    tuple[float, ...]: "a list",
    tuple[str, ...]: "a list",
}
WRONG = {
    int: ["many", 2.5, 3.0, "3.0", True, [1], {}],
    float: ["x", False, [1.0], 10**400],
    bool: [1, 0, "yes", "", [True]],
    str: [3, True, ["a"], {"a": 1}],
    tuple[int, ...]: [3, "2,x", "2;3", [2.5], ["x"], [True], {"a": 1}, [None], [[2]], None],
    tuple[float, ...]: ["0.8,a,0.1", [True, 0, 0], 0.8],
    tuple[str, ...]: [3, {"a": 1}, [1, 2], None],
}


@pytest.mark.parametrize(("task", "section", "key"), ALL)
def test_a_value_of_another_type_is_refused(task, section, key):
    home = CONFIGS[task].sections()[section]
    kind, optional = home.type_of(key)
    takes_none = optional or about(task, section, key).none is not None
    wrong = [each for each in [*WRONG[kind], None] if each is not None or not takes_none]
    wrong += [] if takes_none or kind in (str, tuple[str, ...]) else ["none"]
    for value in wrong:
        message = refused(task, {section: {key: value}}).message
        wanted = NOUNS[kind] + (" or none" if takes_none else "")
        assert message == f"{home.name_of(key)} is {shown(value)}; it must be {wanted}"


@pytest.mark.parametrize(
    ("task", "key", "value", "wanted"),
    [
        ("language-model", "lr", 1, 1.0),
        ("language-model", "lr", "1e-3", 0.001),
        ("language-model", "epochs", "12", 12),
        ("language-model", "drop_last", True, True),
        ("language-model", "drop_last", "True", True),
        ("language-model", "drop_last", "false", False),
        ("language-model", "prefixes", [], ()),
        ("language-model", "prefixes", ["分开", "a, b"], ("分开", "a, b")),
        ("language-model", "prefixes", "分开,不分开", ("分开", "不分开")),
        ("language-model", "prefixes", "Once, upon", ("Once", "upon")),
        ("language-model", "split", [0.8, 0.1, 0.1], (0.8, 0.1, 0.1)),
        ("language-model", "split", (80, 10, 10), (80.0, 10.0, 10.0)),
        ("language-model", "split", "0.8, 0.1,0.1", (0.8, 0.1, 0.1)),
        ("language-model", "split", "none", None),
        ("language-model", "max_chars", None, None),
        ("language-model", "encoding", "none", None),
        ("language-model", "cleaning", "none", "none"),
        ("language-model", "cleaning", None, None),
        *(("language-model", "clip_norm", off, 0.0) for off in ("none", "0", 0, None)),
        *(("language-model", "clip_norm", off, 0.0) for off in ("inf", "Infinity", math.inf)),
        ("language-model", "embedding_size", "none", None),
        ("classify", "cleaning", "none", "none"),
        ("tag", "ngrams", "", ()),
        ("tag", "ngrams", "none", ()),
        ("tag", "ngrams", [], ()),
        ("tag", "ngrams", "2, 100", (2, 100)),
        ("tag", "bidirectional", "false", False),
    ],
)
def test_values_get_the_type_of_the_field(task, key, value, wanted):
    (section,) = [name for of, name, each in ALL if (of, each) == (task, key)]
    got = value_of(CONFIGS[task].from_settings([{section: {key: value}}]), key)
    assert got == wanted
    assert type(got) is type(wanted)
    if isinstance(got, tuple):
        assert [type(part) for part in got] == [type(part) for part in wanted]


# Bounds and choices


@pytest.mark.parametrize(("task", "section", "key"), of_type(int, float))
def test_numbers_out_of_bounds_are_refused(task, section, key):
    limits, name = about(task, section, key), f"{section}.{key}"
    kind = type_of(task, section, key)
    values = [kind(-1)] + ([kind(limits.above)] if limits.above is not None else [])
    if kind is float:
        values += [math.nan, -math.inf] + ([float(limits.below)] if limits.below else [])
        values += [math.inf] * (limits.none is None)  # else infinity means that there is no limit
    else:
        values += [limits.at_least - 1, limits.at_most + 1, 10**400]
    for value in values:
        message = refused(task, {section: {key: value}}).message
        assert message == f"{name} is {shown(value)}; it must be {limits.range}"


@pytest.mark.parametrize(("task", "section", "key"), of_type(int))
def test_whole_numbers_at_their_bounds_are_allowed(task, section, key):
    limits = about(task, section, key)
    given = {"from_run": "run"} if key == "ngram_order" else {}  # a classifier's come from a run
    for value in (limits.at_least, limits.at_most):
        config = CONFIGS[task].from_settings([{section: {key: value, **given}}])
        assert value_of(config.from_settings([config.to_dict()]), key) == value


def test_bounds_in_words():
    training = TrainingSection.settings()
    assert training["lr"].range == "above 0 and finite"
    assert training["warmup"].range == "at least 0 and below 1"
    assert training["patience"].range == "from 1 to 1,000,000,000"
    assert training["device"].range is None


CHOICES = [each for each in of_type(str) if about(*each).choices is not None]


def test_texts_without_choices_are_checked_where_they_are_used():
    assert {key for _, _, key in of_type(str)} - {key for _, _, key in CHOICES} == {
        "source", "encoding", "text_column", "label_column", "word_column", "tag_column",
        "class_weights", "from_run", "device",
    }  # fmt: skip
    for kind in (TextSection, LabelledTextsSection):
        assert [*kind.settings()["cleaning"].choices] == [*CLEANINGS]


@pytest.mark.parametrize(("task", "section", "key"), CHOICES)
def test_every_choice_is_checked(task, section, key):
    for value in ("", "nonsense", "LSTM", "a\nb", "x" * 10**6):
        message = refused(task, {section: {key: value}}).message
        choices = ", ".join(about(task, section, key).choices)
        assert message == f"{section}.{key} is {shown(value)}; it can be {choices}"


@pytest.mark.parametrize(
    ("task", "assignments", "message"),
    [
        ("language-model", ["split=0.9,0.1"], "corpus.split has 2 parts; it needs three"),
        ("language-model", ["split=1,0,0,0"], "corpus.split has 4 parts; it needs three"),
        ("language-model", ["embedding=tied", "embedding_size=8"], "model.embedding_size is 8, bu"),
        ("language-model", ["embedding=tied", "ngram_order=3"], "model.ngram_order is 3, but the"),
        (
            "language-model",
            ["embedding=one-hot", "ngram_order=2"],
            "model.ngram_order is 2, but the",
        ),
        ("language-model", ["optimiser=adam", "ngram_order=2"], "the optimiser adam cannot train"),
        ("language-model", ["prefixes=" + "a" * 100_001], "training.prefixes have 100,001 charac"),
        ("classify", ["embedding=one-hot"], "model.ngrams is 2, but one-hot tokens"),
        ("classify", ["ngram_order=3"], "model.ngram_order is 3, but no language model brings"),
        ("classify", ["freeze=true"], "model.freeze (--frozen) is true, but there are no trained"),
        ("tag", ["ngrams=2,101"], "corpus.ngrams is (2, 101); each must be from 1 to 100"),
        ("tag", ["ngrams=1,2,3,4,5,6,7,8,9,10,11"], "corpus.ngrams has 11 lengths"),
        ("tag", ["valid=0"], "corpus.valid is 0.0; it must be above 0 and below 1"),
    ],
)
def test_settings_that_do_not_fit_together(task, assignments, message):
    config = CONFIGS[task]
    found = refused(task, config.settings_from_assignments(assignments)).message
    assert found.startswith(message)


# KEY=VALUE


def test_keys_with_and_without_a_section_and_with_dashes():
    words = ["lr=0.5", "model.hidden-size=7", "batch-size = 3", "training.seq_len=9"]
    assert LanguageModelConfig.settings_from_assignments(words) == {
        "training": {"lr": "0.5", "batch_size": "3", "seq_len": "9"},
        "model": {"hidden_size": "7"},
    }


@pytest.mark.parametrize("task", CONFIGS)
def test_every_key_is_found_without_its_section(task):
    """A key in two sections would be ambiguous."""
    keys = [(section, key) for of, section, key in ALL if of == task]
    assert len({key for _, key in keys}) == len(keys)
    for section, key in keys:
        settings = CONFIGS[task].settings_from_assignments([f"{key.replace('_', '-')}=1"])
        assert settings == {section: {key: "1"}}


def test_the_value_may_hold_an_equals_sign_and_the_last_one_wins():
    config = set_("language-model", "source=a=b.txt", "lr=1", "training.lr=2")
    assert (config.corpus.source, config.training.lr) == ("a=b.txt", 2)


@pytest.mark.parametrize(
    ("word", "message", "hint"),
    [
        ("lr", "--set 'lr': it takes KEY=VALUE", "for example --set lr=0.01"),
        ("", "--set '': it takes KEY=VALUE", "for example"),
        ("two\nlines", r"--set 'two\nlines': it takes KEY=VALUE", "for example"),
        ("hidden_sise=3", "unknown key: 'hidden_sise'", "did you mean hidden_size?"),
        ("=3", "unknown key: ''", "--dry-run and docs/settings.md list all settings"),
        ("modle.cell=gru", "unknown section: 'modle'", "did you mean model?"),
        ("model.lr=1", "unknown key of [model]: 'lr'", "known: activation"),
        ("a.b.c=1", "unknown section: 'a.b'", "known: corpus, model, training"),
    ],
)
def test_assignments_that_are_refused(word, message, hint):
    with pytest.raises(UsageError) as caught:
        set_("language-model", word)
    assert caught.value.message == message
    assert caught.value.hint.startswith(hint)


# TOML and JSON


def test_a_toml_file(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(
        '[corpus]\nsource = "分开.txt"\nsplit = [0.8, 0.1, 0.1]\ncleaning = "none"\n'
        '[training]\nepochs = 3\nlr = 1\nprefixes = ["分开"]\ndrop_last = true\n',
        encoding="utf-8",
    )
    config = LanguageModelConfig.from_settings([settings_from_toml(path)])
    assert config.corpus == TextSection(source="分开.txt", split=(0.8, 0.1, 0.1), cleaning="none")
    assert config.training == LanguageTrainingSection(
        epochs=3, minutes=None, lr=1.0, prefixes=("分开",), drop_last=True
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [("lr = 1.0\n", "unknown section: 'lr'"), ("model = 1.0\n", "write its keys under [model]")],
)
def test_keys_outside_a_section(tmp_path, text, message):
    (tmp_path / "a.toml").write_text(text)
    assert message in refused("language-model", settings_from_toml(tmp_path / "a.toml")).message


@pytest.mark.skipif(os.name == "nt", reason="needs named pipes and devices")
def test_a_pipe_or_a_device_is_refused(tmp_path):
    """Reading a pipe without a writer would never end."""
    os.mkfifo(tmp_path / "a.toml")
    for path in (tmp_path / "a.toml", Path(os.devnull)):
        with pytest.raises(UsageError, match="it is not a regular file"):
            settings_from_toml(path)


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
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, data, reason):
    path = tmp_path / "a.toml"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UsageError) as caught:
        settings_from_toml(path)
    assert str(path) in caught.value.message
    assert reason in caught.value.message
    assert "\n" not in caught.value.message
    with pytest.raises(UsageError, match="cannot read the configuration"):
        settings_from_toml(tmp_path)


PRESETS = [(task, name) for task in CONFIGS for name in preset_names(task)]
OWN = [("language-model", "best"), ("language-model", "fast")]  # of no publication


@pytest.mark.parametrize(
    "config",
    [
        *(config() for config in CONFIGS.values()),
        *(CONFIGS[task].from_settings([settings_from_preset(task, n)]) for task, n in PRESETS),
        language(training={"epochs": 3}),
        language(
            corpus={"source": "-", "cleaning": "none", "split": (0.1 + 0.2, 0.7, 0.0)},
            model={"embedding_size": 3, "dropout": 0.1},
            training={"prefixes": ("分开", '"\n\t', "a,b", ""), "lr": 1 / 3, "seed": 2**63 - 1},
        ),
    ],
)
def test_a_configuration_goes_through_json_and_back(config):
    text = json.dumps(config.to_dict())
    assert config.from_settings([json.loads(text)]) == config


# Presets of language models: their settings, by corpus

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
LANGUAGE_MODELS = {
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
# All presets use plain SGD on the whole text, with one-hot characters.
COMMON = {
    "embedding": "one-hot", "num_layers": 1, "optimiser": "sgd", "schedule": "constant",
    "split": (1.0, 0.0, 0.0), "sample_length": 50, "sample_temperature": 0.0, "minutes": None,
    "warmup": 0.0, "dropout": 0.0, "input_dropout": 0.0, "precision": "float32",
    "output_dropout": 0.0, "weight_dropout": 0.0, "encoding": None,
}  # fmt: skip
# These have no influence on the published perplexity.
NO_INFLUENCE = {
    "encoding", "vocabulary_from", "embedding_size", "minutes", "beta2", "weight_decay", "seed",
    "device", "drop_last", "patience", "deterministic", "save_minutes", "save_steps", "lines",
    "distinct", "include", "exclude", "min_count", "from_run",
    "residual", "skip", "mogrifier_rounds", "mogrifier_rank",
    "freeze", "beta1", "plateau_patience", "plateau_factor", "swa", "nt_asgd",
    "zoneout_hidden", "zoneout_cell", "embedding_dropout", "activation", "temporal_activation",
    "past_decode", "mix_ngram", "ngram_order", "ngram_rows", "ngram_dropout",
}  # fmt: skip


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_a_preset_of_a_language_model(name):
    """No default and no setting for the text can change the published perplexity."""
    written = settings_from_preset("language-model", name)
    config = LanguageModelConfig.from_settings([written])
    wanted = {**COMMON, **LANGUAGE_MODELS[name]}
    assert {key: value_of(config, key) for key in wanted} == wanted
    missing = {
        key for task, name, key in ALL if task == "language-model" and key not in written[name]
    }
    assert missing <= NO_INFLUENCE
    for text in (Text(9_000, 28), Text(9_000, 1028), Text(10**6, 28)):
        suited = planned_settings(text, config, sized=True, tuned="lr" in written["training"])
        assert LanguageModelConfig.from_settings([suited, written]) == config


@pytest.mark.parametrize(("task", "name"), [each for each in PRESETS if each not in OWN])
def test_every_preset_is_settings_and_a_source(task, name):
    written = settings_from_preset(task, name)
    config = CONFIGS[task].from_settings([written])
    settings = json.loads(json.dumps(config.to_dict()))
    for section, values in written.items():
        assert {key: settings[section][key] for key in values} == values
    assert "seed" not in written["training"]
    published = preset(task, name)["published"]
    assert published["source"]
    if task == "language-model":
        assert "perplexity" in published["quantity"]
        assert published.keys() <= {"source", "quantity", "value", "at_most"}
        assert published.get("value", 1.0) <= published.get("at_most", math.inf)
    else:
        assert published.keys() == {"source", "quantity", "value", "at_least"}
        assert published["quantity"] in ("test accuracy", "test F1")
        assert 50 < float(str(published["value"]).split()[0]) < 100
        assert 50 < published["at_least"] < 100


def test_no_two_presets_have_the_same_name():
    names = [name for _, name in PRESETS]
    assert len({*names}) == len(names)
    own = [name for _, name in OWN]
    assert preset_names("language-model") == sorted([*LANGUAGE_MODELS, *own])


def test_the_best_network_is_the_same_for_every_long_text():
    """The plan adds nothing that has an effect in it."""
    written = settings_from_preset("language-model", "best")
    config = LanguageModelConfig.from_settings([written])
    for characters in (10**6, 10**9):
        suited = planned_settings(Text(characters, 66), config, sized=True, layered=True)
        planned = LanguageModelConfig.from_settings([suited, written])
        assert dataclasses.replace(planned.model, dropout=config.model.dropout) == config.model
        assert planned.training == config.training


def test_the_users_settings_win_over_a_preset():
    preset = settings_from_preset("language-model", "timemachine-lstm")
    training = LanguageModelConfig.from_settings([preset, {"training": {"minutes": 1}}]).training
    assert (training.epochs, training.minutes, training.clip_norm) == (None, 1.0, 1.0)


@pytest.mark.parametrize(
    ("task", "name", "message", "hint"),
    [
        ("tag", "timemachine-lstm", "is for another task", "charlm train --preset timemachine-ls"),
        ("tag", "imdb-best", "is for another task", "charlm classify train --preset imdb-best"),
        ("language-model", "atis-elman", "is for another", "charlm tag train --preset atis-elman"),
        ("language-model", "timemachine-lstmm", "unknown preset: ", "did you mean timemachine-l"),
        ("classify", "../tag/atis-elman", "unknown preset: ", "known: imdb-best"),
        ("tag", "", "unknown preset: ''", "known: atis-bilstm"),
        ("tag", "a\nb", r"unknown preset: 'a\nb'", "known: atis-bilstm"),
    ],
)
@pytest.mark.parametrize("read", [preset, settings_from_preset])
def test_a_preset_that_is_refused(read, task, name, message, hint):
    with pytest.raises(UsageError) as caught:
        read(task, name)
    assert message in caught.value.message
    assert caught.value.hint.startswith(hint)


# One place for each setting


def test_a_subclass_overrides_a_default_or_a_help_and_inherits_the_rest():
    base, tagger = NetworkSection.settings(), TaggerSection.settings()
    assert tagger["dropout"] == base["dropout"]
    assert (TaggerSection().dropout, NetworkSection().dropout) == (0.25, 0.3)
    assert tagger["hidden_size"].help != base["hidden_size"].help
    assert tagger["hidden_size"].option == ("--hidden-size",)
    assert tagger["hidden_size"].range == base["hidden_size"].range


def test_a_field_that_is_not_a_setting_is_refused():
    with pytest.raises(TypeError, match=r"Bare\.size is not made by setting\(\)"):

        class Bare(Section):
            size: int = 3


def test_choices_may_grow():
    kinds = {"a": 1}

    @dataclass(frozen=True, kw_only=True)
    class Growing(Section, section="model"):
        kind: str = setting("a", "The kind.", choices=kinds)

    with pytest.raises(UsageError, match=r"model\.kind is 'b'; it can be a$"):
        Growing(kind="b")
    kinds["b"] = 2
    assert Growing(kind="b").kind == "b"


@pytest.mark.parametrize(("task", "section", "key"), ALL)
def test_every_setting_has_a_help_and_an_unset_value_is_explained(task, section, key):
    setting, home = about(task, section, key), CONFIGS[task].sections()[section]
    assert setting.help.endswith(".")
    assert (setting.none_means is not None) >= home.type_of(key)[1]


BETWEEN, MOGRIFIER = {"dropout", "residual", "skip"}, {"mogrifier_rounds", "mogrifier_rank"}
ROWS, NGRAMS = {"ngram_rows"}, {"ngram_rows", "ngram_dropout"}


@pytest.mark.parametrize(
    ("task", "assignments", "idle"),
    [
        ("language-model", [], BETWEEN | MOGRIFIER | NGRAMS),
        ("language-model", ["ngram_order=2"], BETWEEN | MOGRIFIER),
        ("language-model", ["num_layers=2"], MOGRIFIER | NGRAMS),
        ("language-model", ["num_layers=2", "cell=mogrifier"], NGRAMS),
        (
            "language-model",
            ["num_layers=2", "cell=mingru"],
            {"weight_dropout"} | MOGRIFIER | NGRAMS,
        ),
        (
            "language-model",
            ["num_layers=2", "embedding=one-hot"],
            {"input_dropout", "embedding_dropout"} | MOGRIFIER | NGRAMS,
        ),
        (
            "classify",
            ["embedding=one-hot", "ngrams=1"],
            {"input_dropout"} | BETWEEN | MOGRIFIER | ROWS,
        ),
        ("tag", [], BETWEEN | MOGRIFIER),
    ],
)
def test_settings_without_effect(task, assignments, idle):
    assert set_(task, *assignments).model.idle().keys() == idle


@pytest.mark.parametrize("embedding", ["tied", "one-hot"])
def test_skip_connections_need_a_learned_embedding(embedding):
    assert set_("language-model", "skip=true", f"embedding={embedding}").model.skip  # of one layer
    with pytest.raises(UsageError, match=r"model\.skip with several layers needs a learned"):
        set_("language-model", "skip=true", f"embedding={embedding}", "num_layers=2")


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        (["zoneout_hidden=0.1", "backend=torch"], "torch's layers have no zoneout"),
        (["zoneout_cell=0.1", "cell=gru"], "the cell gru has no cell state for model.zoneout_cell"),
        (["past_decode=0.1", "embedding=one-hot"], "needs an embedding, and the input is one-hot"),
    ],
)
def test_networks_that_cannot_be_regularised_so(assignments, words):
    with pytest.raises(UsageError, match=words):
        set_("language-model", *assignments)


def test_slow_choices_are_told():
    given = {"model": {"zoneout_hidden": 0.1, "cell": "gru-layernorm"}}
    notices = LanguageModelConfig.from_settings([given]).idle_notices([given])
    assert [notice.partition(":")[0] for notice in notices] == [
        "model.zoneout_hidden is 0.1 and makes training slow",
        "model.cell is gru-layernorm and makes training slow",
    ]


def test_settings_of_other_optimisers_and_schedules_have_no_effect():
    given = {"training": {"beta1": 0.5, "plateau_factor": 0.2, "averaging": 0.9}}
    config = set_("language-model", "optimiser=sgd")
    merged = LanguageModelConfig.from_settings([config.to_dict(), given])
    assert [line.split()[0] for line in merged.idle_notices([given])] == [
        "training.beta1",
        "training.plateau_factor",
    ]
    used = set_("language-model", "schedule=plateau")
    assert not used.training.idle()


def test_one_mean_of_the_weights_replaces_another_and_two_are_refused():
    sources = [{"training": {key: value}} for key, value in (("averaging", 0.9), ("swa", 0.2))]
    training = LanguageModelConfig.from_settings(sources).training
    assert (training.averaging, training.swa) == (None, 0.2)
    with pytest.raises(UsageError, match=r"training\.averaging and training\.nt_asgd are diff"):
        set_("language-model", "averaging=0.9", "nt_asgd=5")


def test_the_page_of_settings_is_up_to_date():
    """``python -m charlm.cli.settings_page > docs/settings.md`` writes it."""
    page = Path(__file__).parents[1] / "docs" / "settings.md"
    assert page.read_text(encoding="utf-8") == settings_page()
