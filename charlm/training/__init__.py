"""Training: one loop for all tasks, which yields events."""

from charlm.training.events import Event, Finished, Measured, Noticed, Sampled, Started, Stepped
from charlm.training.loop import train

__all__ = ["Event", "Finished", "Measured", "Noticed", "Sampled", "Started", "Stepped", "train"]
