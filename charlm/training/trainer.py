"""The trainer: one model, its update, its reports, and its state between two steps."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from charlm.config import TrainingSection
from charlm.device import select_precision
from charlm.errors import TrainingError
from charlm.models.recurrent_model import RecurrentModel
from charlm.optimisation.optimisers import OPTIMISERS, build_optimiser
from charlm.optimisation.schedules import learning_rate_factor
from charlm.recurrent.states import StackState, map_state
from charlm.training.determinism import seed_step
from charlm.training.events import Event, Measured, Sampled, Stepped
from charlm.training.objective import Objective
from charlm.training.optimisation import gradient_norm, scale_gradients, snapshot
from charlm.training.progress import Progress

EVALUATIONS_PER_RUN = 5  # scores inside long epochs, and sets of samples, unless told otherwise
# Limits of one step; beyond them float32 overflows in the weights or in the optimiser's moments.
MAX_GRADIENT = 1e18  # global norm
MAX_UPDATE = 1e30  # of a weight
MAX_DECAY = 1e8  # learning rate times weight decay


class Trainer:
    """One training of any task; ``model`` is a new model on ``device``.

    Batches and samples draw from generators of their own, so validating and sampling change
    nothing in the training. ``notices`` says what the user should know about the precision.
    """

    def __init__(
        self,
        objective: Objective,
        model: RecurrentModel,
        config: TrainingSection,
        device: torch.device,
    ) -> None:
        self.objective, self.model, self.config, self.device = objective, model, config, device
        named = model.named_parameters()
        self.parameters = {name: each for name, each in named if each.requires_grad}
        self.optimiser = build_optimiser(
            config.optimiser,
            model,
            lr=config.lr,
            beta2=config.beta2,
            weight_decay=config.weight_decay,
        )
        self.bfloat16, self.notices = select_precision(config.precision, device)
        self.progress = Progress(next_samples=1 / EVALUATIONS_PER_RUN)
        self.metrics: list[dict[str, Any]] = []  # a row for each report, as in metrics.jsonl
        self.samples: list[dict[str, Any]] = []  # of all reports
        self.best: dict[str, Tensor] | None = None  # the best weights, on the CPU
        averaged = self.parameters if config.averaging else {}
        self.average = {name: each.detach().clone() for name, each in averaged.items()}
        self.whole = True  # False while the state is neither the old nor the new one
        self._started = time.monotonic()
        self._begin_first_epoch()

    # Progress

    @property
    def seconds(self) -> float:
        """Seconds of training since the start."""
        return time.monotonic() - self._started

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
        return self._share >= 1 or self.out_of_patience

    @property
    def out_of_patience(self) -> bool:
        """Whether the validation metric has not improved for ``patience`` scores."""
        patience = self.config.patience
        return patience is not None and self.progress.unimproved >= patience

    @property
    def start_due(self) -> bool:
        """Whether to score a model with trained weights, before its first step here."""
        objective = self.objective
        untouched = self.progress.step == 0 and not self.metrics
        return objective.starts_trained and objective.has_valid and untouched

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
    def last_valid(self) -> float | None:
        """The last score of the validation split; None if it was not scored."""
        return self.metrics[-1][self.objective.task.metric_keys[1]] if self.metrics else None

    @property
    def best_epoch(self) -> float | None:
        """The epochs after which the best weights were scored; None if there are none."""
        best, key = self.progress.best_valid, self.objective.task.metric_keys[1]
        rows = (row["epoch"] for row in self.metrics if row[key] == best)
        return None if best is None else next(rows, None)

    @property
    def report_due(self) -> bool:
        """Whether to report: at the end of an epoch or the training, or inside a long epoch."""
        if self.start_due:
            return True
        overdue = self._share - self.progress.measured_share >= 1 / EVALUATIONS_PER_RUN
        due = self.epoch_over or self._share >= 1 or overdue
        return due and self.progress.step > self.progress.measured_step

    def _share_now(self) -> float:
        """The share of the training that is done, by epochs or by the clock: the larger one."""
        by_epochs = self.epoch / self.config.epochs if self.config.epochs else 0.0
        by_clock = self.seconds / (60 * self.config.minutes) if self.config.minutes else 0.0
        return min(1.0, max(by_epochs, by_clock))

    def _begin_first_epoch(self) -> None:
        """Draw the batches of the current epoch, after those of the epochs before it."""
        self._generator = torch.Generator().manual_seed(self.config.seed)
        for _ in range(self.progress.whole_epochs):
            self.objective.draw_batches(self._generator)
        self.begin_epoch()
        self._share = self._share_now()

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
            progress.whole_epochs += 1
            progress.batches, progress.nats, progress.count = 0, 0.0, 0
            self.begin_epoch()
            self.whole = True
        factor = learning_rate_factor(self.config.schedule, self._share, self.config.warmup)
        learning_rate = self.config.lr * factor
        nats, count, state, norm = self._differentiate(learning_rate)
        self.whole = False
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.optimiser.step()
        if self.average:
            # Early weights soon count for little: the decay grows to its final value.
            decay = min(self.config.averaging, (1 + progress.step) / (10 + progress.step))
            weights = [each.detach() for each in self.parameters.values()]
            torch._foreach_lerp_([*self.average.values()], weights, 1 - decay)
        progress.learning_rate = learning_rate
        progress.step += 1
        progress.batches += 1
        progress.items += count
        progress.nats += nats
        progress.count += count
        progress.count_norm(norm, clipped=norm > self._clip_norm)
        self._carried = state
        self._share = self._share_now()
        self.whole = True
        return Stepped(
            epoch=progress.whole_epochs + 1,
            progress=self._share,
            metric=self.objective.train_metric(progress.loss),
            seconds=self.seconds,
            items=progress.items,
        )

    @property
    def _clip_norm(self) -> float:
        return self.config.clip_norm or math.inf

    def _differentiate(self, learning_rate: float) -> tuple[float, int, StackState | None, float]:
        """Set the clipped gradients of the next batch.

        Returns its nats, items, last state, and gradient norm before clipping.
        """
        batch = self.batches[self.progress.batches]
        seed_step(self.config.seed, self.progress.step, self.device)
        if not self.model.training:  # it walks through all modules
            self.model.train()
        self.optimiser.zero_grad()  # before the forward pass, which can make gradients too
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            loss, count, state = self.objective.loss(self.model, batch, self._carried)
        (loss / count).backward()  # type: ignore[no-untyped-call]
        gradients = [each.grad for each in self.parameters.values() if each.grad is not None]
        checked = {"loss": loss.detach(), "gradient": gradient_norm(gradients)}
        if state is not None:
            state = map_state(lambda tensor: tensor.detach().float(), state)
            checked["state"] = torch.stack([part.sum() for layer in state for part in layer]).sum()
        # The only place in a step that waits for the device.
        values = torch.stack([value.float() for value in checked.values()]).tolist()
        finite = dict(zip(checked, values, strict=True))
        for name, value in finite.items():
            if not math.isfinite(value):
                raise self._not_finite(f"the {name} is", self.progress.step + 1)
        norm, clip_norm = finite["gradient"], self._clip_norm
        clipped = min(norm, clip_norm)
        if (
            clipped > MAX_GRADIENT
            or learning_rate * max(1.0, clipped) > MAX_UPDATE
            or learning_rate * self.config.weight_decay > MAX_DECAY
        ):
            raise self._not_finite("the update is", self.progress.step + 1)
        if norm > clip_norm:
            scale_gradients(gradients, clip_norm / norm)
        return finite["loss"], count, state, norm

    def _not_finite(self, what: str, step: int) -> TrainingError:
        return TrainingError(
            f"{what} not finite at step {step}, after {self.progress.items:,} "
            f"{self.objective.task.unit}",
            "try a smaller --lr or a smaller --clip-norm"
            if self.config.clip_norm
            else "clip the gradients: --clip-norm 1; or try a smaller --lr",
        )

    # Reports

    def report(self, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """Score the validation split, remember the best weights, and sample if it is time.

        Raises:
            Stopped: ``should_stop`` returned True; the report is still due.
            TrainingError: the weights are not finite.
        """
        progress, epoch, task = self.progress, self.epoch, self.objective.task
        if not all(bool(each.isfinite().all()) for each in self.parameters.values()):
            raise self._not_finite("the weights are", progress.step)
        valid = None
        if self.objective.has_valid:
            with self._averaged():
                valid = self.objective.score(self.model, should_stop)
        train = self.objective.train_metric(progress.loss) if progress.step else None
        measured = Measured(
            epoch=epoch,
            step=progress.step,
            train=train,
            valid=valid,
            learning_rate=progress.learning_rate,
            **progress.gradients,
            seconds=self.seconds,
            items=progress.items,
        )
        yield measured
        samples: list[Sampled] = []
        if self._samples_due(epoch):
            with self._averaged():
                for sample in self.objective.sample(self.model, epoch, should_stop):
                    samples.append(sample)
                    yield sample
        # Nothing is recorded before this point: an interrupted report is made again from its start.
        self.whole = False
        self.metrics.append(
            {
                "epoch": epoch,
                "step": progress.step,
                **dict(zip(task.metric_keys, (train, valid), strict=True)),
                "learning_rate": progress.learning_rate,
                **progress.gradients,
                "seconds": measured.seconds,
                task.unit: progress.items,
            }
        )
        self.samples += [dict(vars(sample)) for sample in samples]
        if samples:
            progress.next_samples = self._share + 1 / EVALUATIONS_PER_RUN
        if self.epoch_over or progress.whole_epochs == 0:
            progress.train_metric = train
        if valid is not None and self._is_best(valid):
            progress.best_valid, progress.unimproved = valid, 0
            self.best = self._scored_weights()
        elif valid is not None:
            progress.unimproved += 1
        progress.forget_norms()
        progress.measured_step, progress.measured_share = progress.step, self._share
        self.whole = True

    def _samples_due(self, epoch: float) -> bool:
        every = self.objective.sample_every
        due = epoch % every == 0 if every else self._share >= self.progress.next_samples
        return due or self._share >= 1

    def _is_best(self, valid: float) -> bool:
        best = self.progress.best_valid
        if best is None:
            return math.isfinite(valid)  # a perplexity may overflow
        return self.objective.task.valid_metric.is_better(valid, best)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Give the model the running mean of its weights inside the block, if there is one."""
        weights = {name: self.parameters[name].detach().clone() for name in self.average}
        try:
            self._set_weights(self.average)
            yield
        finally:
            self._set_weights(weights)

    @torch.no_grad()
    def _set_weights(self, weights: Mapping[str, Tensor]) -> None:
        for name, tensor in weights.items():
            self.model.get_parameter(name).copy_(tensor)

    def _scored_weights(self) -> dict[str, Tensor]:
        """The weights that reports score, on the CPU, by name."""
        with self._averaged():
            return snapshot(self.model)

    # State

    def state_dict(self) -> dict[str, Any]:
        """Everything that a checkpoint holds, between two steps.

        ``weights`` and ``best`` are on the CPU. ``average`` is the running mean of the weights,
        ``optimiser`` the moments by weight and name, ``carried`` the state from batch to batch.
        """
        weights = snapshot(self.model)
        self.progress.seconds = self.seconds
        best = self.best or (self._scored_weights() if self.average else weights)
        moments = self.optimiser.state_dict()["state"]
        return {
            "weights": weights,
            "best": best,
            "average": self.average,
            "optimiser": {
                f"{name}.{moment}": tensor
                for index, name in enumerate(self._optimiser_names())
                for moment, tensor in moments.get(index, {}).items()
            },
            "carried": {} if self._carried is None else _named(self._carried),
            "progress": self.progress,
            "parameters": self.model.num_parameters(),
            "device": self.device.type,
            "bfloat16": self.bfloat16,
            "metrics": self.metrics,
            "samples": self.samples,
        }

    def empty_state(self, progress: Progress) -> dict[str, dict[str, Tensor]]:
        """Tensors with the names, shapes and types of those in a state dict at ``progress``."""
        moments = OPTIMISERS[self.config.optimiser].moments if progress.step else ()
        optimiser = {
            f"{name}.{moment}": torch.zeros(()) if moment == "step" else parameter
            for name, parameter in self.parameters.items()
            for moment in (*moments, *(("step",) if moments else ()))
        }
        zeros = self.objective.carried_state(self.model) if progress.batches else None
        carried = {} if zeros is None else _named(zeros)
        return {"average": self.average, "optimiser": optimiser, "carried": carried}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state dict; ``bfloat16`` None leaves the decision to the device.

        Raises:
            ValueError: the state has more batches than an epoch has.
        """
        self.progress, self.best = state["progress"], state["best"]
        self.metrics, self.samples = list(state["metrics"]), list(state["samples"])
        self._started = time.monotonic() - self.progress.seconds
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
        # A longer training has done a smaller share: its reports come as soon as in a new one.
        progress = self.progress
        progress.measured_share = min(progress.measured_share, self._share)
        progress.next_samples = min(progress.next_samples, self._share + 1 / EVALUATIONS_PER_RUN)
        if progress.batches > len(self.batches):
            raise ValueError(f"an epoch has {len(self.batches):,} batches")
        if state["carried"]:
            zeros = self.objective.carried_state(self.model)
            assert zeros is not None
            tensors = (state["carried"][name].to(self.device) for name in _named(zeros))
            self._carried = map_state(lambda _: next(tensors), zeros)

    def _optimiser_names(self) -> list[str]:
        """The names of the weights in the optimiser's order."""
        names = {id(parameter): name for name, parameter in self.parameters.items()}
        groups = self.optimiser.param_groups
        return [names[id(parameter)] for group in groups for parameter in group["params"]]


def _named(state: StackState) -> dict[str, Tensor]:
    """The tensors of a stack's state by names such as ``0.hidden``."""
    return {
        f"{depth}.{name}": tensor
        for depth, layer_state in enumerate(state)
        for name, tensor in layer_state._asdict().items()
    }
