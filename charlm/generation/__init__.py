"""Generating text with a trained language model."""
