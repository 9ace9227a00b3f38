"""When a training writes a checkpoint."""

from __future__ import annotations

from charlm.runs import Run
from charlm.training.trainer import Trainer
from charlm.training.training_state import save_state

SAVING = 0.05  # the largest share of the time for the checkpoints at the ends of epochs


class Saver:
    """Writes the checkpoints of one training."""

    def __init__(self, run: Run, trainer: Trainer) -> None:
        self._run, self._trainer = run, trainer
        self._saved = self._standing() if run.checkpoint else None
        self._saved_at, self._saving_seconds = trainer.clock.now(), 0.0

    def save_when_due(self) -> None:
        """Write a checkpoint at the end of an epoch, and regularly inside a long one."""
        trainer = self._trainer
        config, since = trainer.config, trainer.clock.now() - self._saved_at
        # With very short epochs, saving each of them would take longer than training.
        due = trainer.epoch_over and since * SAVING >= self._saving_seconds
        due |= config.save_minutes is not None and since >= 60 * config.save_minutes
        due |= trainer.clock.limited and not self._saving_seconds and bool(trainer.metrics)
        due |= config.save_steps is not None and trainer.progress.step % config.save_steps == 0
        if due:
            self.save()

    def save(self) -> None:
        """Write a checkpoint, unless nothing has changed since the last one; see `save_state`."""
        if self._standing() == self._saved or not self._trainer.whole:
            return
        world = self._trainer.world
        with self._trainer.clock.timing("save"):
            world.meet()  # rank 0 may have had more to do
            self._write()
            world.meet()
        self._saving_seconds = self._trainer.clock.costs["save"]

    def _write(self) -> None:
        state = self._trainer.state_dict()
        # An older checkpoint is worth more than numbers that have overflowed.
        parts = ("weights", "average", "optimiser", "carried")
        if not all(bool(each.isfinite().all()) for part in parts for each in state[part].values()):
            return
        if self._trainer.world.first:
            save_state(self._run, state)
        self._saved, self._saved_at = self._standing(), self._trainer.clock.now()

    def _standing(self) -> tuple[int, ...]:
        progress = self._trainer.progress
        return progress.step, progress.measured_step, progress.final_scored
