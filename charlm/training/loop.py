"""The training loop of all tasks; it yields what happens and leaves the showing to the caller.

Truncated back-propagation through time: a language model's state is carried from batch to batch
where the batches are consecutive, the gradient never is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from charlm.errors import RunError, Stopped
from charlm.runs import ClassifierRun, Run, TaggerRun, TaskRun
from charlm.training.classification import Classification
from charlm.training.determinism import deterministic
from charlm.training.events import Event, Finished, Started
from charlm.training.language import LanguageModelling
from charlm.training.tagging import Tagging
from charlm.training.task import Task
from charlm.training.trainer import Trainer

TASKS: dict[type[TaskRun], Callable[[Any, Any, torch.device], Task]] = {
    Run: LanguageModelling,
    ClassifierRun: Classification,
    TaggerRun: Tagging,
}
"""What the runs of each kind are trained on."""


def train(
    run: TaskRun,
    corpus: Any,
    *,
    device: torch.device,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Train the run's model on the corpus and fill the run folder.

    Args:
        run: a new one, or one to go on with; its configuration says everything.
        corpus: the data that the run was made for.
        device: where to train.
        should_stop: asked after every step, and while scoring and sampling; when it says yes,
            training saves and ends.

    Yields:
        What happens, in order; the last event is `Finished`.

    Raises:
        CorpusError: the corpus is not the run's, or its train split is too small.
        TrainingError: a loss, gradient or state is not finite. The weights before it are kept.
        RunError: the run folder cannot be written to, is damaged, or another process has it.
    """
    run.check_corpus(corpus)
    with run.locked(), deterministic(run.config.training.deterministic):
        task = TASKS[type(run)](run, corpus, device)
        trainer = Trainer(run, task, device)
        yield Started(
            parameters=trainer.model.num_parameters(),
            device=str(device),
            train_size=task.train_size,
            valid_size=task.valid_size,
            epoch=trainer.epoch,
            notices=trainer.notices,
        )
        stopped = should_stop()
        try:
            while not stopped:
                # First: a training that was stopped here goes on with the report.
                if trainer.report_due:
                    yield from trainer.report(should_stop)
                    trainer.save_when_due()
                if trainer.over:
                    break
                yield trainer.update()
                if not trainer.report_due:
                    trainer.save_when_due()
                stopped = should_stop()
        except Stopped:
            stopped = True
        except RunError:
            raise
        except (Exception, GeneratorExit, KeyboardInterrupt):
            if trainer.whole:
                trainer.save()
            raise
        trainer.save()
        position = trainer.position
        yield Finished(
            epochs=round(trainer.epoch, 3),
            seconds=trainer.seconds,
            items=position.items,
            train=position.train_figure,
            valid=position.best_valid,
            interrupted=stopped,
            out_of_patience=trainer.out_of_patience,
        )
