"""The trainer: one model, its update, and its state between two steps."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from charlm.config import TrainingSection
from charlm.device import select_precision
from charlm.errors import TrainingError
from charlm.models.recurrent_model import RecurrentModel, evaluating
from charlm.optimisation.optimisers import OPTIMISERS, build_optimiser
from charlm.optimisation.schedules import learning_rate_factor
from charlm.processes import world
from charlm.recurrent.states import StackState, map_state, named_tensors
from charlm.training.averaging import begun, has_mean, new_share
from charlm.training.clock import Clock
from charlm.training.events import Stepped
from charlm.training.gradients import Gradients, own_rows
from charlm.training.objective import Objective
from charlm.training.optimisation import gradient_norm, scale_gradients, snapshot
from charlm.training.progress import Progress
from charlm.training.reports import Reports

# Limits of one step; beyond them float32 overflows in the weights or in the optimiser's moments.
MAX_GRADIENT = 1e18  # global norm
MAX_UPDATE = 1e30  # of a weight
MAX_DECAY = 1e8  # learning rate times weight decay


class Trainer:
    """One training of any task; ``model`` is a new model on ``device``, ``begun`` as in `Clock`.

    Batches and samples draw from generators of their own, so validating and sampling change
    nothing in the training. ``notices`` says what the user should know about the precision.
    """

    def __init__(
        self,
        objective: Objective,
        model: RecurrentModel,
        config: TrainingSection,
        device: torch.device,
        begun: float | None = None,
    ) -> None:
        self.clock = Clock(config.minutes, begun)
        self.objective, self.model, self.config, self.device = objective, model, config, device
        named = model.named_parameters()
        self.parameters = {name: each for name, each in named if each.requires_grad}
        self.optimiser = build_optimiser(
            config.optimiser,
            model,
            lr=config.lr,
            beta1=config.beta1,
            beta2=config.beta2,
            weight_decay=config.weight_decay,
        )
        self.bfloat16, self.notices = select_precision(config.precision, device)
        self.threads = torch.get_num_threads()
        self._same: dict[int, bool] = {}  # whether gradients are, by the number of threads
        self.progress = Progress()
        self.metrics: list[dict[str, Any]] = []  # a row for each report, as in metrics.jsonl
        self.samples: list[dict[str, Any]] = []  # of all reports
        self.best: dict[str, Tensor] | None = None  # the best weights, on the CPU
        averaged = self.parameters if has_mean(config) else {}
        self.average = {name: each.detach().clone() for name, each in averaged.items()}
        self.share = 0.0  # of the training that is done, 0 to 1
        self.whole = True  # False while the state is neither the old nor the new one
        self.reports = Reports(self)
        self.world = world()
        self._gradients = Gradients(objective, model, device, config.seed, self.world)
        self._begin_first_epoch()
        if self.world.size > 1:
            self._gradients.connect(self.batches[0])
        self.clock.start()

    # Progress

    @property
    def epoch_over(self) -> bool:
        """Whether the current epoch has no batch left."""
        return self.progress.batches == len(self.batches)

    @property
    def epoch(self) -> float:
        """Epochs since the start; a whole number at the end of an epoch, and only there."""
        done = min(self.progress.count / self.objective.train_size, 0.9999)
        return self.progress.whole_epochs + (1 if self.epoch_over else done)

    @property
    def over(self) -> bool:
        """Whether the training is done."""
        return (self.share >= 1 and self.progress.step > 0) or self.out_of_patience

    @property
    def out_of_patience(self) -> bool:
        """Whether the validation metric has not improved for ``patience`` scores."""
        patience = self.config.patience
        return patience is not None and self.progress.unimproved >= patience

    @property
    def last_train_metric(self) -> float | None:
        """The training metric over the batches since the last epoch began; None before a batch."""
        return self.objective.train_metric(self.progress.loss) if self.progress.batches else None

    @property
    def train_metric(self) -> float | None:
        """The training metric of the last whole epoch, or of the first one, if it is unfinished."""
        before = self.progress.whole_epochs > 0 and not self.epoch_over
        return self.progress.train_metric if before else self.last_train_metric

    @property
    def _share_by_epochs(self) -> float:
        return self.epoch / self.config.epochs if self.config.epochs else 0.0

    def forecast(self) -> str | None:
        """A sentence on the time of the epochs that are left, where it is long."""
        epochs = (self.config.epochs or 0) - self.epoch
        return self.clock.forecast(epochs, self.objective.train_size, self.objective.task.unit)

    def _share_at(self, seconds: float) -> float:
        """The share that is done, by epochs or by the clock: the larger one. It never falls."""
        progress, minutes = self.progress, self.config.minutes or 0.0
        by_clock = 0.0
        if self.clock.limited and progress.step:  # at least one step is made
            by_clock = self.clock.share(seconds, self.reports.end_seconds)
            if by_clock == 1 or minutes <= progress.done_minutes:
                by_clock, progress.done_minutes = 1.0, max(progress.done_minutes, minutes)
        return min(1.0, max(self.share, self._share_by_epochs, by_clock))

    def _begin_first_epoch(self) -> None:
        """Draw the batches of the current epoch, after those of the epochs before it."""
        self._generator = torch.Generator().manual_seed(self.config.seed)
        for _ in range(self.progress.whole_epochs):
            self.objective.draw_batches(self._generator)
        self.begin_epoch()
        self.share = 0.0
        self.share = self._share_at(self.clock.seconds)

    def begin_epoch(self) -> None:
        """Draw the batches of the next epoch; the state before the first batch is zero."""
        self.batches = self.objective.draw_batches(self._generator)
        self._carried: StackState | None = None

    # One step

    def update(self) -> Stepped:
        """One step: forward, backward, clipping, the optimiser.

        Raises:
            TrainingError: the loss, the gradient, the state or the update is not finite; the
                weights are unchanged.
        """
        progress = self.progress
        if self.epoch_over:
            self.whole = False
            progress.train_metric = self.last_train_metric
            progress.whole_epochs += 1
            progress.batches, progress.nats, progress.count = 0, 0.0, 0
            self.begin_epoch()
            self.whole = True
        factor = learning_rate_factor(self.config.schedule, self.share, self.config.warmup)
        learning_rate = self.config.lr * factor * progress.lr_factor
        nats, count, state, norm = self._differentiate(learning_rate)
        self.whole = False
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.optimiser.step()
        if new := new_share(self.config, progress, self.share):
            self.average_weights(new)
        progress.learning_rate = learning_rate
        progress.step += 1
        progress.batches += 1
        progress.items += count
        progress.nats += nats
        progress.count += count
        progress.count_norm(norm, clipped=norm > self._clip_norm)
        self._carried = state
        seconds = self.clock.step_done(count)
        self.share = self._share_at(seconds)
        self.whole = True
        return Stepped(
            epoch=progress.whole_epochs + 1,
            progress=self.share,
            metric=self.objective.train_metric(progress.loss),
            seconds=seconds,
            left=self.clock.left(seconds, self._share_by_epochs),
            items=progress.items,
        )

    @property
    def _clip_norm(self) -> float:
        return self.config.clip_norm or math.inf

    @torch.no_grad()
    def forward_speed(self) -> float:
        """Items per second without gradients, measured on the next batch; it changes nothing."""
        with evaluating(self.model):
            for _ in range(2):  # the first time is often slow
                begun = time.monotonic()
                batch, _ = own_rows(self.objective, self.batches[0], self.world)
                nats, count, _ = self.objective.loss(self.model, batch, None)
                float(nats)  # waits for the device
        return count / max(time.monotonic() - begun, 1e-6)

    def _differentiate(self, learning_rate: float) -> tuple[float, int, StackState | None, float]:
        """Set the clipped gradients of the next batch.

        Returns its nats, items, last state, and gradient norm before clipping.
        """
        batch = self.batches[self.progress.batches]
        checked, count, state, gradients = self._gradients.fill(
            batch, self._carried, step=self.progress.step, bfloat16=self.bfloat16
        )
        checked["gradient"] = gradient_norm(gradients)
        # The only place in a step that waits for the device.
        kind = torch.get_default_dtype()
        values = torch.stack([value.to(kind) for value in checked.values()]).tolist()
        finite = dict(zip(checked, values, strict=True))
        for name, value in finite.items():
            if not math.isfinite(value):
                raise self.not_finite(f"the {name} is", self.progress.step + 1)
        norm, clip_norm = finite["gradient"], self._clip_norm
        clipped = min(norm, clip_norm)
        if (
            clipped > MAX_GRADIENT
            or learning_rate * max(1.0, clipped) > MAX_UPDATE
            or learning_rate * self.config.weight_decay > MAX_DECAY
        ):
            raise self.not_finite("the update is", self.progress.step + 1)
        if norm > clip_norm:
            scale_gradients(gradients, clip_norm / norm)
        return finite["loss"], count, state, norm

    def may_use(self, threads: int) -> bool:
        """Whether training may go on with another number of threads.

        It may if the clock decides on the learning rate, because then no two trainings are equal
        anyway; else only if the gradients stay the same.
        """
        if self.share > self._share_by_epochs:
            return True
        if threads not in self._same:
            self._same[threads] = self.same_gradients(threads)
        return self._same[threads]

    def same_gradients(self, threads: int) -> bool:
        """Whether a batch has the same gradients with this number of threads, bit for bit.

        It changes nothing.
        """
        before, found = torch.get_num_threads(), []
        for number in (before, threads):
            torch.set_num_threads(number)
            checked, _, _, gradients = self._gradients.fill(
                self.batches[0], None, step=self.progress.step, bfloat16=self.bfloat16
            )
            found.append([checked["loss"], gradient_norm(gradients), *gradients])
        torch.set_num_threads(before)
        return all(map(torch.equal, *found))

    def not_finite(self, what: str, step: int) -> TrainingError:
        """The error for ``what`` is not finite, such as "the loss is"."""
        return TrainingError(
            f"{what} not finite at step {step}, after {self.progress.items:,} "
            f"{self.objective.task.unit}",
            "try a smaller --lr or a smaller --clip-norm"
            if self.config.clip_norm
            else "clip the gradients: --clip-norm 1; or try a smaller --lr",
        )

    # The weights that are scored

    @contextmanager
    def holding(self, weights: Mapping[str, Tensor]) -> Iterator[None]:
        """Give the model some weights inside the block, such as ``average`` or ``best``."""
        own = {name: self.model.get_parameter(name).detach().clone() for name in weights}
        try:
            self._set_weights(weights)
            yield
        finally:
            self._set_weights(own)

    @torch.no_grad()
    def _set_weights(self, weights: Mapping[str, Tensor]) -> None:
        for name, tensor in weights.items():
            self.model.get_parameter(name).copy_(tensor)

    @property
    def mean(self) -> dict[str, Tensor]:
        """``average``, once it is begun; else empty."""
        return self.average if begun(self.config, self.progress) else {}

    def average_weights(self, share: float) -> None:
        """Move the mean of the weights towards the weights by this share of the distance."""
        weights = [each.detach() for each in self.parameters.values()]
        torch._foreach_lerp_([*self.average.values()], weights, share)

    def snapshot(self, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights on the CPU, by name, with the ``held`` ones in the place of the model's."""
        with self.holding(held):
            return snapshot(self.model)

    # State

    def state_dict(self) -> dict[str, Any]:
        """Everything that a checkpoint holds, between two steps.

        ``weights`` and ``best`` are on the CPU. ``average`` is the running mean of the weights,
        ``optimiser`` the moments by weight and name, ``carried`` the state from batch to batch.
        """
        weights = snapshot(self.model)
        self.progress.seconds = self.clock.seconds
        best = self.best or (self.snapshot(self.mean) if self.mean else weights)
        moments = self.optimiser.state_dict()["state"]
        carried = {} if self._carried is None else named_tensors(self._carried)
        return {
            "weights": weights,
            "best": best,
            "average": self.average,
            "optimiser": {
                f"{name}.{moment}": tensor
                for index, name in enumerate(self._optimiser_names())
                for moment, tensor in moments.get(index, {}).items()
            },
            "carried": {name: self.world.joined(own.cpu()) for name, own in carried.items()},
            "progress": self.progress,
            "parameters": self.model.num_parameters(),
            "device": self.device.type,
            "bfloat16": self.bfloat16,
            "threads": self.threads,
            "processes": self.world.size,
            "metrics": self.metrics,
            "samples": self.samples,
        }

    def empty_state(self, progress: Progress) -> dict[str, dict[str, Tensor]]:
        """Tensors with the names, shapes and types of those in a state dict at ``progress``."""
        moments = OPTIMISERS[self.config.optimiser].moments if progress.step else ()
        optimiser = {
            f"{name}.{moment}": torch.zeros(()) if moment == "step" else parameter
            for name, parameter in self.parameters.items()
            for moment in moments
        }
        zeros = self.objective.carried_state(self.model) if progress.batches else None
        carried = {} if zeros is None else named_tensors(zeros)
        return {"average": self.average, "optimiser": optimiser, "carried": carried}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state dict; ``bfloat16`` None leaves the decision to the device.

        Raises:
            ValueError: the state has more batches than an epoch has.
        """
        self.progress, self.best = state["progress"], state["best"]
        self.metrics, self.samples = list(state["metrics"]), list(state["samples"])
        self.clock.start(self.progress.seconds)
        if state["bfloat16"] is not None:
            self.bfloat16 = state["bfloat16"]
        self._set_weights(state["weights"])
        for name, mean in self.average.items():
            mean.copy_(state["average"][name])
        moments: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for key, tensor in state["optimiser"].items():
            name, _, moment = key.rpartition(".")
            moments[name][moment] = tensor
        names = enumerate(self._optimiser_names())
        by_index = {index: moments[name] for index, name in names if name in moments}
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": by_index, "param_groups": groups})
        self._begin_first_epoch()
        self.reports.resume()
        if self.progress.batches > len(self.batches):
            raise ValueError(f"an epoch has {len(self.batches):,} batches")
        if state["carried"]:
            zeros = self.objective.carried_state(self.model)
            assert zeros is not None
            whole = (state["carried"][name] for name in named_tensors(zeros))
            tensors = (each[self.world.own].to(self.device) for each in whole)
            self._carried = map_state(lambda _: next(tensors), zeros)

    def _optimiser_names(self) -> list[str]:
        """The names of the weights in the optimiser's order."""
        names = {id(parameter): name for name, parameter in self.parameters.items()}
        groups = self.optimiser.param_groups
        return [names[id(parameter)] for group in groups for parameter in group["params"]]
