"""A mixture of a network and an n-gram, and its files in a run folder.

    P(w | h) = (1 - a_c) P_network(w | h) + a_c P_ngram(w | h)

c is the length of the longest context before w, below the n-gram's order, that the n-gram has seen
in training: it may be trusted more after a long one. The weights a_c maximise the probability of
the validation split; expectation maximisation finds them (Dempster, Laird and Rubin 1977; for
language models Jelinek and Mercer 1980, "Interpolated estimation of Markov source parameters").

Letters in the shape comments: M ids of a text, V vocabulary, B texts that are written side by side,
K scored characters.
"""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charlm.atomic_files import patiently, sync_folder
from charlm.errors import RunError
from charlm.runs.checkpoint import Record, record
from charlm.runs.files import (
    damage_in,
    damaged,
    decode_json,
    encode_json,
    os_errors,
    read_file,
    write_file,
)
from charlm.runs.tensors import decode_tensors, encode_tensors, max_file_bytes
from charlm.tasks.language_model.baselines import LEARNED
from charlm.tasks.language_model.ngram import Floats, Grams, Ids, NGram

if TYPE_CHECKING:
    from charlm.runs import Run

Mask = NDArray[np.bool_]

MANIFEST, TENSORS = "mixture.json", "mixture.safetensors"
MAX_ORDER = 8
PRIOR = 5.0  # characters with the weight of all contexts, which each weight is estimated with
LEAST = 1e-6  # of a weight, so that no probability is 0
_ROUNDS, _STEP = 500, 1e-4  # it ends when no weight changes by more
_FORMAT = 1
_MAX_MANIFEST = 2**12  # bytes


@dataclass(frozen=True, eq=False, kw_only=True)
class Mixture:
    """An n-gram and its weights.

    Attributes:
        ngram: the model with the highest order.
        weights: (order,) a_c, c = 0, 1, ..., order - 1.
        learned_from: the characters of the train split that the n-gram was counted on.
    """

    ngram: NGram
    weights: Floats
    learned_from: int

    @property
    def order(self) -> int:
        """The order of the n-gram."""
        return len(self.weights)

    @property
    def words(self) -> str:
        """What it is, for people."""
        return f"the network mixed with an n-gram of order {self.order}"

    def about(self) -> dict[str, Any]:
        """What it is, for JSON."""
        weights = [round(weight, 4) for weight in self.weights.tolist()]
        return {"order": self.order, "weights": weights, "learned_from": self.learned_from}

    def nats(self, network: Floats, text: Ids, scored: Mask | None = None) -> tuple[Floats, Floats]:
        """The (K,) nats of the mixture and of the n-gram, given those of the network.

        Args:
            network: (K,) nats of the characters of ``text[1:]`` that are scored.
            text: (M,) ids.
            scored: (M - 1,) mask of the K characters; None: all.
        """
        predicted = self.ngram.predict(text)
        chosen = slice(None) if scored is None else scored
        ngram, context = predicted.nats[-1][chosen], predicted.context[chosen]
        return _mixed(network, ngram, self.weights[context]), ngram

    def start(self, ids: Sequence[int] | Ids) -> list[int]:
        """The n-gram's context after some ids."""
        context = [0]
        for id in ids[-self.order :]:
            context = self.ngram.read(context, int(id))
        return context

    def logits(self, logits: Tensor, contexts: Sequence[Sequence[int]]) -> Tensor:
        """The log probabilities of the next characters, (B, V) float64 on the CPU.

        Args:
            logits: (B, V) of the network.
            contexts: B contexts of the n-gram.
        """
        network = logits.double().cpu().softmax(1).numpy()
        rows = [self.ngram.distribution(context) for context in contexts]
        weights = self.weights[[longest for _, longest in rows]][:, None]  # (B, 1)
        mixed = (1 - weights) * network + weights * np.stack([row for row, _ in rows])
        return torch.from_numpy(np.log(mixed))


def fit(network: Floats, ngram: NGram, text: Ids, scored: Mask, learned_from: int) -> Mixture:
    """The order and the weights that predict a validation text best.

    Args:
        network: (K,) nats of the scored characters.
        ngram: counted up to the longest order to try.
        text: (M,) ids.
        scored: (M - 1,) mask of the K characters of ``text[1:]``.
        learned_from: as of the mixture.
    """
    nats, context = (each[..., scored] for each in ngram.predict(text))
    best, least = None, np.inf
    for order in range(1, len(nats) + 1):
        contexts = np.minimum(context, order - 1)
        weights = _weights(network, nats[order - 1], contexts, order)
        mean = _mixed(network, nats[order - 1], weights[contexts]).mean()
        if mean < least:
            best, least = (order, weights), mean
    assert best is not None
    order, weights = best
    return Mixture(ngram=ngram.up_to(order), weights=weights, learned_from=learned_from)


def _mixed(network: Floats, ngram: Floats, weights: Floats) -> Floats:
    """(K,) nats, each with its own weight."""
    return -np.logaddexp(np.log1p(-weights) - network, np.log(weights) - ngram)


def _weights(network: Floats, ngram: Floats, contexts: Ids, order: int) -> Floats:
    """(order,) weights, by expectation maximisation over K characters.

        r_i = a P_ngram(i) / ((1 - a) P_network(i) + a P_ngram(i)),   a = mean of r

    First one weight for all characters; then one for each length of a context, with ``PRIOR``
    additional characters that have the weight of all, since a length may be rare.
    """
    ratio = np.exp(np.clip(network - ngram, -700, 700))  # P_ngram / P_network
    counts = np.bincount(contexts, minlength=order)
    one = np.zeros_like(contexts)
    (whole,) = _maximised(ratio, one, np.array([len(one)]), np.array([0.5]), 0.0)
    weights = _maximised(ratio, contexts, counts, np.full(order, whole), PRIOR)
    return np.asarray(np.clip(weights, LEAST, 1 - LEAST))


def _maximised(ratio: Floats, groups: Ids, counts: Ids, weights: Floats, prior: float) -> Floats:
    """The (G,) weights of G groups of characters; ``prior`` of each have the weight at first."""
    first = weights
    for _ in range(_ROUNDS):
        each = weights[groups]  # (K,)
        shares = each * ratio / (1 - each + each * ratio)
        before, sums = weights, np.bincount(groups, shares, minlength=len(counts))
        weights = (sums + prior * first) / (counts + prior)
        if np.abs(weights - before).max() < _STEP:
            break
    return weights


def write_mixture(run: Run, mixture: Mixture) -> None:
    """Write the files of a mixture to the folder of the run whose best weights it belongs to.

    ``mixture.safetensors`` has the n-gram's counts, the weights and the SHA-256 of the network's
    best weights; ``mixture.json`` has the number of n-grams of each order, and size and SHA-256 of
    the other file. It is written last: without it, there is no mixture.

    Raises:
        RunError: the folder cannot be written to.
    """
    orders = mixture.ngram.orders
    arrays: dict[str, Any] = {"weights": mixture.weights, "best": _best(run)}
    arrays["learned_from"] = np.array([mixture.learned_from])
    for number, grams in enumerate(orders, start=1):
        arrays[f"keys.{number}"] = grams.keys
        arrays[f"raw.{number}"] = grams.raw.astype(np.int32)
        arrays[f"continuation.{number}"] = grams.continuation.astype(np.int32)
    data = encode_tensors({name: torch.from_numpy(each) for name, each in arrays.items()})
    manifest = _encode_manifest([len(grams.keys) for grams in orders], record(data))
    with os_errors(f"cannot replace {run.folder / MANIFEST}"):
        patiently(lambda: (run.folder / MANIFEST).unlink(missing_ok=True))
        sync_folder(run.folder)  # else a power cut may leave it beside the new tensors
    write_file(run.folder / TENSORS, data)
    write_file(run.folder / MANIFEST, manifest)


def read_mixture(run: Run) -> tuple[Mixture | None, str | None]:
    """The mixture in a run folder, or None; and a notice if it is there but cannot be used.

    Raises:
        RunError: its files are damaged.
    """
    path = run.folder / MANIFEST
    if not os.path.lexists(path) or run.checkpoint is None:
        return None, None
    again = "charlm train --resume --mix-ngram makes the mixture again"
    try:
        mixture, best = _read(run, path)
    except RunError as error:
        raise RunError(error.message, again) from None
    if (best != _best(run)).any():
        return None, f"{path} belongs to other weights and is not used; {again}"
    return mixture, None


def _read(run: Run, path: Path) -> tuple[Mixture, Any]:
    """A mixture, and the SHA-256 of the best weights that it belongs to."""
    written = read_file(path, _MAX_MANIFEST)
    content = decode_json(written, path)
    with damage_in(path):
        grams = _check_manifest(content)
        if _encode_manifest(grams, (content["bytes"], content["sha256"])) != written:
            raise ValueError("it is not the manifest of a mixture")
    size = len(run.vocabulary)
    expected = {"weights": torch.empty(len(grams), dtype=torch.float64, device="meta")}
    expected["best"] = torch.empty(32, dtype=torch.uint8, device="meta")
    expected["learned_from"] = torch.empty(1, dtype=torch.int64, device="meta")
    for number, count in enumerate(grams, start=1):
        for name, kind in (("keys", torch.int64), ("raw", torch.int32)):
            expected[f"{name}.{number}"] = torch.empty(count, dtype=kind, device="meta")
        expected[f"continuation.{number}"] = expected[f"raw.{number}"]
    path = run.folder / TENSORS
    data = read_file(path, min(content["bytes"], max_file_bytes(expected.values())))
    if record(data) != (content["bytes"], content["sha256"]):
        raise damaged(path, f"its SHA-256 is not the one in {run.folder / MANIFEST}")
    arrays = {name: each.numpy() for name, each in decode_tensors(data, expected, path).items()}
    with damage_in(path):
        orders = _checked_orders(arrays, grams, size)
        weights, (learned_from,) = arrays["weights"], arrays["learned_from"].tolist()
        if not ((weights > 0) & (weights < 1)).all() or not 0 <= learned_from <= LEARNED:
            raise ValueError("it has an impossible weight or number of characters")
    boundary = int(run.vocabulary.encode("\n")[0]) if run.config.corpus.lines else None
    ngram = NGram(orders, size, boundary)
    return Mixture(ngram=ngram, weights=weights, learned_from=learned_from), arrays["best"]


def _best(run: Run) -> Any:
    """The SHA-256 of the best weights, (32,) uint8."""
    assert run.checkpoint is not None
    digest = bytes.fromhex(run.checkpoint.records["best.safetensors"][1])
    return np.frombuffer(digest, np.uint8).copy()


def _encode_manifest(grams: list[int], tensors: Record) -> bytes:
    size, digest = tensors
    return encode_json({"format": _FORMAT, "grams": grams, "bytes": size, "sha256": digest})


def _check_manifest(content: Any) -> list[int]:
    """The number of n-grams of each order; a ValueError if it is not a manifest."""
    known = {"format", "grams", "bytes", "sha256"}
    if not isinstance(content, dict) or content.keys() != known or content["format"] != _FORMAT:
        raise ValueError("it is not the manifest of a mixture of this version")
    grams = content["grams"]
    ok = isinstance(grams, list) and 1 <= len(grams) <= MAX_ORDER and type(content["bytes"]) is int
    if not ok or not all(type(each) is int and 0 <= each <= LEARNED for each in grams):
        raise ValueError("it has an impossible number of n-grams or bytes")
    return [*grams]


def _checked_orders(arrays: dict[str, Any], grams: Sequence[int], size: int) -> list[Grams]:
    """The n-grams of each order; a ValueError if no text has such counts."""
    orders, prefixes = [], 1
    for number, count in enumerate(grams, start=1):
        keys, raw, continuation = (
            arrays[f"{name}.{number}"] for name in ("keys", "raw", "continuation")
        )
        inside = (keys >= 0) & (keys < prefixes * size) & (raw >= 1) & (continuation >= 0)
        if not inside.all() or not (np.diff(keys) > 0).all():
            raise ValueError(f"it has impossible n-grams of order {number}")
        raw, continuation = raw.astype(np.int64), continuation.astype(np.int64)
        orders.append(Grams(keys, raw, continuation, prefixes, size))
        prefixes = count
    return orders
