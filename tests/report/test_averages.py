"""Which weights of a training with averaging were kept."""

import pytest

from charlm.report.averages import average_summary, average_words
from charlm.task import TASKS


def rows(task, *scores):
    key = task.metric_keys[1]
    better = max if task.valid_metric.higher_is_better else min
    return [
        {key: better(pair, default=None), f"raw_{key}": raw, f"averaged_{key}": averaged}
        for pair in scores
        for raw, averaged in [pair or (None, None)]
    ]


@pytest.mark.parametrize(
    ("task", "scores", "kept"),
    [
        ("language-model", [(9.0, 8.0), (5.0, 4.0), (4.5, 6.0)], "averaged"),
        ("language-model", [(9.0, 8.0), (4.0, 5.0)], "raw"),
        ("classify", [(70.0, 80.0), (75.0, 79.0)], "averaged"),
    ],
)
def test_both_scores_of_the_best_report(task, scores, kept):
    task = TASKS[task]
    summary = average_summary(task, rows(task, *scores))
    values = [value for name, value in summary.items() if name != "weights_kept"]
    assert summary["weights_kept"] == kept
    assert tuple(values) in scores
    (words,) = average_words(task, summary)
    assert words.endswith({"raw": "the weights were kept", "averaged": "the mean was kept"}[kept])
    assert all(task.valid_metric.text(value) in words for value in values)


def test_without_a_mean_there_is_nothing_to_say():
    task = TASKS["language-model"]
    for metrics in ([], rows(task, ()), [{"valid_perplexity": 3.0}]):
        assert average_summary(task, metrics) == {}
    assert average_words(task, {}) == []
