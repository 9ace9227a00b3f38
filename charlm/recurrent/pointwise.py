"""The pointwise part of a step of each kernel, in torch operations: any type, any processor.

`charlm.recurrent.pointwise_numba` has the same functions, compiled.

Symbols: R rows, the sequences that have the step; H units; G gates. All sizes are (R, H), those of
gates and of what is added up for them (R, G, H). A ``product`` is one with the recurrent weights;
``projected``, (N, G, H), comes from the input, and ``chosen``, (R,), says which of it each row has;
``before`` is the state before the step.

The functions of the way forward fill ``gates``, ``cells`` and ``hidden``. Those of the way back
take the gradients by the step's output (``by_output``) and by what it gave to the next step's
products (``by_later``), and fill the gradients by what was added up. ``direct`` and ``by_cell`` are
the gradients by the state, other than through products: after the step on entry, and before the
step on return.
"""

from __future__ import annotations

import torch
from torch import Tensor

TANH, RELU, SIGMOID, LINEAR = range(4)


Rows = Tensor | slice


def add_rows(gradients: Tensor, skip: int, chosen: Tensor, sums: Tensor) -> None:
    """Add (R, G, H) gradients, but for those of the first gates, to the chosen rows of the sums."""
    sums.index_add_(0, chosen, gradients[:, skip:].to(sums.dtype))


def activate(
    activation: int, projected: Tensor, chosen: Rows, product: Tensor, hidden: Tensor
) -> None:
    """f(projected + product)."""
    torch.add(projected[chosen].squeeze(1).to(hidden.dtype), product, out=hidden)
    if activation == TANH:
        hidden.tanh_()
    elif activation == RELU:
        hidden.relu_()
    elif activation == SIGMOID:
        hidden.sigmoid_()


def activate_backward(
    activation: int, hidden: Tensor, by_output: Tensor, by_later: Tensor, by_projected: Tensor
) -> None:
    """The gradients of `activate`; the slope of f follows from its value."""
    by_projected.copy_(by_output + by_later)
    if activation == TANH:
        by_projected.mul_(1 - hidden * hidden)
    elif activation == RELU:
        by_projected.masked_fill_(hidden <= 0, 0)
    elif activation == SIGMOID:
        by_projected.mul_(hidden * (1 - hidden))


def lstm(
    projected: Tensor,
    chosen: Rows,
    product: Tensor,
    before: Tensor,
    gates: Tensor,
    cells: Tensor,
    hidden: Tensor,
) -> None:
    """The equations of `LSTMCell`; ``gates`` are i, f, g, o."""
    torch.add(projected[chosen].to(gates.dtype), product, out=gates)
    i, f, g, o = gates.unbind(1)
    gates[:, :2].sigmoid_()
    g.tanh_()
    o.sigmoid_()
    torch.mul(f, before, out=cells).addcmul_(i, g)
    torch.mul(o, cells.tanh(), out=hidden)


def lstm_backward(
    gates: Tensor,
    before: Tensor,
    cells: Tensor,
    by_output: Tensor,
    by_later: Tensor,
    by_cell: Tensor,
    by_projected: Tensor,
) -> None:
    """The gradients of `lstm`."""
    i, f, g, o = gates.unbind(1)
    by_hidden, squashed = by_output + by_later, cells.tanh()
    by_cell += by_hidden * o * (1 - squashed * squashed)
    by_projected[:, 0] = by_cell * g * i * (1 - i)
    by_projected[:, 1] = by_cell * before * f * (1 - f)
    by_projected[:, 2] = by_cell * i * (1 - g * g)
    by_projected[:, 3] = by_hidden * squashed * o * (1 - o)
    by_cell *= f


def lstm_peephole(
    projected: Tensor,
    chosen: Rows,
    product: Tensor,
    peepholes: Tensor,
    before: Tensor,
    gates: Tensor,
    cells: Tensor,
    hidden: Tensor,
) -> None:
    """As `lstm`, with the (3, H) peepholes of i, f and o."""
    torch.add(projected[chosen].to(gates.dtype), product, out=gates)
    i, f, g, o = gates.unbind(1)
    gates[:, :2].addcmul_(peepholes[:2], before.unsqueeze(1)).sigmoid_()
    g.tanh_()
    torch.mul(f, before, out=cells).addcmul_(i, g)
    o.addcmul_(peepholes[2], cells).sigmoid_()
    torch.mul(o, cells.tanh(), out=hidden)


def lstm_peephole_backward(
    gates: Tensor,
    peepholes: Tensor,
    before: Tensor,
    cells: Tensor,
    by_output: Tensor,
    by_later: Tensor,
    by_cell: Tensor,
    by_projected: Tensor,
) -> None:
    """The gradients of `lstm_peephole`, but for those by the peepholes."""
    i, f, g, o = gates.unbind(1)
    by_hidden, squashed = by_output + by_later, cells.tanh()
    by_projected[:, 3] = by_hidden * squashed * o * (1 - o)
    by_cell += by_hidden * o * (1 - squashed * squashed) + by_projected[:, 3] * peepholes[2]
    by_projected[:, 0] = by_cell * g * i * (1 - i)
    by_projected[:, 1] = by_cell * before * f * (1 - f)
    by_projected[:, 2] = by_cell * i * (1 - g * g)
    by_cell *= f
    by_cell += by_projected[:, 0] * peepholes[0] + by_projected[:, 1] * peepholes[1]


def gru_after(
    projected: Tensor,
    chosen: Rows,
    product: Tensor,
    bias: Tensor,
    before: Tensor,
    gates: Tensor,
    hidden: Tensor,
) -> None:
    """The equations of `GRUCell` with reset after; ``gates`` are r, z, n, and q, what r resets."""
    r, z, n, q = gates.unbind(1)
    projected = projected[chosen]
    torch.add(projected[:, :2].to(z.dtype), product[:, :2], out=gates[:, :2]).sigmoid_()
    torch.add(bias, product[:, 2], out=q)
    torch.add(projected[:, 2], r * q, out=n).tanh_()
    torch.lerp(n, before, z, out=hidden)


def gru_after_backward(
    gates: Tensor,
    before: Tensor,
    by_output: Tensor,
    by_later: Tensor,
    direct: Tensor,
    by_gates: Tensor,
) -> None:
    """The gradients of `gru_after`; ``by_gates`` is by q, r, z, n: the product, and the input."""
    r, z, n, q = gates.unbind(1)
    direct += by_output + by_later
    by_candidate = direct * (1 - z) * (1 - n * n)
    by_gates[:, 0] = by_candidate * r
    by_gates[:, 1] = by_candidate * q * r * (1 - r)
    by_gates[:, 2] = direct * (before - n) * z * (1 - z)
    by_gates[:, 3] = by_candidate
    direct *= z


def gru_gates(
    projected: Tensor,
    chosen: Rows,
    product: Tensor,
    before: Tensor,
    gates: Tensor,
    reset_hidden: Tensor,
) -> None:
    """The gates r and z of `GRUCell` with reset before, and r * h; ``gates`` are r, z, n."""
    torch.add(projected[chosen, :2].to(gates.dtype), product, out=gates[:, :2]).sigmoid_()
    torch.mul(gates[:, 0], before, out=reset_hidden)


def gru_candidate(
    projected: Tensor,
    chosen: Rows,
    product: Tensor,
    before: Tensor,
    gates: Tensor,
    hidden: Tensor,
) -> None:
    """The candidate n and the next state, from the product with r * h."""
    torch.add(projected[chosen, 2].to(gates.dtype), product, out=gates[:, 2]).tanh_()
    torch.lerp(gates[:, 2], before, gates[:, 1], out=hidden)


def gru_candidate_backward(
    gates: Tensor,
    before: Tensor,
    by_output: Tensor,
    by_later: Tensor,
    direct: Tensor,
    by_projected: Tensor,
) -> None:
    """The gradients of `gru_candidate`."""
    _, z, n = gates.unbind(1)
    direct += by_output + by_later
    by_projected[:, 1] = direct * (before - n) * z * (1 - z)
    by_projected[:, 2] = direct * (1 - z) * (1 - n * n)
    direct *= z


def gru_gates_backward(
    gates: Tensor, before: Tensor, by_reset_hidden: Tensor, direct: Tensor, by_projected: Tensor
) -> None:
    """The gradients of `gru_gates`, from those by r * h."""
    r = gates[:, 0]
    by_projected[:, 0] = by_reset_hidden * before * r * (1 - r)
    direct += by_reset_hidden * r
