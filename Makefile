# The commands of a developer; continuous integration runs the same ones.
.PHONY: help test slow check format

help:  ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

test:  ## the tests that take less than a few seconds each
	pytest -n auto

slow:  ## the long tests
	pytest -n auto -m slow

check:  ## style, types and the direction of imports
	ruff format --check
	ruff check
	mypy
	lint-imports

format:  ## bring the code into shape
	ruff format
	ruff check --fix
