"""An option that takes one value is given once; flags and lists can be repeated."""

from __future__ import annotations

import pytest
import typer
from typer.core import TyperGroup, TyperOption

from charlm.cli import build_app
from charlm.errors import UsageError


def commands(group):
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command)
        else:
            yield name, command


def test_every_option_with_one_value_is_refused_if_it_is_given_twice():
    tried = set()
    for name, command in commands(typer.main.get_command(build_app())):
        for option in command.params:
            if not isinstance(option, TyperOption) or option.is_flag or option.multiple:
                continue
            first, last = option.opts[0], option.opts[-1]  # perhaps two names of the option
            with pytest.raises(UsageError) as caught:
                command.make_context(name, [first, "1", f"{last}=2"])
            assert caught.value.message == f"{' or '.join(option.opts)} is given twice"
            tried.add(last)
    assert tried > {"--corpus", "--prefix-file", "--num-steps", "--run", "--corpora-dir", "--plot"}


def test_help_flags_and_lists_can_be_repeated(charlm):
    words = ("train", "--dry-run", "--json", "--json", "--set", "seq_len=5", "--set", "lr=0.5")
    config = charlm(*words).json["config"]
    assert (config["training"]["seq_len"], config["training"]["lr"]) == (5, 0.5)
    assert charlm("train", "--corpus", "a", "--corpus", "b", "--help", "--help").code == 0
    refused = charlm("train", "--corpus", "a", "--corpus", "b")
    assert (refused.code, refused.error, refused.hint) == (
        2, "--corpus is given twice", "give it once",
    )  # fmt: skip
