"""The playground over HTTP: texts, measurements, bounds, and who may ask."""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from charlm.errors import CorpusError
from charlm.runs import Run
from charlm.serve import playground as playground_module
from charlm.serve.models import Served
from charlm.serve.requests import MOST_BYTES, MOST_CHARACTERS, MOST_LENGTH, read_wanted
from charlm.tasks.language_model.baselines import best_order
from charlm.tasks.language_model.mixture import Mixture
from charlm.tasks.language_model.ngram import NGram
from charlm.tasks.language_model.run import LanguageModelRun
from charlm.tasks.language_model.steps import ALTERNATIVES


@pytest.fixture
def generate(ask):
    """A function that asks for a text, and returns the objects of its lines."""

    def text(**wanted):
        status, _, body = ask("POST", "/api/generate", wanted)
        assert status == 200, body
        return [json.loads(line) for line in body.splitlines()]

    return text


def steps(lines):
    return [step for line in lines for step in line.get("steps", ())]


def written(lines):
    return lines[0]["text"] + "".join(step["character"] for step in steps(lines))


@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 0}, {"temperature": 1.5, "top_k": 3, "top_p": 1}]
)
def test_a_text_is_that_of_the_library(generate, served_runs, settings):
    lines = generate(prefix="<b>One", length=50, seed=7, **settings)
    run = Run.open(served_runs[0])
    expected = run.generate("<b>One", 50, exact_length=True, seed=7, **settings)
    assert written(lines) == expected
    assert lines[0]["seed"] == 7
    assert lines[-1]["end"] == "length"


def test_the_alternatives_are_a_distribution_and_the_character_is_one_of_them(generate):
    lines = generate(prefix="<b>One", length=40, top_p=0.9, temperature=1.2)
    for step in [*steps(lines), lines[-1]["next"]]:
        for shares in step["drawn"], step["own"]:
            assert all(share >= 0 for share in shares)
            assert sum(shares) <= 1 + 1e-5
            assert shares[:ALTERNATIVES] == sorted(shares[:ALTERNATIVES], reverse=True)
        assert sum(step["drawn"]) > 0.5
        assert step.get("character", step["likely"][0]) in step["likely"]
        assert len(step["likely"]) - ALTERNATIVES in (0, 1)


def test_no_character_is_written_for_a_length_of_0(generate, served_runs):
    start, end = generate(prefix="<b>One d", length=0, top_k=2, temperature=1, top_p=None)
    assert start["text"] == "<b>One d"
    run = Run.open(served_runs[0])
    shares = torch.tensor(run.logits("<b>One d")[-1]).double().softmax(0)
    ids = run.vocabulary.encode("".join(end["next"]["likely"]))
    np.testing.assert_allclose(end["next"]["own"], shares[ids], atol=1e-5)
    assert [share > 0 for share in end["next"]["drawn"]] == [True] * 2 + [False] * 8


def test_what_is_written_is_read_as_it_is(generate, tmp_path):
    """The cleaning takes a space at the end away, but not one that was written or chosen."""
    lines = generate(prefix="One day", written="</b> ", length=0)
    assert lines[0]["text"] == "One day</b> "
    whole = generate(prefix="One day", length=30, temperature=0)
    head = "".join(step["character"] for step in steps(whole)[:10])
    rest = generate(prefix="One day", written=head, length=20, temperature=0)
    assert written(rest) == written(whole)


def test_a_text_comes_in_at_most_30_frames_a_second(generate):
    began = time.monotonic()
    lines = generate(prefix="<b>", length=400)
    assert sum("steps" in line for line in lines) <= 1 + 30 * (time.monotonic() - began)


def test_the_prefix_may_be_empty_or_unknown(generate):
    assert written(generate(prefix="", length=5, seed=1)) != ""
    lines = generate(prefix="One \ud800 \U0001f600", length=1, run=1)
    assert "U+1F600" in lines[0]["notices"][-1]


def test_a_line_ends_the_text_of_a_model_of_lines(tmp_path, complete):
    from charlm.cli import run as charlm

    (tmp_path / "names.txt").write_text("anna\nbert\ncarla\n" * 50)
    sizes = "--hidden-size 16 --batch-size 8 --device cpu --epochs 3 --lines --quiet"
    words = ["train", "--corpus", str(tmp_path / "names.txt"), "--run", str(tmp_path / "run")]
    assert charlm([*words, *sizes.split()]) == 0
    served, notice = Served.load(Run.open(tmp_path / "run"), torch.device("cpu"))
    assert notice is None
    wanted = read_wanted(b'{"prefix": "an", "length": 100, "seed": 1}')
    start = served.start(wanted)
    playground = playground_module.Playground([served], (b"", ""), is_host=str.isascii)

    async def lines():
        return [json.loads(line) async for line in playground._lines(served, start, wanted)]

    found = complete(lines())
    assert found[-1]["end"] == "line"
    assert "\n" not in written(found)
    measured = served.surprisal("anna", lambda: False)
    assert np.isfinite(measured["bits"]).all()
    assert len(measured["bits"]) == 4
    np.testing.assert_allclose(measured["bits"], served.run.score("anna").surprisal[:4], rtol=1e-4)


def test_the_surprisal_of_a_text_is_that_of_the_library(ask, served_runs):
    text = "<b>One day</b> \u4e16 he sat"
    status, _, body = ask("POST", "/api/surprisal", {"text": text})
    found = json.loads(body)
    assert status == 200
    assert "".join(found["characters"]) == text
    run = Run.open(served_runs[0])
    with pytest.warns(UserWarning, match="not in the vocabulary"):
        score = run.score(text)
    assert found["bits"][0] is None
    np.testing.assert_allclose(found["bits"][1:], score.surprisal[1:], rtol=1e-4)
    assert math.isclose(found["bits_per_char"], score.bits_per_char, rel_tol=1e-4)
    assert "U+4E16" in found["notices"][0]
    train, ids = run.load_corpus().split("train"), run.vocabulary.encode(text)
    _, nats = best_order(train, ids, len(run.vocabulary))
    known = text.index("\u4e16")
    np.testing.assert_allclose(found["ngram_bits"][1:known], nats[: known - 1] / math.log(2))


def test_the_n_gram_beside_a_network_is_that_of_its_mixture_or_is_missing(served_runs, monkeypatch):
    served, _ = Served.load(Run.open(served_runs[0]), torch.device("cpu"))

    def moved(run, folder):
        raise CorpusError("it has moved")

    monkeypatch.setattr(LanguageModelRun, "load_corpus", moved)
    found = served.surprisal("One day", lambda: False)
    assert (found["ngram_bits"], found["notices"]) == (None, ["no n-gram, because it has moved"])
    text = served.run.vocabulary.encode("One day")
    ngram = NGram.count(text, len(served.run.vocabulary), 1)
    mixture = Mixture(ngram=ngram, weights=np.ones(1), learned_from=7)
    found = replace(served, mixture=mixture).surprisal("One day", lambda: False)
    np.testing.assert_allclose(found["ngram_bits"][1:], ngram.predict(text).nats[0] / math.log(2))


def test_the_units_of_a_text_are_those_of_the_library(ask, served_runs):
    text = '<b>One day</b> he sat & "thought".\n' * 30

    def unit(**wanted):
        status, _, body = ask("POST", "/api/units", {"text": text, **wanted})
        assert status == 200
        return json.loads(body)

    found = unit(unit="1.hidden.3")
    assert "".join(found["characters"]) == text[: len(found["characters"])]
    levels = np.array(found["units"][0]["levels"])
    assert {*levels.tolist()} <= {*range(-3, 4)}
    values = Run.open(served_runs[0]).hidden(text)[: len(levels), 0, 3]
    above = np.sign(values - np.median(values))
    assert (np.sign(levels) * above >= 0).all()
    assert unit(unit="1.cell.3")["units"][0]["levels"] != levels.tolist()
    assert all(row["knows"] >= 0.25 for row in unit()["units"])


def test_copies_of_the_training_text_are_found(ask):
    text = "xx <b>One day</b> he sat & zz"
    status, _, body = ask("POST", "/api/copies", {"text": text})
    found = json.loads(body)
    assert status == 200
    (passage,) = found["passages"]
    assert text[passage["start"] :][: passage["length"]] == "<b>One day</b> he sat & "
    assert 0 < found["copied_windows"]["8"] < 1


@pytest.mark.parametrize(
    ("path", "content", "status", "words"),
    [
        ("generate", b"{", 400, "not JSON"),
        ("generate", b"\xff\xfe", 400, "not JSON"),
        ("generate", b"[" * 100_000, 400, "not JSON"),
        ("generate", [], 400, "not a JSON object"),
        ("generate", {"run": 2}, 400, "no run"),
        ("generate", {"run": -1}, 400, "no run"),
        ("generate", {"run": True}, 400, "a whole number"),
        ("generate", {"prefix": 1}, 400, "a text"),
        ("generate", {"prefix": None}, 400, "a text"),
        ("generate", {"prefx": "a"}, 400, "unknown field"),
        ("generate", {"length": -1}, 400, "from 0"),
        ("generate", {"length": MOST_LENGTH + 1}, 400, "5,000"),
        ("generate", {"length": 2.5}, 400, "a whole number"),
        ("generate", {"temperature": -1}, 400, "temperature"),
        ("generate", b'{"temperature": NaN}', 400, "temperature"),
        ("generate", b'{"temperature": 1e999}', 400, "temperature"),
        ("generate", b'{"temperature": 1' + b"0" * 400 + b"}", 400, "temperature"),
        ("generate", {"top_k": 0}, 400, "top-k"),
        ("generate", {"top_p": 0}, 400, "top-p"),
        ("generate", {"top_p": 1.1}, 400, "top-p"),
        ("generate", {"seed": -1}, 400, "seed"),
        ("generate", {"seed": 2**63}, 400, "seed"),
        ("generate", {"prefix": "a" * (MOST_CHARACTERS + 1)}, 400, "at most"),
        ("generate", {"prefix": "a" * MOST_BYTES}, 413, "bytes"),
        ("surprisal", {"text": ""}, 400, "no character"),
        ("surprisal", {"text": "a"}, 400, "two characters"),
        ("surprisal", {"text": "a" * (MOST_CHARACTERS + 1)}, 400, "at most"),
        ("units", {"text": "a" * 499}, 400, "499 characters"),
        ("units", {"text": "abc", "unit": "1.hidden.16"}, 400, "no unit"),
        ("units", {"text": "abc", "unit": "2.hidden.0"}, 400, "no unit"),
        ("units", {"text": "abc", "unit": "1.hidden." + "9" * 5000}, 400, "no unit"),
        ("units", {"text": "abc", "unit": "<b>"}, 400, "no unit"),
        ("copies", {"text": ""}, 400, "no character"),
        ("copies", {"text": 5}, 400, "a text"),
        ("nothing", {}, 404, "Not Found"),
        ("runs", {}, 405, "Not Allowed"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_refused_in_a_sentence(ask, path, content, status, words):
    found, headers, body = ask("POST", f"/api/{path}", content)
    assert (found, words in json.loads(body)["error"]) == (status, True), body
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_request_that_does_not_end_is_refused(port, monkeypatch):
    head = f"POST /api/generate HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    head += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    for status, seconds, parts in (
        (b"408", 0.05, [b"1\r\n{\r\n"]),
        (b"413", 60, [b"10000\r\n", b" " * 2**16, b"\r\n"] * 3),
    ):
        monkeypatch.setattr(playground_module, "BODY_SECONDS", seconds)
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(head.encode() + b"".join(parts))
            assert connection.recv(100).split()[1] == status


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_request_must_be_json(ask, kind):
    assert ask("POST", "/api/generate", b"{}", {"Content-Type": kind})[0] == 415


def test_the_page_and_the_runs(ask, playground):
    status, headers, body = ask("GET", "/", headers={})
    assert status == 200
    assert "Playground" in body
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy
    assert headers["Cache-Control"] == "no-store"
    assert not {"Set-Cookie", "Server", "Access-Control-Allow-Origin"} & {*headers}
    runs = json.loads(ask("GET", "/api/runs", headers={})[2])["runs"]
    assert [run["name"] for run in runs] == ["markup", "chinese"]


def test_no_more_texts_than_there_are_places(ask, playground, monkeypatch):
    for places, path in (("texts", "generate"), ("measured", "surprisal")):
        monkeypatch.setattr(getattr(playground.playground, places), "most", 0)
        status, headers, body = ask(
            "POST", f"/api/{path}", {"text": "abc"} if path != "generate" else {}
        )
        assert (status, headers["Content-Type"]) == (503, "application/json")
        assert "busy" in json.loads(body)["error"]


def test_a_text_that_takes_too_long_is_ended(generate, monkeypatch):
    monkeypatch.setattr(playground_module, "MOST_SECONDS", -1.0)
    monkeypatch.setattr(playground_module, "FRAME", 60.0)  # there is time to say so
    assert generate(length=MOST_LENGTH)[-1] == {"end": "time"}


def test_a_bug_is_told_in_the_terminal_only(ask, playground, monkeypatch, caplog):
    def broken(text):
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(playground.playground.models[0], "copies", broken)
    status, _, body = ask("POST", "/api/copies", {"text": "a"})
    assert status == 500
    assert "secret" not in body
    assert "a secret" in caplog.text


def begin(port, **wanted):
    """A connection on which a text is being written."""
    connection = socket.create_connection(("127.0.0.1", port))
    body = json.dumps(wanted).encode()
    head = f"POST /api/generate HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    return connection


def free(places):
    """Whether no place is taken any more, after a while."""
    ends = time.monotonic() + 30
    while places.taken and time.monotonic() < ends:
        time.sleep(0.01)
    return not places.taken


def test_a_closed_page_frees_its_text_within_a_second(
    playground, port, a_step_a_frame, monkeypatch
):
    """A second is 30 frames: that holds on a busy machine too."""
    played = playground.playground
    read, model = [], played.models[0].model
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda *inputs: read.append(1) or forward(*inputs))
    connections = [begin(port, length=MOST_LENGTH) for _ in range(3)]
    assert played.texts.taken == 3
    count = len(read)
    for connection in connections:
        connection.close()
    assert free(played.texts)
    assert len(read) - count <= 30 * 3
    count = len(read)
    time.sleep(0.1)
    assert len(read) == count  # the model rests


def test_a_closed_page_ends_its_measurement(playground, port, monkeypatch):
    played = playground.playground
    stopped = threading.Event()

    def measure(text, should_stop):
        while not should_stop():
            time.sleep(0.01)
        stopped.set()
        return {}

    monkeypatch.setattr(played.models[0], "surprisal", measure)
    connection = socket.create_connection(("127.0.0.1", port))
    head = f"POST /api/surprisal HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 15\r\n\r\n"
    connection.sendall(head.encode() + b'{"text": "abc"}')
    while not played.measured.taken:
        time.sleep(0.01)
    connection.close()
    assert stopped.wait(30)
    assert free(played.measured)


def test_20_clients_at_once(generate, playground):
    """A minute of it, with the memory of the process: tests/cli/test_serve.py."""

    def client(number):
        return written(generate(prefix="<b>", length=30, seed=number, run=number % 2))

    with ThreadPoolExecutor(20) as pool:
        texts = [*pool.map(client, range(40))]
    assert {len(text) for text in texts} == {33}
    assert texts[0] == client(0)
    assert len({*texts}) > 5
    assert free(playground.playground.texts)
