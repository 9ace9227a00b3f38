"""Pages as such: one file, safe whatever their data are."""

from __future__ import annotations

import re

import pytest

from charlm.pages import CHARTS, page

HOSTILE = [
    *("</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<!--<script>"),
    *("{{ 7 * 7 }}", "\u2028\u2029", "]]>", "&lt;b&gt;", "\x00\x1b[31m", "时间旅行者", "'\"`\\"),
]


def made(**data):
    return page(
        "surprisal.html",
        title=data["where"],
        data=data,
        scripts=["coloured.js", "surprisal.js"],
    )


def surprisal(text, where="a text"):
    count = len(text)
    return {
        "run": "a run",
        "where": where,
        "text": text,
        "bits": [None, *(place % 11 for place in range(1, count))],
        "ngram_bits": [None, *(place % 3 for place in range(1, count))],
        "expected": [None, *([["e", 0.5], [" ", 0.25]] for _ in range(1, count))],
    }


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "page.html"
        path.write_bytes(content)
        return path

    return write


def test_a_page_names_no_other_address():
    content = page("surprisal.html", title="t", data={}, scripts=[*CHARTS]).decode()
    addresses = set(re.findall(r"https?://[\w./-]+", content))
    assert addresses <= {"https://github.com/leeoniya/uPlot"}  # in the comment of its licence
    assert not re.search(r"(?:src|href)=\"(?!data:)", content)


@pytest.mark.parametrize("text", HOSTILE)
def test_data_stays_text(visit, file, text):
    text = "ab" + text
    shown = visit(file(made(**surprisal(text, where=text))))
    title = shown.locator("title").evaluate("element => element.textContent")
    assert title == text.replace("\x00", "\ufffd")
    pieces = shown.locator(".text span").all_text_contents()
    assert "".join(pieces).replace("\u21b5", "") == text
    assert shown.locator("img").count() == 0
    assert shown.locator("main script").count() == 0


def test_pointing_at_a_character_shows_what_was_expected(visit, file):
    shown = visit(file(made(**surprisal("time traveller"))))
    shown.locator(".text span").nth(5).hover()
    words = shown.locator(".expected").inner_text()
    assert "time\u2423" in words
    assert "network 5.00, n-gram 2.00" in words
    assert shown.locator(".expected .number").all_inner_texts() == [
        *("50.0%", "25.0%", "25.0%")  # the last is all others
    ]
    shown.locator(".text").focus()
    shown.keyboard.press("ArrowRight")
    assert "network 6.00" in shown.locator(".expected").inner_text()


def test_the_colours_are_of_the_network_or_of_the_n_gram(visit, file):
    shown = visit(file(made(**surprisal("time traveller"))))
    span = shown.locator(".text span").nth(8)
    assert span.get_attribute("class") == "bits4"
    shown.get_by_role("button", name="n-gram").click()
    assert span.get_attribute("class") == "bits2"


@pytest.mark.slow
def test_the_page_on_desktop_and_phone(picture, file):
    text = "The Time Traveller (for so it will be convenient to speak of him)\n" * 8
    picture(
        file(made(**surprisal(text + "时间旅行者向我们解释一个深奥的问题。\n" * 6))),
        "surprisal",
        lambda shown: shown.locator(".text span").nth(10).hover(),
    )


def attribution(text, character="e"):
    bits = [0.25 * (place % 7 - 3) for place in range(len(text))]
    data = {"run": "a run", "where": "a text", "text": text, "character": character, "bits": bits}
    data |= {"levels": [place % 7 - 3 for place in range(len(text))], "together": sum(bits)}
    data |= {"probability": 0.5, "probability_without_text": 0.0004}
    scripts = ["coloured.js", "attribution.js"]
    return page("attribution.html", title="t", data=data, scripts=scripts)


def test_what_a_prediction_leans_on_is_drawn_as_text(visit, file):
    text = "ab" + "".join(HOSTILE)
    shown = visit(file(attribution(text, character="<b>")))
    drawn = shown.locator("#text .text").evaluate("element => element.textContent")
    assert drawn.replace("\u21b5", "") == text + "<b>"
    assert "gives <b> a probability of 50.0% after" in shown.locator("#what").inner_text()
    assert "of 0.04% after" in shown.locator("#what").inner_text()
    shown.locator(".text span").nth(5).hover()
    assert shown.locator("[aria-live]").inner_text().endswith("back: +0.500 bits")
    assert shown.locator("#listed tbody tr").count() == 12
    assert shown.locator("img, main script, main b").count() == 0


def test_a_character_without_ink_shows_its_number_and_turns_no_other_around(visit, file):
    shown = visit(file(attribution("a\u202eb\u200b\n\t\u200d")))
    spans = shown.locator(".text [data-number]")
    assert [each.get_attribute("data-number") for each in spans.all()] == ["U+202E", "U+200B"]
    a, b = (shown.locator(".text span").nth(place).bounding_box()["x"] for place in (0, 2))
    assert a < b


@pytest.mark.slow
def test_the_page_of_a_prediction(picture, file):
    text = "But the Time Traveller had more than a touch of whim among his \u65f6\u95f4\n"
    picture(file(attribution(text)), "attribution")


def units(text, words="place in the line: 17 and more", **more):
    cost = {"held_at": 0.2, "everywhere": 0.01, "there": 0.2, "elsewhere": -0.004, "random": None}
    found = {"unit": "2.cell.17", "feature": words, "words": words, "tracks": True, "cost": cost}
    found = {**found, "knows": 0.6, "untrained": 0.1, "more_units": 3}
    levels = [round((place % 21 - 10) / 10, 2) for place in range(len(text))]
    data = {"run": "a run", "where": "a text", "characters": 20_000, "units": 768}
    features = [found, {**found, "unit": "1.hidden.4", "tracks": False, "cost": None}]
    drawn = [{**found, "text": text, "levels": levels, "side": 1}]
    data = {**data, "shuffled": 0.02, "features": features, "drawn": drawn, **more}
    return page("units.html", title="Units", data=data, scripts=["coloured.js", "units.js"])


def test_units_are_drawn_as_text(visit, file):
    text = "ab" + "".join(HOSTILE)
    shown = visit(file(units(text, words=text)))
    drawn = shown.locator(".text").evaluate("element => element.textContent")
    assert drawn.replace("\u21b5", "") == text
    assert shown.locator("#drawn h2").evaluate("element => element.textContent").endswith(text)
    assert shown.locator("img").count() == 0
    assert shown.locator("main script").count() == 0


@pytest.mark.slow
def test_the_page_of_units(visit, file, picture):
    text = "The Time Traveller (for so it will be convenient)\nto speak of him. \u65f6\u95f4\n" * 5
    shown = visit(file(units(text)))
    assert shown.locator("#found td").all_inner_texts() == [
        *("2.cell.17", "place in the line: 17 and more", "60%", "10%", "3"),
        *("+0.200", "\u22120.004", "\u2013"),
    ]
    spans = shown.locator(".text span")
    assert spans.first.get_attribute("class") == "low3"
    assert {each.get_attribute("class") for each in spans.all()} == {
        *("low1", "low2", "low3", "", "high1", "high2", "high3")
    }
    picture(file(units(text)), "units")
    empty = visit(file(units(text, features=[], drawn=[])))
    assert "No unit tracks anything." in empty.locator("#found").inner_text()
