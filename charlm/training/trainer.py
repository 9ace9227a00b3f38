"""One training's parts: the model, its update, its measures, and what is kept."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import torch

from charlm.batches import (
    Batch,
    check_length,
    consecutive_batches,
    draw_offset,
    random_batches,
)
from charlm.config import TrainingConfig
from charlm.corpus import Corpus
from charlm.errors import TrainingError
from charlm.evaluation.perplexity import LossSum, evaluate
from charlm.generation.decoding import Decoding, generate
from charlm.models.build import build_language_model, computes_in_bfloat16
from charlm.models.language_model import cross_entropy_sum
from charlm.recurrent.core import StackState, map_state
from charlm.runs import Run
from charlm.training.events import Event, Measured, Sampled
from charlm.training.optimisation import build_optimiser, clip_gradients, snapshot
from charlm.training.schedules import learning_rate_factor

SAVE_SECONDS = 10.0  # at least so long between two writings of the run folder
MARKS = 5  # a training is sampled from so often unless told, and a long epoch scored so often


def check_train_split(config: TrainingConfig, train_characters: int) -> None:
    """Make sure that there is a batch in every epoch.

    Raises:
        CorpusError: the train split is too short; how many characters there are and are needed.
    """
    highest_offset = 0
    if config.offset == "random":
        highest_offset = config.seq_len - (config.sampling == "random")
    check_length(
        train_characters,
        batch_size=config.batch_size,
        seq_len=config.seq_len,
        highest_offset=highest_offset,
    )


class Trainer:
    """One training: the model, what moves it, and how far it has come.

    Seeds torch's global generator, which decides the first weights and the dropout. Batches
    and samples have generators of their own, so validating and sampling change nothing.
    """

    def __init__(self, run: Run, corpus: Corpus, device: torch.device) -> None:
        config = run.config.training
        self.run, self.config = run, config
        self.train_ids = torch.from_numpy(corpus.split("train").copy()).to(device)
        self.valid_ids = torch.from_numpy(corpus.split("valid").copy()).to(device)
        check_train_split(config, len(self.train_ids))
        torch.manual_seed(config.seed)
        self.model = build_language_model(run.config.model, len(run.vocabulary)).to(device)
        self.parameters = list(self.model.parameters())
        self.optimiser = build_optimiser(config, self.model)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.autocast = torch.autocast(
            device.type, torch.bfloat16, enabled=computes_in_bfloat16(config.precision, device)
        )
        self.step = 0
        self.characters = 0
        self.whole_epochs = 0
        self.train_perplexity: float | None = None
        self.best_valid = math.inf
        self.best: dict[str, torch.Tensor] | None = None
        self._started = time.monotonic()
        self._saved = -math.inf
        self._measured = 0.0  # progress at the last measure
        self._next_mark = 1 / MARKS  # progress at which samples are due

    @property
    def seconds(self) -> float:
        """Since the training began."""
        return time.monotonic() - self._started

    @property
    def has_valid(self) -> bool:
        """Whether there is a held-out text to score."""
        return len(self.valid_ids) >= 2

    def epoch_batches(self) -> Iterator[Batch]:
        """The next epoch's batches."""
        config = self.config
        offset = 0
        if config.offset == "random":
            offset = draw_offset(config.sampling, config.seq_len, self.generator)
        sizes = {"batch_size": config.batch_size, "seq_len": config.seq_len, "offset": offset}
        if config.sampling == "consecutive":
            return consecutive_batches(self.train_ids, **sizes)
        return random_batches(
            self.train_ids, **sizes, generator=self.generator, drop_last=config.drop_last
        )

    def epoch(self, count: int) -> float:
        """Epochs gone through, ``count`` characters into the present one; below the next."""
        return self.whole_epochs + min(count / len(self.train_ids), 0.9999)

    def progress(self, epoch: float) -> float:
        """Part of the training that is over, by epochs or by the clock, whichever is further."""
        by_epochs = epoch / self.config.epochs if self.config.epochs else 0.0
        by_clock = self.seconds / (60 * self.config.minutes) if self.config.minutes else 0.0
        return min(1.0, max(by_epochs, by_clock))

    def update(self, batch: Batch, state: StackState, progress: float) -> tuple[float, StackState]:
        """One step: forward, backward, clipping, the optimiser.

        Returns:
            The batch's summed cross-entropy in nats, and the state after it, detached.

        Raises:
            TrainingError: the loss or the gradient is not finite; the weights are as before.
        """
        self.model.train()
        with self.autocast:
            logits, state = self.model(batch.inputs, state)
        loss = cross_entropy_sum(logits.float(), batch.targets)
        self.optimiser.zero_grad()
        (loss / batch.targets.numel()).backward()  # type: ignore[no-untyped-call]
        nats = float(loss.detach())
        norm = clip_gradients(self.parameters, self.config.clip_norm)
        if not math.isfinite(nats) or not math.isfinite(norm):
            what = "loss" if not math.isfinite(nats) else "gradient"
            raise TrainingError(
                f"the {what} is not finite at step {self.step + 1}, after "
                f"{self.characters:,} characters",
                "try a smaller --lr or a smaller --clip-norm",
            )
        factor = learning_rate_factor(self.config.schedule, progress, self.config.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.lr * factor
        self.optimiser.step()
        self.step += 1
        self.characters += batch.targets.numel()
        return nats, map_state(lambda tensor: tensor.detach().float(), state)

    def overdue(self, progress: float) -> bool:
        """Whether an epoch is so long that it should be measured before its end."""
        return progress - self._measured >= 1 / MARKS

    def report(self, epoch: float, progress: float, loss: LossSum) -> Iterator[Event]:
        """Score the held-out text, remember the best weights, sample where it is time, save."""
        self._measured = progress
        valid = None
        if self.has_valid:
            valid = evaluate(self.model, self.valid_ids).perplexity
            if valid < self.best_valid:
                self.best_valid, self.best = valid, snapshot(self.model)
        if epoch == int(epoch) or self.whole_epochs == 0:
            self.train_perplexity = loss.perplexity
        measured = Measured(
            epoch=epoch,
            step=self.step,
            train_perplexity=loss.perplexity,
            valid_perplexity=valid,
            learning_rate=self.optimiser.param_groups[0]["lr"],
            seconds=self.seconds,
            characters=self.characters,
        )
        self.run.metrics.append(dict(vars(measured)))
        yield measured
        every = self.config.sample_every
        if progress >= 1 or (epoch % every == 0 if every else progress >= self._next_mark):
            self._next_mark = progress + 1 / MARKS
            yield from self.sample(epoch)
        self.save()

    def sample(self, epoch: float) -> Iterator[Sampled]:
        """A continuation of each prefix; with the same draws each time, for comparison."""
        vocabulary = self.run.vocabulary
        decoding = Decoding(temperature=self.config.sample_temperature)
        for number, prefix in enumerate(self.config.prefixes):
            ids = vocabulary.encode(prefix).tolist()
            steps = generate(
                self.model,
                ids,
                length=self.config.sample_length,
                decoding=decoding,
                seed=(self.config.seed + number) % 2**63,
            )
            text = prefix + vocabulary.decode([int(chosen) for chosen in steps])
            sampled = Sampled(epoch=epoch, prefix=prefix, text=text)
            self.run.samples.append(dict(vars(sampled)))
            yield sampled

    def save(self, *, now: bool = False) -> None:
        """Write the run folder, unless that was done a moment ago."""
        if now or self.seconds - self._saved >= SAVE_SECONDS:
            last = snapshot(self.model)
            if all(bool(tensor.isfinite().all()) for tensor in last.values()):
                self.run.save(best=self.best or last, last=last)
            self._saved = self.seconds
