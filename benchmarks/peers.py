"""The peers: d2l 0.17.0, the book's scratch networks, the first edition's loop, nanoGPT's encoding.

The networks of Dive into Deep Learning are written here from the book's equations.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Parameters = list[Tensor]


def import_d2l() -> Any:
    """d2l.torch, without torchvision, which is not needed here."""
    for name in ("torchvision", "torchvision.transforms"):
        sys.modules.setdefault(name, ModuleType(name))
    sys.modules["torchvision"].transforms = sys.modules["torchvision.transforms"]  # type: ignore[attr-defined]
    from d2l import torch as d2l

    return d2l


# The scratch networks of the book (0.17, sections 8.5, 9.1 and 9.2), for RNNModelScratch


def _normal(shape: tuple[int, ...], device: torch.device) -> Tensor:
    return (torch.randn(shape, device=device) * 0.01).requires_grad_()


def _zeros(size: int, device: torch.device) -> Tensor:
    return torch.zeros(size, device=device, requires_grad=True)


def _parameters(gates: int) -> Callable[[int, int, torch.device], Parameters]:
    """Gives the parameters of a network: three for each gate, two for the output layer."""

    def parameters(size: int, hidden: int, device: torch.device) -> Parameters:
        found: Parameters = []
        for _ in range(gates):
            found += [_normal((size, hidden), device), _normal((hidden, hidden), device)]
            found.append(_zeros(hidden, device))
        return [*found, _normal((hidden, size), device), _zeros(size, device)]

    return parameters


def _state(parts: int) -> Callable[[int, int, torch.device], tuple[Tensor, ...]]:
    def state(batch_size: int, hidden: int, device: torch.device) -> tuple[Tensor, ...]:
        return tuple(torch.zeros((batch_size, hidden), device=device) for _ in range(parts))

    return state


def rnn(inputs: Tensor, state: tuple[Tensor], parameters: Parameters) -> Any:
    """The forward pass of the book's RNN (section 8.5)."""
    w_xh, w_hh, b_h, w_hq, b_q = parameters
    (h,) = state
    outputs = []
    for x in inputs:
        h = torch.tanh(torch.mm(x, w_xh) + torch.mm(h, w_hh) + b_h)
        outputs.append(torch.mm(h, w_hq) + b_q)
    return torch.cat(outputs, dim=0), (h,)


def gru(inputs: Tensor, state: tuple[Tensor], parameters: Parameters) -> Any:
    """The forward pass of the book's GRU (section 9.1)."""
    w_xz, w_hz, b_z, w_xr, w_hr, b_r, w_xh, w_hh, b_h, w_hq, b_q = parameters
    (h,) = state
    outputs = []
    for x in inputs:
        update = torch.sigmoid((x @ w_xz) + (h @ w_hz) + b_z)
        reset = torch.sigmoid((x @ w_xr) + (h @ w_hr) + b_r)
        candidate = torch.tanh((x @ w_xh) + ((reset * h) @ w_hh) + b_h)
        h = update * h + (1 - update) * candidate
        outputs.append(h @ w_hq + b_q)
    return torch.cat(outputs, dim=0), (h,)


def lstm(inputs: Tensor, state: tuple[Tensor, Tensor], parameters: Parameters) -> Any:
    """The forward pass of the book's LSTM (section 9.2)."""
    w_xi, w_hi, b_i, w_xf, w_hf, b_f, w_xo, w_ho, b_o, w_xc, w_hc, b_c, w_hq, b_q = parameters
    h, c = state
    outputs = []
    for x in inputs:
        entry = torch.sigmoid((x @ w_xi) + (h @ w_hi) + b_i)
        forget = torch.sigmoid((x @ w_xf) + (h @ w_hf) + b_f)
        output = torch.sigmoid((x @ w_xo) + (h @ w_ho) + b_o)
        candidate = torch.tanh((x @ w_xc) + (h @ w_hc) + b_c)
        c = forget * c + entry * candidate
        h = output * torch.tanh(c)
        outputs.append((h @ w_hq) + b_q)
    return torch.cat(outputs, dim=0), (h, c)


SCRATCH = {  # the number of gates, the parts of the state, the forward pass
    "rnn": (1, 1, rnn),
    "gru": (3, 1, gru),
    "gru-reset-before": (3, 1, gru),
    "lstm": (4, 2, lstm),
}
LAYERS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def book_scratch_network(cell: str, size: int, hidden: int, device: torch.device) -> Any:
    """The book's RNNModelScratch with one of its networks."""
    gates, parts, forward = SCRATCH[cell]
    d2l = import_d2l()
    return d2l.RNNModelScratch(size, hidden, device, _parameters(gates), _state(parts), forward)


def book_layer_network(cell: str, size: int, hidden: int, device: torch.device) -> Any:
    """The book's RNNModel with torch's layer (section 8.6)."""
    layer: Any = LAYERS[cell](size, hidden)
    return import_d2l().RNNModel(layer, size).to(device)


def book_epoch(
    net: Any, ids: list[int], batch_size: int, steps: int, device: torch.device
) -> Callable[[], int]:
    """An epoch of the book's train_epoch_ch8, consecutive sampling; returns its characters."""
    d2l = import_d2l()

    def batches() -> Any:
        return d2l.seq_data_iter_sequential(ids, batch_size, steps)

    updater: Any
    if isinstance(net, nn.Module):
        updater = torch.optim.SGD(net.parameters(), 1.0)
    else:
        updater = lambda batch_size: d2l.sgd(net.params, 1.0, batch_size)  # noqa: E731
    loss = nn.CrossEntropyLoss()

    def epoch() -> int:
        counted = 0

        def counting() -> Iterator[Any]:
            nonlocal counted
            for inputs, targets in batches():
                counted += targets.numel()
                yield inputs, targets

        d2l.train_epoch_ch8(net, counting(), loss, updater, device, use_random_iter=False)
        return counted

    return epoch


# The first Chinese edition (section 6.4): one-hot lists, clipping and SGD by hand


def first_edition_epoch(
    ids: list[int], size: int, *, random: bool, hidden: int, batch_size: int, steps: int
) -> Callable[[], int]:
    """An epoch of the first edition's train_and_predict_rnn; returns its characters."""
    theta, lr = 0.01, 100.0
    device = torch.device("cpu")
    parameters = _parameters(1)(size, hidden, device)
    loss = nn.CrossEntropyLoss()
    generator = np.random.default_rng(0)

    def random_batches() -> Iterator[tuple[Tensor, Tensor]]:
        starts = generator.permutation((len(ids) - 1) // steps) * steps
        for first in range(0, len(starts) - batch_size + 1, batch_size):
            chosen = starts[first : first + batch_size].tolist()
            inputs = [ids[start : start + steps] for start in chosen]
            targets = [ids[start + 1 : start + 1 + steps] for start in chosen]
            yield torch.tensor(inputs), torch.tensor(targets)

    def consecutive_batches() -> Iterator[tuple[Tensor, Tensor]]:
        length = len(ids) // batch_size
        rows = torch.tensor(ids[: batch_size * length]).view(batch_size, length)
        for start in range(0, (length - 1) // steps * steps, steps):
            yield rows[:, start : start + steps], rows[:, start + 1 : start + steps + 1]

    def one_hot(column: Tensor) -> Tensor:
        return torch.zeros(len(column), size).scatter_(1, column.view(-1, 1), 1)

    def forward(inputs: Tensor, h: Tensor) -> tuple[list[Tensor], Tensor]:
        w_xh, w_hh, b_h, w_hq, b_q = parameters
        outputs = []
        for x in [one_hot(inputs[:, step]) for step in range(inputs.shape[1])]:
            h = torch.tanh(torch.matmul(x, w_xh) + torch.matmul(h, w_hh) + b_h)
            outputs.append(torch.matmul(h, w_hq) + b_q)
        return outputs, h

    def clip() -> None:
        norm = torch.zeros(1)
        for parameter in parameters:
            assert parameter.grad is not None
            norm += (parameter.grad.data**2).sum()
        scale = theta / norm.sqrt().item()
        if scale < 1:
            for parameter in parameters:
                assert parameter.grad is not None
                parameter.grad.data *= scale

    def epoch() -> int:
        nats, count = 0.0, 0
        h = torch.zeros(batch_size, hidden)
        for inputs, targets in random_batches() if random else consecutive_batches():
            h = torch.zeros(batch_size, hidden) if random else h.detach()
            outputs, h = forward(inputs, h)
            y = targets.transpose(0, 1).contiguous().view(-1)
            value = loss(torch.cat(outputs, dim=0), y)
            for parameter in parameters:
                parameter.grad = None
            value.backward()
            clip()
            for parameter in parameters:
                assert parameter.grad is not None
                parameter.data -= lr * parameter.grad.data
            nats += value.item() * len(y)
            count += len(y)
        return count

    return epoch


# nanoGPT (data/shakespeare_char/prepare.py)


def nanogpt_encode(path: Path) -> NDArray[np.uint16]:
    """A text file to ids: a dictionary of its characters and a list comprehension."""
    with open(path, encoding="utf-8") as file:
        data = file.read()
    numbers = {character: i for i, character in enumerate(sorted(set(data)))}
    return np.array([numbers[character] for character in data], dtype=np.uint16)
