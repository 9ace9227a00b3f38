"""The training loop; it yields what happens and leaves the showing to the caller.

Truncated back-propagation through time: the state is carried from batch to batch where the
batches are consecutive, the gradient never is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from charlm.corpus import Corpus
from charlm.evaluation.perplexity import LossSum
from charlm.recurrent.core import StackState
from charlm.runs import Run
from charlm.training.events import Event, Finished, Started, Stepped
from charlm.training.trainer import Trainer


def train(
    run: Run,
    corpus: Corpus,
    *,
    device: torch.device,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Train the run's model on the corpus and fill the run folder.

    Args:
        run: a new one; its configuration says everything.
        corpus: the text that the run was made for.
        device: where to train.
        should_stop: asked after every step; when it says yes, training saves and ends.

    Yields:
        What happens, in order; the last event is `Finished`.

    Raises:
        CorpusError: the train split is shorter than a batch.
        TrainingError: a loss or gradient is not finite. The weights before it are kept.
        RunError: the run folder cannot be written to.
    """
    trainer = Trainer(run, corpus, device)
    yield Started(
        parameters=trainer.model.num_parameters(),
        device=str(device),
        train_characters=len(trainer.train_ids),
        valid_characters=len(trainer.valid_ids),
    )
    progress, stopped = 0.0, False
    try:
        while progress < 1 and not stopped:
            loss = LossSum(0.0, 0)
            state: StackState | None = None
            for batch in trainer.epoch_batches():
                # The state is zero at the epoch's start, and at each batch drawn at random.
                if state is None or trainer.config.sampling == "random":
                    state = trainer.model.initial_state(batch.inputs.shape[1])
                nats, state = trainer.update(batch, state, progress)
                loss += LossSum(nats, batch.targets.numel())
                epoch = trainer.epoch(loss.count)
                progress = trainer.progress(epoch)
                yield Stepped(
                    epoch=trainer.whole_epochs + 1,
                    progress=progress,
                    perplexity=loss.perplexity,
                    seconds=trainer.seconds,
                    characters=trainer.characters,
                )
                stopped = should_stop()
                if stopped or progress >= 1:
                    break
                if trainer.overdue(progress):
                    yield from trainer.report(epoch, progress, loss)
            else:
                trainer.whole_epochs += 1
                epoch = trainer.whole_epochs
                progress = trainer.progress(epoch)
            if not stopped:
                yield from trainer.report(epoch, progress, loss)
    finally:
        # After an error too: the weights are those of the last good step.
        trainer.save(now=True)
    yield Finished(
        epochs=round(epoch, 3),
        seconds=trainer.seconds,
        characters=trainer.characters,
        train_perplexity=trainer.train_perplexity,
        valid_perplexity=trainer.best_valid if trainer.best else None,
        interrupted=stopped,
    )
