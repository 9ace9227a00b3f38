"""Models built on the recurrent layers."""
