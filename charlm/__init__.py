"""Train, look inside and compare character-level recurrent language models."""
