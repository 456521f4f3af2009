# `make demo` and `make test` set everything up by themselves; nothing but Python 3.11 is needed.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow torture lint clean web-runtime embed wheel

demo: .venv/installed
	rm -rf demo
	$(BIN)/catgan train --recipe quick-64 --minutes 3 --out demo/run
	$(BIN)/catgan sample demo/run --seeds 0-63 --grid 8x8 --out demo/cats.png
	@echo
	@echo "A generator of cats, trained on cats that the generator in the package drew:"
	@echo "  its cats    demo/cats.png"
	@echo "  its report  demo/run/report.html"
	@echo "  with photos of your own: $(BIN)/catgan train PHOTOS"

test: .venv/installed lint web-runtime
	$(BIN)/python -m pytest -m "not slow"

test-slow: .venv/installed
	$(BIN)/python -m pytest -m slow

# 300 kills at random moments, each followed by a resume: docs/reliability.md
torture: .venv/installed
	PYTHONPATH=tests $(BIN)/python -m faults.torture

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# ONNX Runtime for browsers, out of npm; without npm, `catgan web` and its tests are left out.
web-runtime: src/catgan/web/runtime/ort.wasm.gz

src/catgan/web/runtime/ort.wasm.gz: tools/fetch_web_runtime.py
	$(PYTHON) tools/fetch_web_runtime.py || echo "left out: catgan web and its tests"

# The generator that the package carries: make embed RUN=runs/the-best-one
embed: .venv/installed
	$(BIN)/python tools/embed_generator.py $(RUN) $(OPTIONS)

wheel: .venv/installed web-runtime
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf .venv demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
