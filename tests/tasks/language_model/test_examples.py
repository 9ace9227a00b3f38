"""The worked examples have the numbers that a person gets by hand."""

from __future__ import annotations

import math

import pytest

from charlm.tasks.language_model.examples import equal_choices, perplexity_by_hand, samplings


def test_the_perplexity_of_banana():
    found = perplexity_by_hand()
    assert [each.probability for each in found.characters] == [0.5, 0.6, 0.6, 0.6, 0.6]
    nats = -(math.log(0.5) + 4 * math.log(0.6)) / 5
    assert found.nats_per_char == pytest.approx(nats)
    assert found.bits_per_char == pytest.approx(nats / math.log(2))
    assert found.perplexity == pytest.approx(math.exp(nats)) == 2**found.bits_per_char
    assert [each.perplexity for each in equal_choices()] == pytest.approx([1, 2, 4, 27])


def test_random_pieces_are_the_text_in_another_order_and_the_state_is_zero():
    text = "the time traveller smiled"
    rows = samplings(text)["random"]
    assert sorted(row.inputs for row in rows) == sorted(text[n : n + 4] for n in range(0, 24, 4))
    assert {row.state for row in rows} == {""}
    places = [text.index(row.inputs) for row in rows]
    assert [text[place + 1 : place + 5] for place in places] == [row.targets for row in rows]
    assert all(after - before != 4 for before, after in zip(places, places[2:], strict=False))


def test_consecutive_rows_go_on_and_the_state_has_read_all_of_them():
    text = "the time traveller smiled"
    rows = samplings(text)["consecutive"]
    for number, whole in ((1, text[:12]), (2, text[12:24])):
        own = [row for row in rows if row.row == number]
        targets = text[text.index(whole) + 1 :]
        assert "".join(row.inputs for row in own) == whole
        assert [row.state for row in own] == [whole[:0], whole[:4], whole[:8]]
        assert [row.targets for row in own] == [targets[n : n + 4] for n in (0, 4, 8)]
