"""The page of ``charlm serve`` in Chromium."""

from __future__ import annotations

import re
from time import monotonic, sleep

import pytest

TAGS = (
    "script", "img src=x onerror=alert(1)", "svg onload=alert(1)", "iframe src=//evil.example", "b",
    "a href=javascript:alert(1)", "style", "meta http-equiv=refresh", "form", "input",
)  # fmt: skip
SHAPES = ("<{}>", "</{}>", '"><{}>', "'><{}>x</{}>", "<!--<{}>", "]]><{}>", "&lt;{}&gt;", "<{}/>",
          "\u2028<{}>", "${{alert(1)}}<{}>")  # fmt: skip
HOSTILE = [shape.replace("{}", tag).replace("{{", "{").replace("}}", "}")
           for shape in SHAPES for tag in TAGS]  # fmt: skip


@pytest.fixture
def page(playground, visit):
    return ready(visit(playground.address))


def ready(page):
    """The page after it has shown what may come first; a text of 40 characters is wanted."""
    page.locator("#model1").select_option("")
    page.locator("#length").fill("40")
    page.locator("#seed").fill("7")
    page.locator(".alternatives").first.wait_for()
    return page


def settled(page, words="40 characters", texts=1):
    """Wait until some texts are written."""
    page.locator("section .status", has_text=words).nth(texts - 1).wait_for()


def write(page):
    page.locator("#write").click()
    settled(page)
    return page.locator("section .written").first.inner_text()


def changed(page, before):
    """Wait until another text is written than the one before; returns it."""
    from playwright.sync_api import expect

    text = page.locator("section .written").first
    expect(text).not_to_have_text(before, timeout=30_000)
    settled(page, "characters")
    return text.inner_text()


def shares(page):
    """What the bars of all characters and of the others add up to."""
    tracks = page.locator("section").first.locator(".track")
    return sum(float(each.get_attribute("data-share")) for each in tracks.all())


def test_a_prefix_streams_and_the_bars_add_up_to_1(page):
    page.locator("#prefix").fill("<b>One")
    page.locator("#prefix").press("Enter")
    settled(page)
    assert page.locator("section .given").inner_text() == "<b>One"
    spans = page.locator("section .written [data-place]")
    assert spans.count() == 40
    for place in (0, 20, 39):
        spans.nth(place).click()
        assert abs(shares(page) - 1) < 1e-4
        pressed = page.locator('.alternatives [aria-pressed="true"]')
        assert spans.nth(place).inner_text().strip() in pressed.inner_text()


def test_the_sliders_change_the_text(page):
    tops = [page.locator(name).bounding_box()["y"] for name in ("#temperature", "#top_p")]
    assert tops[0] == tops[1]  # side by side
    first = write(page)
    assert write(page) == first  # of the same seed
    page.locator("#temperature").fill("2")
    hot = changed(page, first)
    page.locator("#top_k").fill("1")
    assert changed(page, hot) not in (first, hot)
    drawn = page.locator(".track").first.get_attribute("data-share")
    assert drawn == "1"


def test_an_alternative_goes_on_from_there(page):
    write(page)
    spans = page.locator("section .written [data-place]")
    before = "".join(spans.all_text_contents()[:10])
    spans.nth(10).click()
    other = page.locator('.alternatives button[aria-pressed="false"]').first
    character = other.inner_text().replace("␣", " ").replace("↵", "\n")
    other.click()
    settled(page, "51 characters")
    after = spans.all_text_contents()
    assert "".join(after[:11]) == before + character
    assert "picked" in spans.nth(10).get_attribute("class")
    # Other settings write only what comes after the choice again.
    page.locator("#temperature").fill("2")
    changed(page, page.locator("section .written").inner_text())
    again = spans.all_text_contents()
    assert again[:11] == after[:11]
    assert again != after


def test_the_keyboard_is_enough(page):
    page.locator("#prefix").focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("<b>")
    page.keyboard.press("Shift+Enter")
    assert page.locator("#prefix").input_value() == "<b>\n"
    page.keyboard.press("Enter")
    settled(page)
    page.locator("section .written").focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    assert page.locator("section .chosen").get_attribute("data-place") == "37"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('.alternatives') !== null")
    page.keyboard.press("Enter")
    settled(page, "78 characters")
    unlabelled = (
        "[...document.querySelectorAll('input, select, textarea')].filter(e => !e.labels.length)"
    )
    assert page.evaluate(f"{unlabelled}.length") == 0


def test_escape_stops_the_text(page, a_step_a_frame):
    page.locator("#length").fill("5000")
    page.locator("#write").click()
    page.locator("section .written [data-place]").first.wait_for()
    page.keyboard.press("Escape")
    settled(page, "stopped")
    assert 0 < page.locator("section .written [data-place]").count() < 5000
    assert page.locator("#stop").is_disabled()


def test_markup_and_script_stay_text(page):
    assert len({*HOSTILE}) == 100
    shown = page.evaluate(
        """async (texts) => {
            const shown = [];
            for (const text of texts) {
                find("#prefix").value = text;
                await columns[0].write(0, 1);
                shown.push(columns[0].given.textContent);
            }
            return shown;
        }""",
        HOSTILE,
    )
    assert shown == HOSTILE
    text = "\n".join(HOSTILE)
    page.locator("#own").fill(text)
    for button in ("#surprisal", "#copies"):
        page.locator(button).click()
        page.locator("#measured .text").wait_for()
        found = "".join(page.locator("#measured .text span").all_text_contents())
        assert found.replace("↵", "") == text
    written = "script, img, svg, iframe, a, style, meta, form, input"
    assert page.locator(":is(#columns, #measured) :is(" + written + ")").count() == 0


def test_two_runs_side_by_side(visit, playground):
    page = visit(playground.address)
    page.locator("#length").fill("40")
    page.locator("#prefix").fill("时间")
    page.locator("#write").click()
    settled(page, texts=2)
    assert page.locator("#columns h2").all_inner_texts() == ["markup", "chinese"]
    assert page.locator("#columns .status").all_inner_texts() == ["40 characters"] * 2
    assert "行" in page.locator("#columns .written").nth(1).inner_text()
    assert "U+65F6" in page.locator("#columns .notice").first.inner_text()


def test_surprisal_and_copies_of_the_own_text(page):
    page.locator("#own").fill("xx <b>One day</b> he sat & zz")
    page.locator("#surprisal").click()
    page.locator("#measured .text span").nth(8).click()
    words = page.locator("#measured .expected").inner_text()
    assert re.search(r"bits: network [\d.]+, n-gram [\d.]+; the network had expected", words)
    page.locator("#measured .text").press("ArrowRight")
    assert page.locator("#measured .chosen").get_attribute("data-place") == "9"
    page.locator("#unit").fill("1.hidden.3")
    page.locator("#units").click()
    page.locator("#measured .high3").first.wait_for()
    assert page.locator("#measured .text").inner_text() == "xx <b>One day</b> he sat & zz"
    page.locator("#copies").click()
    page.get_by_text("<b>One␣day</b>␣he␣sat␣&␣").wait_for()
    assert page.locator("#measured .bits2").inner_text() == "<b>One day</b> he sat & "


def test_the_page_gives_the_token_of_its_address(playground, visit, monkeypatch):
    monkeypatch.setattr(playground.playground.app, "token", "secret")
    page = ready(visit(f"{playground.address}?token=secret"))
    assert len(write(page)) > 40


def test_what_the_server_refuses_is_said(browser, playground):
    """Chromium tells the console of a refusal too, so this page is not watched."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(playground.address)
    ready(page)
    page.locator("#copies").click()
    page.locator("#own-error", has_text="no character").wait_for()
    page.evaluate('data.runs[0].name = "x"; find("#seed").value = "-1"; columns[0].write(0, 5)')
    page.locator("section .error", has_text="the seed is -1").wait_for()
    assert page.locator("section .status").inner_text() == "stopped"
    context.close()


def test_a_closed_tab_frees_its_text(page, playground, a_step_a_frame):
    """How soon it does: tests/serve/test_playground.py."""
    places = playground.playground.texts
    page.locator("#length").fill("5000")
    page.locator("#write").click()
    page.locator("section .written [data-place]").first.wait_for()
    assert places.taken
    page.close()
    ends = monotonic() + 30
    while places.taken and monotonic() < ends:
        sleep(0.01)
    assert not places.taken


@pytest.mark.slow
def test_the_page_on_desktop_and_phone(playground, picture):
    def text(page):
        page.locator("#length").fill("120")
        page.locator("#colours").check()
        page.locator("#prefix").fill("<b>时间")
        page.locator("#write").click()
        page.locator("#columns section").nth(1).locator(".status", has_text="120").wait_for()
        page.locator("#take").click()
        page.locator("#copies").click()
        page.locator("#measured table").first.wait_for()

    picture(playground.address, "playground", text)
