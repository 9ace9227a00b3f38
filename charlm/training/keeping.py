"""What a training keeps in a checkpoint, and how it goes on from one, bit for bit.

Tensors go into training.safetensors: the optimiser's moments, the carried hidden state, torch's
generator (dropout) and that of the batches as it was when the epoch began, from which its offset
and order are drawn again. Numbers go into training.json.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from charlm.device import computes_in_bfloat16
from charlm.errors import RunError, shown
from charlm.optimisation.optimisers import OPTIMISERS
from charlm.recurrent.states import StackState
from charlm.runs.fields import check_keys
from charlm.training.position import Position

if TYPE_CHECKING:
    from charlm.training.trainer import Trainer

_NUMBERS = (
    "position", "parameters", "device", "device_generator", "bfloat16", "torch", "threads",
)  # fmt: skip


def dropout_generators(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's own generators that a training draws from, (bytes,) uint8 each."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_dropout_generators(states: dict[str, Tensor], device: torch.device) -> None:
    """Put torch's own generators back into those states."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    if "mps" in states:
        torch.mps.set_rng_state(states["mps"])


def keep(trainer: Trainer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the numbers of a training that stands between two steps."""
    generators = dropout_generators(trainer.device)
    tensors = {"generator.cpu": generators.pop("cpu"), "generator.epoch": trainer.epoch_generator}
    tensors |= _average(trainer)
    names = _parameter_names(trainer)
    for index, entries in trainer.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{names[index]}.{key}": value for key, value in entries.items()}
    if trainer.state is not None and trainer.task.carried_state(trainer.model) is not None:
        tensors |= _named(trainer.state)
    numbers = {
        "position": dict(vars(trainer.position)),
        "parameters": trainer.model.num_parameters(),
        "device": trainer.device.type,
        # As text: how long it is depends on the device.
        "device_generator": {
            name: bytes(state.numpy()).hex() for name, state in generators.items()
        },
        "bfloat16": trainer.bfloat16,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    return {name: value.detach().to("cpu", copy=True) for name, value in tensors.items()}, numbers


def restore(trainer: Trainer) -> None:
    """Bring a new trainer to where its run's checkpoint stands.

    Raises:
        RunError: the checkpoint is damaged, or of another model.
    """
    run = trainer.run
    assert run.checkpoint is not None
    numbers, path = run.training, run.checkpoint.folder / "training.json"
    try:
        _check_numbers(trainer, numbers)
        position = Position.from_json(numbers["position"])
        device, bfloat16 = numbers["device"], numbers["bfloat16"]
        generators = {
            name: torch.tensor(list(bytes.fromhex(text)), dtype=torch.uint8)
            for name, text in numbers["device_generator"].items()
        }
    except (TypeError, ValueError) as error:
        raise RunError(f"{path} is damaged: {error}") from None
    differing = _differing(trainer, numbers)
    tensors = run.read_tensors("training.safetensors", _expected(trainer, position))
    try:
        _check_tensors(tensors, position)
    except ValueError as error:
        raise RunError(f"{path.with_name('training.safetensors')} is damaged: {error}") from None
    last = run.read_weights("last")
    if position.best_valid is not None:
        trainer.best = run.read_weights("best")
    trainer.position = position
    with torch.no_grad():
        for name, parameter in trainer.model.named_parameters():
            parameter.copy_(last[name])
    _set_optimiser(trainer, tensors)
    for name, mean in _average(trainer).items():
        mean.copy_(tensors[name])
    generators["cpu"] = tensors["generator.cpu"]
    try:
        trainer.generator.set_state(tensors["generator.epoch"])
        trainer.begin_epoch()
        if device == trainer.device.type:
            trainer.bfloat16 = bfloat16 and computes_in_bfloat16(trainer.device)
            set_dropout_generators(generators, trainer.device)
    except (RuntimeError, TypeError, KeyError):
        raise RunError(f"{path} is damaged: the device's generator cannot be set") from None
    if position.batches > len(trainer.batches):
        raise RunError(f"{path} is damaged: an epoch has {len(trainer.batches):,} batches")
    if position.batches:
        trainer.state = _state(trainer, tensors)
    if differing:
        trainer.notices += (
            f"trained so far with {'; '.join(differing)}: it goes on, but not to the last bit as "
            "it would have there",
        )


def _check_numbers(trainer: Trainer, numbers: dict[str, Any]) -> None:
    """Make sure that training.json has what `keep` gives, beside what the run adds.

    Raises:
        ValueError: what is wrong.
    """
    check_keys(numbers, ("source", "settings", *_NUMBERS), "it")
    device, precision = numbers["device"], trainer.config.precision
    own = (device,) if device in ("cuda", "mps") else ()
    check_keys(numbers["device_generator"], own, "device_generator")
    fit = {
        "device": isinstance(device, str) and device.isalpha() and len(device) < 20,
        "parameters": numbers["parameters"] == trainer.model.num_parameters(),
        "bfloat16": isinstance(numbers["bfloat16"], bool)
        and precision in ("auto", "bfloat16" if numbers["bfloat16"] else "float32"),
        "torch": isinstance(numbers["torch"], str)
        and numbers["torch"].isprintable()
        and len(numbers["torch"]) < 100,
        "threads": type(numbers["threads"]) is int and numbers["threads"] > 0,
    }
    for name, ok in fit.items():
        if not ok:
            raise ValueError(f"its {name} cannot be {shown(numbers[name])}")


def _check_tensors(tensors: dict[str, Tensor], position: Position) -> None:
    """Make sure that the numbers of training.safetensors are such as a training comes to.

    Raises:
        ValueError: they are not.
    """
    steps = min(position.step, 2**24)  # where a float32 that counts stands still
    for name, tensor in tensors.items():
        if name.endswith(".step") and float(tensor) != steps:
            raise ValueError(f"{name} is {float(tensor)}, not {steps}")
        if name.endswith(("_sq", ".square_avg")) and (tensor < 0).any():
            raise ValueError(f"{name} has a negative number")
        if name.startswith("generator."):
            _check_generator(name, tensor)


def _check_generator(name: str, state: Tensor) -> None:
    """Make sure that torch can draw from the state of a generator on the CPU.

    Torch looks at the two counters of its Mersenne Twister one by one, and with two that do not
    belong together it would read what lies behind the generator in memory.

    Raises:
        ValueError: it cannot.
    """
    generator = torch.Generator().manual_seed(0)
    new = _counters(generator.get_state())
    try:
        generator.set_state(state)
    except (RuntimeError, TypeError):
        raise ValueError(f"{name} is not the state of a generator") from None
    left, seeded, following = _counters(state)
    fit = seeded == 1 and left + following == 625
    # Another torch may arrange it in another way; then a new one has not these counters.
    if new == (1, 1, 0) and not fit and (left, seeded, following) != new:
        raise ValueError(f"{name} is not the state of a generator")


def _counters(state: Tensor) -> tuple[int, int, int]:
    """How many of the 624 numbers are left, whether there are any, and which comes next."""
    left, seeded, following = struct.unpack_from("=iiQ", bytes(state.numpy()), 8)
    return left, seeded, following


def _differing(trainer: Trainer, numbers: dict[str, Any]) -> list[str]:
    here = {
        "torch": torch.__version__,
        "device": trainer.device.type,
        "threads": torch.get_num_threads(),
        "bfloat16": numbers["bfloat16"] and computes_in_bfloat16(trainer.device),
    }
    return [
        f"{name} {numbers[name]}, here {value}"
        for name, value in here.items()
        if numbers[name] != value
    ]


def _expected(trainer: Trainer, position: Position) -> dict[str, Tensor]:
    """What the tensors must be like in name, shape and type."""
    generator = trainer.generator.get_state()
    expected = {"generator.cpu": torch.get_rng_state(), "generator.epoch": generator}
    expected |= _average(trainer)
    moments = OPTIMISERS[trainer.config.optimiser].moments
    if position.step and moments:
        for name, parameter in trainer.model.named_parameters():
            if not parameter.requires_grad:
                continue
            expected[f"optimiser.{name}.step"] = torch.zeros(())
            expected |= {f"optimiser.{name}.{moment}": parameter for moment in moments}
    zeros = trainer.task.carried_state(trainer.model)
    if position.batches and zeros is not None:
        expected |= _named(zeros)
    return expected


def _average(trainer: Trainer) -> dict[str, Tensor]:
    """The running mean of the weights, where one is kept."""
    trained = (name for name, each in trainer.model.named_parameters() if each.requires_grad)
    return {f"average.{name}": mean for name, mean in zip(trained, trainer.average, strict=False)}


def _parameter_names(trainer: Trainer) -> list[str]:
    """The weights in the optimiser's order."""
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    groups = trainer.optimiser.param_groups
    return [names[id(parameter)] for group in groups for parameter in group["params"]]


def _set_optimiser(trainer: Trainer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for index, name in enumerate(_parameter_names(trainer)):
        start = f"optimiser.{name}."
        entries = {key[len(start) :]: t for key, t in tensors.items() if key.startswith(start)}
        if entries:
            state[index] = entries
    groups = trainer.optimiser.state_dict()["param_groups"]
    trainer.optimiser.load_state_dict({"state": state, "param_groups": groups})


def _named(state: StackState) -> dict[str, Tensor]:
    return {
        f"state.{depth}.{name}": tensor
        for depth, layer_state in enumerate(state)
        for name, tensor in layer_state._asdict().items()
    }


def _state(trainer: Trainer, tensors: dict[str, Tensor]) -> StackState | None:
    zeros = trainer.task.carried_state(trainer.model)
    if zeros is None:
        return None
    return tuple(
        type(layer_state)._make(
            tensors[f"state.{depth}.{name}"].to(trainer.device) for name in layer_state._fields
        )
        for depth, layer_state in enumerate(zeros)
    )
