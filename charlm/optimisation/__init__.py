"""Optimisers and learning rate schedules by name. Importing them needs no torch."""
