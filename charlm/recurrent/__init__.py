"""Recurrent cells and layers; they know no task, no corpus and no configuration."""
