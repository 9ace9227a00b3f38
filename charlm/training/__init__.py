"""Training: one loop for all tasks, which yields events."""

from charlm.training.events import Event, Finished, Measured, Sampled, Started, Stepped
from charlm.training.loop import train

__all__ = ["Event", "Finished", "Measured", "Sampled", "Started", "Stepped", "train"]
