"""The training settings that all tasks share: optimisation, when to end, when to save."""

from __future__ import annotations

from dataclasses import dataclass

from charlm.config.seeds import LARGEST_SEED
from charlm.config.settings import COUNT, PROBABILITY, Section, check, setting
from charlm.optimisation.optimisers import OPTIMISERS
from charlm.optimisation.schedules import SCHEDULES


@dataclass(frozen=True, kw_only=True)
class TrainingSection(Section, section="training"):
    """Optimisation, and when a training ends and is saved."""

    batch_size: int = setting(
        16, "Sequences in a batch; there is one update per batch.", option="--batch-size", **COUNT
    )
    epochs: int | None = setting(
        40,
        "Stop after this many passes through the training data. If --minutes is given too, the "
        "first limit that is reached counts; if not, there is no limit on minutes.",
        option="--epochs",
        none_means="no limit",
        group="end",
        resumable=True,
        **COUNT,
    )
    minutes: float | None = setting(
        1.6,
        "The whole time, in minutes: reading the text, training, validation, samples, saving. If "
        "--epochs is not given, there is no limit on epochs.",
        option="--minutes",
        none_means="no limit",
        group="end",
        resumable=True,
        above=0,
    )
    optimiser: str = setting("adamw", "The optimiser.", choices=OPTIMISERS)
    lr: float = setting(
        0.006, "The highest learning rate of the schedule.", option="--lr", above=0, resumable=True
    )
    beta1: float = setting(
        0.9,
        "Decay of the running mean of gradients, for adam and adamw; 0: the gradient itself (Melis "
        "et al. 2018). The momentum of sgd-momentum.",
        **PROBABILITY,
    )
    beta2: float = setting(
        0.99,
        "Decay of the running mean of squared gradients, for rmsprop, adam and adamw.",
        **PROBABILITY,
    )
    weight_decay: float = setting(
        0.01, "Weight decay of adamw, per unit of learning rate. Biases have none.", at_least=0
    )
    schedule: str = setting(
        "cosine",
        "The learning rate over the training. cosine, linear: it falls to 0 at the end. trapezoid: "
        "it is constant, and falls linearly to 0 in the last fifth (warmup-stable-decay, Haegele "
        "et al. 2024). plateau: it falls when the validation metric does not improve.",
        choices=SCHEDULES,
    )
    plateau_patience: int = setting(
        1,
        "With schedule=plateau, the learning rate falls after this many validations in a row "
        "without an improvement.",
        **COUNT,
    )
    plateau_factor: float = setting(
        0.5, "With schedule=plateau, the factor by which the learning rate falls.", **PROBABILITY
    )
    warmup: float = setting(
        0.05,
        "Fraction of the training in which the learning rate rises from 1/100 of lr to lr.",
        **PROBABILITY,
    )
    clip_norm: float = setting(
        1.0,
        "Largest global norm of the gradients; larger ones are scaled down. none, 0 or inf: no "
        "clipping.",
        option="--clip-norm",
        metavar="F|none",
        none=0.0,
        resumable=True,
        at_least=0,
    )
    averaging: float | None = setting(
        0.0,
        "Decay per step of a running mean of the weights (Polyak and Juditsky 1992); 0: none. Each "
        "validation scores the mean beside the weights themselves, and the better ones count.",
        none_means="no running mean",
        group="averaging",
        **PROBABILITY,
    )
    swa: float | None = setting(
        None,
        "Average the weights over this last part of the training (stochastic weight averaging, "
        "Izmailov et al. 2018). Use it with schedule=constant.",
        none_means="no such mean",
        group="averaging",
        at_least=0,
        at_most=1,
    )
    nt_asgd: int | None = setting(
        None,
        "Average the weights from the first validation that is worse than one more than this many "
        "validations earlier (NT-ASGD, Merity et al. 2018: with optimiser=sgd "
        "and schedule=constant).",
        none_means="no such mean",
        group="averaging",
        **COUNT,
    )
    patience: int | None = setting(
        None,
        "Stop after this many validations in a row without an improvement.",
        option="--patience",
        none_means="never",
        resumable=True,
        **COUNT,
    )
    seed: int = setting(
        0,
        "Seed of all random numbers.",
        option="--seed",
        at_least=0,
        at_most=LARGEST_SEED,
        incidental=True,
    )
    device: str = setting(
        "auto",
        "The device to train on. auto: CUDA if there is a GPU, else the CPU.",
        option="--device",
        metavar="auto|cpu|cuda|mps",
        resumable=True,
    )
    deterministic: bool = setting(
        False,
        "Use slower CUDA algorithms that give the same results every time. On a CPU, results are "
        "always the same.",
        option="--deterministic",
        resumable=True,
    )
    precision: str = setting(
        "auto",
        "Precision of matrix products in training. auto: bfloat16 on a CPU that computes in it, "
        "else float32. Weights, loss, validation and samples are always in float32.",
        choices=("auto", "float32", "bfloat16"),
    )
    save_minutes: float | None = setting(
        0.5,
        "Save a checkpoint at least this often, in minutes. A checkpoint is also saved at the end, "
        "and after each epoch if that takes at most 5% of the time.",
        none_means="only after epochs and at the end",
        resumable=True,
        incidental=True,
        above=0,
    )
    save_steps: int | None = setting(
        None,
        "Also save a checkpoint after every this many updates.",
        none_means="never",
        resumable=True,
        incidental=True,
        **COUNT,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check(
            self.epochs is not None or self.minutes is not None,
            "training ends after epochs or after minutes: give one of them",
        )
        means = [key for key in ("averaging", "swa", "nt_asgd") if getattr(self, key)]
        check(
            len(means) < 2,
            f"training.{' and training.'.join(means)} are different means of the weights",
            "give one of them",
        )

    def idle(self) -> dict[str, str]:
        """The settings that have no effect in this training, with the reason for each."""
        idle = {}
        if not OPTIMISERS[self.optimiser].beta1:
            idle["beta1"] = f"the optimiser {self.optimiser} does not use it"
        if self.schedule != "plateau":
            reason = "it is for schedule=plateau"
            idle |= dict.fromkeys(("plateau_patience", "plateau_factor"), reason)
        return idle
