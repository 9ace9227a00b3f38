"""Pictures of measurements, drawn from numbers and names alone."""
