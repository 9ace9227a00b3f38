"""JSON: one list of objects, or an object on each line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from charlm.errors import CorpusError, shown
from charlm.tasks.data_table import DataTable, Record, empty, text_lines

_SPACE = re.compile(r"[ \t\r\n]*")
_OBJECTS = (
    "write an object for each example, on a line of its own or in a list, such as "
    '{"text": "...", "label": "..."}'
)


def read_json(text: str, path: Path) -> DataTable:
    """The objects of a text; their keys are the columns."""
    is_list = text.startswith("[", _after_space(text))
    objects = (_list if is_list else _lines_of_json)(text, path)
    first = next(objects, None)
    if first is None:
        raise empty(path)
    return DataTable(path=path, columns=list(first[1]), records=chain([first], objects))


def _after_space(text: str, start: int = 0) -> int:
    found = _SPACE.match(text, start)
    assert found is not None
    return found.end()


def _lines_of_json(text: str, path: Path) -> Iterator[Record]:
    """The objects of a file with one on each line."""
    for number, line in enumerate(text_lines(text, path), start=1):
        if not line.isspace():
            yield _record(_decoded(path, number, _JSON.decode, line.rstrip()), path, number)


def _list(text: str, path: Path) -> Iterator[Record]:
    """The objects of a file that is one list of them, decoded one by one to know their lines."""
    line, before, place = 1, 0, _after_space(text, text.index("[") + 1)
    while not text.startswith("]", place):
        line += text.count("\n", before, place)
        before = place
        value, place = _decoded(path, line, _JSON.raw_decode, text, place)
        yield _record(value, path, line)
        place = _after_space(text, place)
        if text.startswith(",", place):
            place = _after_space(text, place + 1)
        elif not text.startswith("]", place):
            line += text.count("\n", before, place)
            raise CorpusError(f"{path}, line {line:,}: not JSON: no comma or ] here", _OBJECTS)
    if _after_space(text, place + 1) != len(text):
        raise CorpusError(f"{path}: there is more after the end of the list", _OBJECTS)


def _decoded(path: Path, line: int, decode: Callable[..., Any], *text: Any) -> Any:
    where = f"{path}, line {line:,}"
    try:
        return decode(*text)
    except json.JSONDecodeError as error:
        where = f"{path}, line {max(line, error.lineno):,}"
        reason = f"{error.msg} at column {error.colno:,}"
        raise CorpusError(f"{where}: not JSON: {reason}", _OBJECTS) from error
    except ValueError as error:  # NaN, infinity, or thousands of digits
        raise CorpusError(f"{where}: not JSON: invalid number", _OBJECTS) from error
    except RecursionError as error:
        raise CorpusError(f"{where}: nested too deeply", _OBJECTS) from error


def _record(value: Any, path: Path, line: int) -> Record:
    where = f"{path}, line {line:,}"
    if not isinstance(value, dict):
        raise CorpusError(f"{where}: {shown(value)} is not an object", _OBJECTS)
    return where, value


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


_JSON = json.JSONDecoder(parse_constant=_refuse_constant)
