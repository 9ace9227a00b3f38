"""Write docs/api.md: ``python -m charlm.cli.api_page > docs/api.md``."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Iterator
from typing import Any

import charlm
from charlm.runs.reading import RunData
from charlm.tasks.predicting import PredictingRun

_START = """\
# From Python, and in a notebook

`python -m charlm.cli.api_page > docs/api.md` writes this page from the docstrings.

```python
import charlm

run = charlm.train("book.txt", minutes=2)  # as `charlm train --corpus book.txt --minutes 2`
print(run.generate("The ", length=300))
print(run.score("The traveller sat down.").perplexity)
run.plot()
```

`charlm.train` takes any setting of [settings.md](settings.md) as a keyword. It makes a run folder
under `checkpoints`, which all commands can use, and `charlm.open` opens the runs of the commands.
`run.metrics` and `run.samples` are lists of dictionaries: `pandas.DataFrame(run.metrics)` makes a
table of them.

In a notebook, `charlm.train` shows a progress bar, and a curve of the metrics that grows while the
model learns, like `d2l.Animator` of the book. `progress=False` shows nothing. A run at the end of a
cell is shown as a table, and `run.plot()` as a picture. "Interrupt" saves the run first.

The examples below run as tests, in a folder with `book.txt` and two small runs: `novel`, and the
classifier `reviews`.

"""


def api_page() -> str:
    """The text of docs/api.md."""
    run = charlm.LanguageModelRun
    parts = str(charlm.__doc__).partition("made of:\n\n")[2]
    return _START + "\n".join(
        [
            *_entry("##", "charlm.train", charlm.train),
            *_entry("##", "charlm.open", charlm.open),
            *_entry("##", "charlm.LanguageModelRun", run),
            *_entry("###", "run.generate", run.generate),
            *_entry("###", "run.score", run.score),
            *_entry("###", "run.by_kind", run.by_kind),
            *_entry("###", "run.logits", run.logits),
            *_entry("###", "run.hidden", run.hidden),
            *_entry("##", "charlm.Score", charlm.Score),
            *_entry("##", "charlm.ClassifierRun", charlm.ClassifierRun),
            *_entry("##", "charlm.TaggerRun", charlm.TaggerRun),
            *_entry("###", "run.predict", PredictingRun.predict),
            *_entry("##", "charlm.Run", charlm.Run),
            *_markdown(RunData),
            *_entry("###", "run.plot", charlm.Run.plot),
            *_entry("###", "run.summary", charlm.Run.summary),
            *_entry("###", "run.load_model", charlm.Run.load_model),
            *_entry("###", "run.load_corpus", charlm.Run.load_corpus),
            *_entry("##", "charlm.CharlmError", charlm.CharlmError),
            "## The parts\n",
            "`help` describes each of them.\n",
            _plain(parts),
        ]
    )


def _entry(heading: str, name: str, documented: Callable[..., Any]) -> Iterator[str]:
    """A heading, the signature of a function, and the docstring."""
    yield f"{heading} `{name}`\n"
    if not isinstance(documented, type):
        yield f"```python\n{name}{_signature(documented)}\n```\n"
    yield from _markdown(documented)


def _signature(function: Callable[..., Any]) -> str:
    """The parameters and the result of a function, over several lines if they are long."""
    about = inspect.signature(function)
    words: list[str] = []
    for parameter in about.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in words:
            words.append("*")
        star = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
        unset = parameter.default is parameter.empty
        default = "" if unset else f" = {parameter.default!r}"
        words.append(f"{star}{parameter.name}: {parameter.annotation}{default}")
    result = about.return_annotation
    if result == "Any" and (overloads := typing.get_overloads(function)):
        result = inspect.signature(overloads[0]).return_annotation
    line = f"({', '.join(words)}) -> {result}"
    if len(line) < 70:
        return line
    return "(\n" + "".join(f"    {word},\n" for word in words) + f") -> {result}"


def _markdown(documented: Any) -> Iterator[str]:
    """The paragraphs, lists and examples of a docstring."""
    for block in (inspect.getdoc(documented) or "").split("\n\n"):
        title, _, rest = block.partition("\n")
        if block.startswith(">>>"):
            yield f"```python\n{block}\n```\n"
        elif title in ("Args:", "Attributes:", "Raises:"):
            rest = re.sub(r"\n {5,}", " ", rest)  # an item is one line
            items = re.sub(r"^ {4}([\w, ]+): ", r"- `\1`: ", rest, flags=re.MULTILINE)
            yield f"{title.replace('Args', 'Arguments')}\n\n{_plain(items)}\n"
        elif title in ("Returns:", "Yields:"):
            yield f"{title} {_plain(inspect.cleandoc(rest))}\n"
        else:
            yield _plain(block) + "\n"


def _plain(text: str) -> str:
    """Text with single backticks, as in Markdown."""
    return text.replace("``", "`")


if __name__ == "__main__":
    print(api_page(), end="")
