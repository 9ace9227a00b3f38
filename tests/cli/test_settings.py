"""Options, --set, TOML, the plan and resuming are made from the settings' fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from charlm.config import setting
from charlm.runs import Run
from charlm.tasks import LANGUAGE_MODEL
from charlm.tasks.classification.config import ClassificationConfig
from charlm.tasks.language_model.config import LanguageModelConfig, LanguageTrainingSection
from charlm.tasks.tagging.config import TaggingConfig

COMMANDS = {
    "train": LanguageModelConfig,
    "classify train": ClassificationConfig,
    "tag train": TaggingConfig,
}
SMALL = ("--hidden-size", "4", "--batch-size", "8", "--device", "cpu", "--max-chars", "2000")


def plan(charlm, *arguments: str) -> dict:
    return charlm("train", *SMALL, *arguments, "--dry-run", "--json").json["config"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_every_option_with_its_help_and_default(command, charlm):
    code, out, _ = charlm(*command.split(), "--help")
    assert code == 0
    helped = "".join(out.split())  # without the line breaks
    for section in COMMANDS[command].sections().values():
        defaults = section.defaults()
        for key, about in section.settings().items():
            for option in about.option:
                assert option.split("/")[0] in out
                assert "".join(about.help.split()) in helped
                if not isinstance(defaults[key], bool):
                    assert "".join(f"[default: {about.words(defaults[key])}]".split()) in helped


def test_both_names_of_a_flag_and_its_default_are_shown(charlm):
    _, out, _ = charlm("tag", "train", "--help")
    assert "--bidirectional / --one-way" in out
    assert "[default: --bidirectional]" in " ".join(out.split())


@pytest.mark.parametrize(
    ("options", "assignments"),
    [
        (("--corpus", "night_train"), ("source=night_train",)),
        (("--lr", "1e-3", "--epochs", "3"), ("lr=1e-3", "epochs=3")),
        (("--num-steps", "7"), ("seq_len=7",)),
        *((("--clip-norm", off), ("clip_norm=0",)) for off in ("none", "inf", "0.0")),
        (("--clip-norm", "0"), ("clip_norm=infinity",)),
        (("--deterministic",), ("deterministic=true",)),
        (("--prefix", "The", "--prefix", "and"), ("prefixes=The, and",)),
        (("--cleaning", "none", "--patience", "none"), ("cleaning=none", "patience=none")),
    ],
)
def test_an_option_is_an_assignment(charlm, options, assignments):
    words = [word for each in assignments for word in ("--set", each)]
    assert plan(charlm, *options) == plan(charlm, *words) != plan(charlm)


@pytest.mark.parametrize("off", ["inf", "0", '"none"', '"inf"'])
def test_a_file_may_turn_clipping_off(charlm, folder, off):
    (folder / "mine.toml").write_text(f"[training]\nclip_norm = {off}\n")
    assert plan(charlm, "--config", "mine.toml") == plan(charlm, "--clip-norm", "none")


@pytest.mark.parametrize("wrong", ["-inf", "nan", "-1", "off"])
def test_clip_norm_is_a_limit(charlm, wrong):
    result = charlm("train", "--dry-run", f"--clip-norm={wrong}")
    assert result.code == 2
    assert result.error.startswith("training.clip_norm is ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--lr", "-1"), "training.lr is -1.0; it must be above 0 and finite"),
        (("--hidden-size", "many"), "model.hidden_size is 'many'; it must be a whole number"),
        (("--set", "hidden_size=many"), "model.hidden_size is 'many'; it must be a whole number"),
        (("--cell", "lstn"), "model.cell is 'lstn'; it can be rnn, rnn-relu, gru, "),
    ],
)
def test_an_option_is_checked_like_an_assignment(charlm, options, message):
    code, out, err = charlm("train", *options, "--dry-run")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")


# A new field


@dataclass(frozen=True, kw_only=True)
class ExtendedSection(LanguageTrainingSection):
    """Two more settings: one may change on resume, the other may not."""

    momentum: int = setting(5, "The new setting.", option="--momentum", at_least=0, at_most=9)
    noise: float = setting(0.5, "The other.", option="--noise", above=0, resumable=True)


@dataclass(frozen=True, kw_only=True)
class ExtendedConfig(LanguageModelConfig):
    """The configuration of a language model with the two settings."""

    training: ExtendedSection = field(default_factory=ExtendedSection)


def test_a_new_field_is_known_everywhere(charlm, monkeypatch):
    """In help, options, --set, TOML and the plan; a run keeps it, and resuming compares it."""
    monkeypatch.setattr(type(LANGUAGE_MODEL), "config_type", ExtendedConfig)
    assert "--momentum N" in charlm("train", "--help")[1]
    assert "The new setting. [default: 5]" in charlm("train", "--help")[1]
    Path("mine.toml").write_text("[training]\nmomentum = 7\n")
    for words in (("--momentum", "7"), ("--set", "momentum=7"), ("--config", "mine.toml")):
        assert plan(charlm, *words)["training"]["momentum"] == 7
    code, _, err = charlm("train", "--momentum", "10")
    assert (code, "training.momentum is 10; it must be from 0 to 9" in err) == (2, True)

    begin = ("train", *SMALL, "--seq-len", "20", "--run", "run", "--quiet")
    assert charlm(*begin, "--epochs", "1", "--momentum", "7")[0] == 0
    assert Run.open("run").config.training.momentum == 7
    code, _, err = charlm("train", "--resume", "--run", "run", "--momentum", "8")
    assert (code, "training.momentum is 7 in the run, not 8" in err) == (2, True)
    assert charlm("train", "--resume", "--run", "run", "--noise", "0.7", "--epochs", "2")[0] == 0
    assert Run.open("run").config.training.noise == 0.7


# Settings without effect


@pytest.mark.parametrize(
    ("arguments", "warned"),
    [
        (("--set", "dropout=0.2"), ["model.dropout is 0.2 but has no effect"]),
        (("--set", "dropout=0"), []),
        (("--set", "dropout=0.2", "--num-layers", "2"), []),
        (("--set", "embedding=one-hot"), []),
        (("--config", "a.toml"), ["model.input_dropout is 0.1", "model.dropout is 0.2"]),
        (("--preset", "timemachine-rnn", "--corpus", "traveller", "--set", "split=none"), []),
        ((), []),
    ],
)
def test_a_given_setting_without_effect_is_warned_of(charlm, arguments, warned):
    Path("a.toml").write_text(
        '[model]\nembedding = "one-hot"\ninput_dropout = 0.1\ndropout = 0.2\n'
    )
    code, _, err = charlm("train", *SMALL, *arguments, "--dry-run", "--quiet")
    assert code == 0
    lines = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert len(lines) == len(warned)
    assert all(any(words in line for line in lines) for words in warned)
