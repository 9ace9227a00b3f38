"""The gradients of a batch, computed here or shared with other processes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from charlm.models.recurrent_model import RecurrentModel
from charlm.optimisation.tables import table_parameters
from charlm.processes import World, lost_processes
from charlm.recurrent.states import StackState, map_state
from charlm.training.determinism import seed_step
from charlm.training.objective import Objective
from charlm.training.optimisation import dense_gradients

Loss = tuple[Tensor, int, StackState | None]  # nats, items, and the last state; see `Objective`


class Gradients:
    """Fills the gradients of a model, batch by batch.

    With several processes, each computes on its own rows, and all get the gradients of the whole
    batch. They have to be made, and to compute, at the same time.
    """

    def __init__(
        self,
        objective: Objective,
        model: RecurrentModel,
        device: torch.device,
        seed: int,
        world: World,
    ) -> None:
        self._objective, self._model, self._device = objective, model, device
        self._seed, self._world = seed, world
        self._averaging: nn.Module | None = None  # makes the gradients those of all processes
        self._tables = table_parameters(model)
        self._weights = [each for each in model.parameters() if each.requires_grad]

    def connect(self, batch: Any) -> None:
        """Connect several processes, and compute on a batch without effect.

        `DistributedDataParallel` averages the gradients of the dense weights. It does not know of
        modules with sparse gradients other than torch's, so those of tables are summed here.

        The first pass compiles what one process may have compiled before. The second one settles
        the order of the gradients in the messages: with three processes or more it decides on the
        last bits of the sums, and a resumed training has to get those of an undisturbed one.
        """
        own = _OwnRows(self._objective, self._model, self._world)
        self._backward(own, batch)
        self._world.meet()
        tables = [f"model.{name}" for name in self._tables]
        ignore = DistributedDataParallel._set_params_and_buffers_to_ignore_for_model
        ignore(own, tables)  # type: ignore[no-untyped-call]
        with lost_processes():
            self._averaging = DistributedDataParallel(own)
            self._backward(self._averaging, batch)

    def fill(
        self, batch: Any, carried: StackState | None, *, step: int, bfloat16: bool
    ) -> tuple[dict[str, Tensor], int, StackState | None, list[Tensor]]:
        """Fill the gradients of the mean loss of a batch.

        Args:
            carried: the last state before the batch, of the own rows; None: zeros.
            step: it decides on the dropout masks.
            bfloat16: compute products in it.

        Returns:
            The ``loss`` in nats and a sum over the last ``state``; the items; the last state of the
            own rows; and the gradients.
        """
        if self._averaging is None:
            compute = self._objective.loss
            loss, count, state = self._forward(
                lambda *inputs: compute(self._model, *inputs),
                *(batch, carried),
                step=step,
                bfloat16=bfloat16,
            )
            _differentiate(loss / count)
            checked = {"loss": loss.detach(), **_state_sum(state)}
        else:
            with lost_processes():
                checked, count, state = self._share(batch, carried, step, bfloat16)
        return checked, count, state, dense_gradients(self._weights)

    def _share(
        self, batch: Any, carried: StackState | None, step: int, bfloat16: bool
    ) -> tuple[dict[str, Tensor], int, StackState | None]:
        loss, own, state = self._forward(
            self._averaging, batch, carried, step=step, bfloat16=bfloat16
        )
        checked = {"loss": loss.detach(), **_state_sum(state)}
        count, *sums = self._world.sum(own, *map(float, checked.values()))
        _differentiate(loss * (self._world.size / count))  # and the mean over the processes
        for table in self._tables.values():
            if table.grad is not None:
                table.grad = self._world.sum_rows(table.grad) / self._world.size
        totals = torch.tensor(sums, device=self._device)
        return dict(zip(checked, totals, strict=True)), int(count), state

    def _forward(
        self,
        compute: Any,
        batch: Any,
        carried: StackState | None,
        *,
        step: int,
        bfloat16: bool,
    ) -> Loss:
        seed_step(self._seed, step, self._device, self._world.rank)
        if not self._model.training:  # it walks through all modules
            self._model.train()
        self._clear()  # before the forward pass, which can make gradients too
        with torch.autocast(self._device.type, torch.bfloat16, enabled=bfloat16):
            loss, count, state = compute(batch, carried)
        if state is not None:
            kind = torch.get_default_dtype()
            state = map_state(lambda tensor: tensor.detach().to(kind), state)
        return loss, count, state

    def _backward(self, compute: nn.Module, batch: Any) -> None:
        loss, _, _ = self._forward(compute, batch, None, step=0, bfloat16=False)
        _differentiate(loss)
        self._clear()

    def _clear(self) -> None:
        for each in self._weights:
            each.grad = None


def own_rows(objective: Objective, batch: Any, world: World) -> tuple[Any, bool]:
    """A process's own rows of a batch, and whether there are none.

    A batch at the end of an epoch can have fewer rows than there are processes. A process without
    rows gets the first row, so that all can take part in the sum of the gradients.
    """
    if world.size == 1:
        return batch, False
    idle = not world.count_own(objective.num_rows(batch))
    return objective.some_rows(batch, slice(1) if idle else world.own), idle


class _OwnRows(nn.Module):
    """A batch to the loss, items and state of this process's own rows."""

    def __init__(self, objective: Objective, model: nn.Module, world: World) -> None:
        super().__init__()
        self.model = model
        self._objective, self._world = objective, world

    def forward(self, batch: Any, carried: StackState | None) -> Loss:
        own, idle = own_rows(self._objective, batch, self._world)
        loss, count, state = self._objective.loss(self.model, own, carried)
        if state is not None:
            state = map_state(torch.Tensor.detach, state)  # only the loss has a gradient
        return (0 * loss, 0, state) if idle else (loss, count, state)


def _differentiate(loss: Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]


def _state_sum(state: StackState | None) -> dict[str, Tensor]:
    """A sum over all numbers of a state, which shows whether one is not finite; by its name."""
    if state is None:
        return {}
    return {"state": torch.stack([part.sum() for layer in state for part in layer]).sum()}
