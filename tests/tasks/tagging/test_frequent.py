"""The tag that each word has most often."""

from charlm.tasks.tagging.frequent import frequent_tags
from charlm.tasks.tagging.tagged_sentences import TaggedSentence


def sentence(words: str, tags: str) -> TaggedSentence:
    return TaggedSentence(tuple(words.split()), tuple(tags.split()))


def test_each_word_gets_its_most_frequent_tag():
    train = [
        sentence("to Boston now", "O B-to B-time"),
        sentence("from boston now", "O B-from O"),
        sentence("to boston", "O B-to"),
        sentence("flight 12", "O B-number"),
    ]
    asked = [sentence("BOSTON now please", "O O O"), sentence("34", "O")]
    # Words are compared in normal form, in which all numbers of two digits are equal.
    assert frequent_tags(train, asked) == [["B-to", "B-time", "O"], ["B-number"]]
