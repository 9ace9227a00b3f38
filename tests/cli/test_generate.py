"""``charlm generate``: where texts begin and end, seeds, files, and typing."""

from __future__ import annotations

import os
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TINY = shlex.split("--hidden-size 16 --batch-size 8 --seq-len 20 --device cpu --epochs 1 --quiet")
TEXT = "One day he sat. She went on!\nThen the sun, at last, rose.\n\n" * 60
DIGITS = "0123456789" * 300


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of a text with sentences and lines, and one of digits."""
    from charlm.cli import run

    folder = tmp_path_factory.mktemp("runs")
    for name, text in (("text", TEXT), ("digits", DIGITS)):
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
        command = ["train", "--corpus", str(folder / f"{name}.txt"), "--run", str(folder / name)]
        assert run([*command, *TINY]) == 0
    return folder


@pytest.fixture
def generate(charlm, runs):
    def command(*arguments, run="text", **options):
        return charlm("generate", "--run", runs / run, *arguments, **options)

    return command


def test_a_text_ends_after_a_sentence_or_line_and_exactly_if_asked(generate):
    for seed in range(3):
        words = ("--prefix", "One", "--temperature", 2, "--seed", seed, "--length")
        text = generate(*words, 20).out.removesuffix("\n")
        longer = generate(*words, 220, "--exact-length").out
        assert longer.startswith(text)
        assert 3 + 15 < len(text) < 3 + 220
        assert re.match(r"\s*\n|[.!]\s", longer[len(text) - 1 :]) or longer[len(text)] == "\n"
        assert generate(*words, 20, "--exact-length").out == longer[: 3 + 20] + "\n"


def test_each_text_has_a_new_seed_and_the_printed_one_gives_it_again(generate):
    short = ("--length", 40, "--exact-length")
    first, second = generate(*short), generate(*short)
    seeds = [re.search("^seed: (\\d+)$", each.err, re.MULTILINE)[1] for each in (first, second)]
    assert seeds[0] != seeds[1]
    assert first.out != second.out
    again = generate(*short, "--seed", seeds[0])
    assert again.out == first.out
    result = generate(*short, "--json").json
    again = generate(*short, "--json", "--seed", result["seed"])
    assert again.json == result
    assert again.err == f"seed: {result['seed']}\n"
    greedy = generate(*short, "--greedy", "--json")
    assert (greedy.json["seed"], greedy.err) == (None, "")
    assert set(result) == {"run", "prefix", "text", "seed", "mixture"}


def test_a_stop_is_left_out_and_may_be_a_line_end(generate):
    words = ("--prefix", "One", "--seed", 1, "--length", 100, "--json")
    whole = generate(*words).json["text"]
    assert "\n" in whole
    for stop in (r"\n", "\n"):
        assert generate(*words, "--stop", stop).json["text"] == whole.partition("\n")[0]
    middle = whole[50:52]
    expected = whole[: whole.index(middle, 3)]
    found = generate(*words, "--stop", "ž", "--stop", middle)
    assert found.json["text"] == expected
    assert "warning: --stop 'ž' can never occur: 'ž' not in the vocabulary" in found.err
    assert generate(*words[:-1], "--stop", middle).out == f"{expected}\n"


@pytest.mark.parametrize(("run", "before"), [("text", "\n"), ("digits", "0")])
def test_an_empty_prefix_starts_a_text(generate, runs, run, before):
    found = generate("--prefix", "", "--greedy", "--length", 30, "--json", run=run).json
    assert found["prefix"] == ""
    assert len(found["text"]) >= 25
    text = found["text"]
    assert any(
        generate("--prefix", each, "--greedy", "--length", 30, "--json", run=run).json["text"]
        == each + text
        for each in (before, before * 2)
    )


@pytest.mark.parametrize("written", [b"One day", b"One day\n", b"\xef\xbb\xbfOne day\r\n"])
def test_the_prefix_may_be_in_a_file_or_come_through_a_pipe(generate, written):
    short = ("--seed", 3, "--length", 5, "--json")
    Path("start.txt").write_bytes(written)
    expected = generate("--prefix", "One day", *short).json
    assert generate("--prefix-file", "start.txt", *short).json == expected
    assert generate("--prefix-file", "-", *short, stdin=written).json == expected


def test_a_long_prefix_with_many_changes_is_one_short_warning(generate):
    Path("start.txt").write_text("".join(map(chr, range(0x4E00, 0x5E00))), encoding="utf-8")
    _, _, err = generate("--prefix-file", "start.txt", "--length", 1, "-q")
    assert err.endswith("U+4E09 CJK UNIFIED IDEOGRAPH-4E09 and 4,086 more\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize("more", [(), ("--num-samples", 2)])
def test_output_writes_what_would_be_printed(generate, more):
    words = ("--prefix", "分One", "--seed", 3, "--length", 5, "--quiet", *more)
    printed = generate(*words).out
    Path("text.txt").write_text("old")
    found = generate(*words, "--output", "text.txt")
    assert (found.code, found.out) == (0, "")
    assert "text.txt exists: the complete text will replace it" in found.err
    assert Path("text.txt").read_bytes().decode() == printed
    assert generate(*words, "--output", "text.txt", "--json").json["prefix"] == "分One"
    assert [path.name for path in Path().iterdir()] == ["text.txt"]


@pytest.mark.parametrize("of_run", [True, False])
def test_output_replaces_no_text_that_is_read(generate, runs, of_run):
    file = runs / "text.txt" if of_run else Path("start.txt")
    of_run or file.write_text("One")
    refused = generate("--output", file, *([] if of_run else ["--prefix-file", file]))
    assert (refused.code, refused.hint) == (2, "name another file")
    assert refused.error.endswith(f"{file.name}' is a text that is read here")


def test_a_failed_write_leaves_the_old_file(generate, monkeypatch):
    Path("text.txt").write_text("old")

    def full(descriptor, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("charlm.atomic_files.os.write", full)
    refused = generate("--output", "text.txt", "--length", 1)
    assert (refused.code, refused.error) == (1, "cannot write text.txt: No space left on device")
    assert Path("text.txt").read_text() == "old"


def interact(generate, *lines, **options):
    typed = "".join(f"{line}\n" for line in lines).encode()
    return generate("--interactive", "--seed", 4, "--length", 20, stdin=typed, **options)


def test_typed_lines_are_continued_until_the_end_of_input(generate):
    code, out, err = interact(
        generate, "One", "", "/length 5", "/temperature 0", "She", "/top-k 3", "//x"
    )
    assert code == 0
    one = generate("--prefix", "One", "--length", 20, "--seed", 4).out
    more = generate("--prefix", one[:-1], "--length", 20, "--seed", 4).out
    she = generate("--prefix", "She", "--length", 5, "--greedy").out
    slash = generate("--prefix", "/x", "--length", 5, "--temperature", 0, "--top-k", 3).out
    assert out == more + she + slash or out == one + more.removeprefix(one[:-1]) + she + slash
    assert "length: 5\n" in err
    assert err.count("seed: 4\n") == 2


def test_interactive_tells_mistakes_and_goes_on(generate):
    code, out, err = interact(
        generate, "/temprature 1", "/length x", "/length 0", "/top-p 2", "/seed -1", "/",
        "/temperature", "/help", "/top-p none", "/seed none", "One", run="text",
    )  # fmt: skip
    assert code == 0
    assert [line for line in err.splitlines() if line.startswith("error: ")] == [
        "error: unknown command '/temprature'",
        "error: /length takes a whole number, not 'x'",
        "error: the length is 0; it must be 1 or more",
        "error: top-p is 2.0; it must be above 0 and at most 1",
        "error: the seed is -1; it must be from 0 to 2**63 - 1",
        "error: unknown command '/'",
        "error: /temperature takes a number, not ''",
    ]
    assert "hint: did you mean /temperature?" in err
    assert "\n/temperature F   " in err
    seed = re.findall("^seed: (\\d+)$", err, re.MULTILINE)[-1]
    assert out == generate("--prefix", "One", "--length", 20, "--top-p", 1, "--seed", seed).out


def test_interactive_may_begin_with_a_prefix_and_no_line(generate):
    words = ("--seed", 4, "--length", 5, "--prefix", "One")
    assert generate("--interactive", *words).out == generate(*words).out
    code, out, _ = generate("--interactive", "--length", 5, stdin=b"\xff\xfe\n")
    assert code == 0
    assert out.startswith("\ufffd\ufffd")


@pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals")
@pytest.mark.usefixtures("handled")
def test_ctrl_c_stops_only_the_text_and_ctrl_d_leaves(runs):
    master, slave = os.openpty()
    command = [sys.executable, "-m", "charlm", "generate", "--interactive", "--exact-length"]
    command += ["--length", "10000000", "--run", str(runs / "digits")]
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), slave)
    process = subprocess.Popen(command, **streams, start_new_session=True)
    os.close(slave)
    received = b""

    def wait_for(pattern, pause=0.0, silent=lambda: None):
        nonlocal received
        deadline = time.monotonic() + 180
        while not (found := re.search(pattern, received)):
            assert time.monotonic() < deadline, received
            if select.select([master], [], [], 10)[0]:
                received += os.read(master, 1000)
            else:
                silent()
        received = received[found.end() :]
        time.sleep(pause)

    interrupt = lambda: process.send_signal(signal.SIGINT)  # noqa: E731
    wait_for(rb"> ", pause=0.5)
    os.write(master, b"123\n")
    wait_for(rb"seed: \d+\s+(compiling [\w ;]+\s+)?123\d{20}")
    interrupt()
    wait_for(rb"\s+> ", pause=0.5)
    interrupt()  # at the prompt
    # A signal that came before readline waited, as on a busy machine, is seen with the next one.
    wait_for(rb"> ", pause=0.5, silent=interrupt)
    os.write(master, b"\x04")
    assert process.wait(timeout=60) == 0
    os.close(master)


def test_copies_of_the_training_text_are_shown_beside_held_out_text(generate, runs, tmp_path):
    words = ("--show-copies", "--seed", 0, "--length", 60, "--num-samples", 2, "--prefix", "012")
    printed = generate(*words, run="digits").out
    assert re.search(r"windows of 32 characters +\S+% +100\.0%", printed)
    found = generate(*words, "--json", run="digits").json["copies"]
    assert found.keys() == {"copied_windows", "passages", "beside"}
    assert found["copied_windows"].keys() == {"8", "16", "32"}
    assert found["beside"]["split"] == "test"
    assert found["beside"]["copied_windows"]["32"] == 1.0
    assert generate("--show-copies", "--interactive").code == 2
    moved = runs / "text.txt"
    moved.rename(tmp_path / "text.txt")
    refused = generate("--show-copies")
    (tmp_path / "text.txt").rename(moved)
    assert refused.code == 1
    assert "--show-copies compares with the run's text, but" in refused.error
    assert refused.out == ""


def test_the_longest_copied_passages_are_shown_with_their_places(tmp_path, capsys):
    from charlm.cli.copies import show_copies
    from charlm.cli.output import Output
    from charlm.tasks.language_model.corpus import load_corpus

    (tmp_path / "text.txt").write_text("".join(map(str, range(9000))), encoding="utf-8")
    corpus = load_corpus(str(tmp_path / "text.txt"), split=(0.9, 0.1, 0.0))
    train = corpus.text("train")
    texts = [train[100:170] + "000000000000", "11111111" + train[5000:5030]]
    found = show_copies(corpus, texts, Output(as_json=False, quiet=False))
    places = [(each["start"], each["length"], each["place"]) for each in found["passages"]]
    assert places == [(0, 70, 100), (91, 30, 5000)]
    printed = capsys.readouterr().out
    assert re.search(rf"'{train[100:140]}'\.\.\. +70 +101\n", printed)
    assert re.search(rf"'{train[5000:5030]}' +30 +5,001\n", printed)
