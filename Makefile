# The commands of a developer; continuous integration runs the same ones.
.PHONY: help test slow portable check format docs

help:  ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

test:  ## run the quick tests
	pytest -n auto

slow:  ## run the long tests
	pytest -n auto -m slow

portable:  ## run the quick tests as on two older kinds of processor
	ATEN_CPU_CAPABILITY=default pytest -n auto
	ATEN_CPU_CAPABILITY=avx2 pytest -n auto

check:  ## check style, types and the direction of imports
	ruff format --check
	ruff check
	mypy
	lint-imports

format:  ## format the code
	ruff format
	ruff check --fix

docs:  ## write the pages that are made from the code
	python -m charlm.cli.settings_page > docs/settings.md
	python -m charlm.cli.api_page > docs/api.md
