"""The page that is a model gives the model's logits, in Chromium; and it writes, offline."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from charlm.corpus import Vocabulary
from charlm.corpus.cleaning import CLEANINGS, clean
from charlm.tasks.language_model.decoding import Decoding, generate
from charlm.tasks.language_model.model_page import model_page, packed, page_data, unpacked
from charlm.tasks.language_model.plain import plain_model
from charlm.tasks.language_model.surprisal import surprisal

STEPS = 200
LOGITS = """([given, ids]) => {
    const { model: about, layout, weights } = given ?? data;
    const model = new PlainModel(about, unpack(layout, weights));
    let states = model.first();
    return ids.map((id) => {
        const found = model.step(id, states);
        states = found.states;
        return [...found.logits];
    });
}"""
ABOUT = {
    **{"run": "a run", "corpus": "a text", "cleaning": "letters", "cell": "lstm", "before": ""},
    **{"characters": list("abcdefghijklmnopqrs "), "start": [20], "prefix": "a dog"},
    **{"spelling_nats": 13.0, "parameters": 1234},
}


@pytest.fixture
def page_of(tmp_path):
    """Writes the page of a model."""

    def write(model, *, float32=False, **about):
        plain = plain_model(model, {**ABOUT, **about})
        file = tmp_path / f"model{float32}.html"
        file.write_bytes(model_page(plain, packed(plain, float32=float32)))
        return file

    return write


@pytest.fixture
def small():
    from charlm.tasks.language_model.config import LanguageModelSection
    from charlm.tasks.language_model.model import build_language_model

    model = build_language_model(LanguageModelSection(cell="gru", hidden_size=8), 21)
    torch.nn.init.normal_(model.head.bias)
    return model.eval()


@pytest.mark.parametrize(("float32", "most"), [(False, 1e-3), (True, 1e-5)])
def test_the_page_gives_the_logits_of_the_model(exportables, page_of, visit, float32, most):
    """Its own for the first model; those of the others on the same page, which is quicker."""
    page = visit(page_of(exportables["rnn"], float32=float32))
    for name, model in exportables.items():
        ids = torch.randint(0, model.vocabulary_size, (STEPS, 1))
        with torch.no_grad():
            expected, _ = model(ids, model.initial_state(1))
        plain = plain_model(model, ABOUT)
        given = None if name == "rnn" else page_data(plain, packed(plain, float32=float32))
        found = np.array(page.evaluate(LOGITS, [given, ids[:, 0].tolist()]))
        assert np.abs(found - expected[:, 0].numpy()).max() < most, name


def test_numpy_unpacks_what_the_page_unpacks(small, page_of, visit):
    plain = plain_model(small, ABOUT)
    arrays = unpacked(plain, packed(plain, float32=False)).arrays
    page = visit(page_of(small))
    for name, array in arrays.items():
        script = "(name) => [...unpack(data.layout, data.weights).get(name).values]"
        np.testing.assert_array_equal(page.evaluate(script, name), array.ravel())


def test_the_page_draws_with_the_same_probabilities(small, page_of, visit):
    page = visit(page_of(small))
    logits = torch.randn(1, 21).mul(3)
    logits[0, 5] = logits[0, 7]  # equal ones are ranked by their ids
    choices = [(1.0, None, None), (0.7, 5, None), (1.5, None, 0.8), (0.5, 9, 0.5), (0.0, 1, 0.1)]
    for temperature, top_k, top_p in choices:
        decoding = Decoding(temperature=temperature, top_k=top_k, top_p=top_p)
        found = page.evaluate(
            "([logits, decoding]) => [...probabilities(logits, decoding)]",
            [logits[0].tolist(), {"temperature": temperature, "top_k": top_k, "top_p": top_p}],
        )
        expected = decoding.probabilities(logits)[0]
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


def test_the_page_cleans_a_text_as_charlm_does(small, page_of, visit):
    texts = [
        "",
        "Ab, c\r\nD\n\n  e f \n",
        " \ta\rb ",
        "Zeit\u00e9 \u65f6\u95f4 x\U0001f600y",
        "--",
        "A--b",
    ]
    page = visit(page_of(small))
    for name in CLEANINGS:
        found = page.evaluate("([name, texts]) => texts.map(CLEANINGS[name])", [name, texts])
        assert found == [clean(text, name) for text in texts]


def parts(page, **wanted):
    """What the page's engine answers."""
    wanted = {"prefix": "a dog", "written": "", "seed": 1, "length": 30, **wanted}
    wanted = {"temperature": 1.0, "top_k": None, "top_p": 1.0, **wanted}
    script = """async (wanted) => {
        const parts = [];
        for await (const part of engine.write(wanted)) parts.push(part);
        return parts;
    }"""
    return page.evaluate(script, wanted)


def written(answer):
    return "".join(step["character"] for part in answer for step in part.get("steps", ()))


def test_the_page_writes_a_text(small, page_of, visit):
    page = visit(page_of(small))
    first, *_, last = answer = parts(page)
    assert (first["text"], first["notices"], first["seed"]) == ("a dog", [], 1)
    assert len(written(answer)) == 30
    assert last["end"] == "length"
    assert abs(sum(last["next"]["own"])) <= 1 + 1e-9
    assert written(parts(page)) == written(answer)  # the seed decides
    assert written(parts(page, seed=2)) != written(answer)
    # With what is written already, the text goes on; the most probable characters are charlm's.
    ids = [ABOUT["characters"].index(each) + 1 for each in "a doge"]
    expected = [int(each) for each in generate(small, ids, length=20)]
    greedy = parts(page, written="e", temperature=0, length=20)
    assert greedy[0]["text"] == "a doge"
    assert written(greedy) == "".join(ABOUT["characters"][id - 1] for id in expected)
    cleaned = parts(page, prefix="A  D\u00f6g z", length=1)[0]
    assert cleaned["text"] == "a d g z"
    assert cleaned["notices"] == [
        "the prefix was cleaned as the corpus was (letters)",
        "not in the vocabulary, the model reads <unk> instead: z",
    ]


def test_a_model_of_lines_ends_with_the_line(small, page_of, visit):
    characters = [*ABOUT["characters"][:-1], "\n"]
    with torch.no_grad():
        small.head.bias[20] += 3  # of the line end
    about = {"before": "\n", "characters": characters, "cleaning": "none"}
    page = visit(page_of(small, **about))
    *_, last = answer = parts(page, prefix="", length=500)
    assert last["end"] == "line"
    assert len(written(answer)) < 500
    assert "\n" not in written(answer)
    page.locator("#own").fill("a\ndog")
    page.locator("#surprisal").click()
    page.locator("#own-error", has_text="this model reads single lines").wait_for()


def test_the_surprisal_of_a_text_is_charlms(small, page_of, visit):
    text = "a fond dog rakes"
    found = visit(page_of(small)).evaluate("(text) => engine.surprisal({ text })", text)
    vocabulary = Vocabulary(tuple(ABOUT["characters"]))
    expected = surprisal(small, vocabulary, vocabulary.encode(text), text, None)
    np.testing.assert_allclose(found["bits"][1:], expected.bits[1:], atol=1e-3)
    assert found["characters"] == [*text]
    first = [vocabulary.decode([id]) for id in expected.likely[3]]
    assert [character for character, _ in found["expected"][3]] == first


def write(page, length=40):
    """The text after a click on the button."""
    page.locator("#length").fill(str(length))
    page.locator("#write").click()
    page.locator(".status", has_text=f"{length} characters").wait_for()
    return page.locator(".written").inner_text()


def shares(page):
    return [float(each.get_attribute("data-share")) for each in page.locator(".track").all()]


def test_a_text_grows_and_goes_on_from_another_character(small, page_of, visit):
    page = visit(page_of(small))
    page.locator("#seed").fill("7")
    first = write(page)
    assert first.startswith("a dog")
    assert len(first) >= 40
    spans = page.locator(".written [data-place]")
    spans.nth(10).click()
    assert abs(sum(shares(page)) - 1) < 1e-6
    other = page.locator('.alternatives button[aria-pressed="false"]').nth(3)
    character = other.inner_text().replace("\u2423", " ")
    other.click()
    page.locator(".status", has_text="51 characters").wait_for()
    assert "".join(spans.all_text_contents()[:11]) == first[5:15] + character
    assert write(page) == first  # of the same seed
    page.locator("#temperature").fill("0")
    page.locator("#temperature-value", has_text="the most probable").wait_for()
    assert write(page, 41) != first
    assert max(shares(page)) == 1


def test_ones_own_text_is_coloured(small, page_of, visit):
    page = visit(page_of(small))
    page.locator("#own").fill("<b>a dog</b>")
    page.locator("#surprisal").click()
    text = page.locator("#measured .text")
    text.wait_for()
    assert text.inner_text() == "b a dog b"  # the letters that the cleaning leaves
    assert "cleaned as the corpus was" in page.locator("body").inner_text()
    assert text.locator(".bits3").count()
    text.locator("span").nth(2).click()
    assert "the network had expected" in page.locator("#measured .expected").inner_text()
    assert page.locator("#copies").is_hidden()


@pytest.mark.parametrize(
    "markup", ["</script><script>alert(1)</script>", "<img src=x onerror=a()>"]
)
def test_markup_stays_text(small, page_of, visit, markup):
    characters = sorted({*markup, *"abcdefghijklmnopqrstuvwx"})[:20]
    about = {"run": markup, "prefix": markup, "characters": characters, "cleaning": "none"}
    page = visit(page_of(small, corpus=markup, **about))
    assert page.title() == f"{markup}: a model that writes"
    assert markup in write(page)
    assert page.locator("h2").first.inner_text() == markup
    assert page.locator("main script, img").count() == 0


@pytest.mark.slow
def test_the_page_on_desktop_and_phone(small, page_of, picture):
    characters = list("时间旅行者说，这是一个深奥的问题。你知")
    chinese = {"characters": [*characters, "\n"], "prefix": "时间", "cleaning": "none"}

    def ready(page):
        page.locator("#colours").check()
        page.locator("#seed").fill("1")
        write(page, 300)
        page.locator("#take").click()
        page.locator("#surprisal").click()
        page.locator("#measured .text span").nth(12).click()

    picture(page_of(small, **chinese), "model", ready)
