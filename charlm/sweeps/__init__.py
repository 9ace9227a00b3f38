"""Searches for settings: many trainings, each a run folder, with optuna."""
