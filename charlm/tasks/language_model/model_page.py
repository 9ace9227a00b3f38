"""A page that is a language model: its weights, and scripts that run it in a browser."""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

import numpy as np

from charlm import pages
from charlm.tasks.language_model.config import TEMPERATURE, TOP_P
from charlm.tasks.language_model.plain import PlainModel

LENGTH = 300  # characters to write, if the user does not say
MOST_CHARACTERS = 10_000  # of a text that is read
MOST_LENGTH = 5_000  # characters that are written
BOUNDS = {
    "most": {"characters": MOST_CHARACTERS, "length": MOST_LENGTH},
    "settings": {"temperature": TEMPERATURE, "top_p": TOP_P, "length": LENGTH},
}
"""What each page that writes knows besides its models."""
_LARGEST = 2**15 - 1  # of a whole number with 16 bits


class Packed(NamedTuple):
    """Arrays as bytes, which the script ``model.js`` unpacks.

    First come the float32: each array that is not scaled, or the scales of its columns; then the
    int16 of the scaled arrays.

    Attributes:
        layout: name, shape, and whether it is scaled, of each array.
        data: the bytes, little-endian.
    """

    layout: list[tuple[str, list[int], bool]]
    data: bytes


def packed(plain: PlainModel, *, float32: bool) -> Packed:
    """The arrays of a model; without ``float32``, matrices are rounded to 16 bits.

    A column is a whole number times its largest absolute value / 32767. For weights, which are
    seldom much smaller than that, the rounding is finer than that of float16.
    """
    layout, floats, integers = [], [], []
    for name, array in plain.arrays.items():
        scaled = array.ndim > 1 and not float32
        layout.append((name, [*array.shape], scaled))
        if scaled:
            scale = np.abs(array).max(0) / np.float32(_LARGEST)
            whole = np.rint(array / np.where(scale > 0, scale, 1))
            integers.append(whole.astype("<i2").tobytes())
            array = scale
        floats.append(array.astype("<f4").tobytes())
    return Packed(layout, b"".join([*floats, *integers]))


def unpacked(plain: PlainModel, content: Packed) -> PlainModel:
    """The model with the arrays that ``model.js`` finds in the bytes."""
    arrays, at = {}, 0
    shapes = {name: (shape[-1:] if scaled else shape) for name, shape, scaled in content.layout}
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        values = np.frombuffer(content.data, "<f4", count, at)
        arrays[name], at = values.reshape(shape), at + 4 * count
    for name, shape, scaled in content.layout:
        if scaled:
            count = int(np.prod(shape))
            whole = np.frombuffer(content.data, "<i2", count, at)
            arrays[name], at = whole.reshape(shape) * arrays[name], at + 2 * count
    return plain._replace(arrays=arrays)


def page_data(plain: PlainModel, content: Packed) -> dict[str, Any]:
    """What the scripts of the page read, as JSON."""
    about = plain.about
    run = {key: about[key] for key in ("cell", "parameters", "corpus", "prefix")}
    run |= {"name": about["run"], "characters": len(about["characters"]), "mixture": None}
    return {
        "runs": [run],
        **BOUNDS,
        "model": about,
        "layout": content.layout,
        "weights": base64.b64encode(content.data).decode(),
    }


def model_page(plain: PlainModel, content: Packed) -> bytes:
    """The page as the bytes of its file."""
    return pages.page(
        "offline.html",
        title=f"{plain.about['run']}: a model that writes",
        data=page_data(plain, content),
        scripts=["model.js", "offline.js", "playground.js", "coloured.js", "own-text.js"],
        styles=["playground.css"],
    )
