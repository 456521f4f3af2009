# `make demo` and `make test` set everything up by themselves; nothing but Python is needed, 3.11 to
# 3.13: `make test PYTHON=python3.13`.

ASKED_FOR := $(PYTHON)
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow torture torture-serve lint lock fuzz audit sbom clean web-runtime embed wheel

demo: .venv/installed
	rm -rf demo
	$(BIN)/catgan train --minutes 3 --out demo/run
	$(BIN)/catgan sample demo/run --seeds 0-63 --grid 8x8 --out demo/cats.png
	@echo
	@echo "A generator of cats, trained on cats that the generator in the package drew:"
	@echo "  its cats    demo/cats.png"
	@echo "  its report  demo/run/report.html"
	@echo "  with photos of your own: $(BIN)/catgan train PHOTOS --from bundled"

# A process for each core, each of one thread.
test: .venv/installed lint web-runtime
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" --numprocesses logical \
		--maxprocesses 8 --dist worksteal

test-slow: .venv/installed .venv/jax/installed .venv/tensorflow/installed .venv/triton/installed
	$(BIN)/python -m pytest -m slow

# 300 kills at random moments, each followed by a resume, then two nodes joined by a virtual cable
# (77: not without root and network namespaces): docs/research/reliability-tests.md
torture: .venv/installed
	PYTHONPATH=tests $(BIN)/python -m faults.torture
	$(BIN)/python tests/faults/two_nodes.py || [ $$? -eq 77 ]

# Load, overload, slow and hostile clients, 50 ends and 50 reloads under load: docs/guides/serve.md
torture-serve: .venv/installed
	PYTHONPATH=tests $(BIN)/python -m serve.torture

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32

LOCKED := --quiet --require-hashes --no-deps --only-binary :all: --requirement

# An environment of another version of Python than the one asked for is made anew; one that is there
# stays when none is asked for. (venv's file says `version = 3.11.7`.)
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2> /dev/null)
MADE_BY := $(shell sed -n 's/^version = \([0-9]*\.[0-9]*\).*/\1/p' .venv/pyvenv.cfg 2> /dev/null)
ifeq ($(ASKED_FOR)$(MADE_BY),$(MADE_BY))
VERSION := $(or $(MADE_BY),$(VERSION))
endif
ifneq ($(VERSION),$(MADE_BY))
.PHONY: .venv/installed
CLEAR := --clear
endif

# Everything by its sum. PyTorch's CPU build where pip is set up to find it, else the one on PyPI,
# and the libraries for GPUs only where that one asks for them.
.venv/installed: pyproject.toml $(wildcard requirements/*.txt)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || { echo \
		"$(PYTHON) is not Python 3.11 or newer: name one, as in make test PYTHON=python3.12" >&2; \
		exit 1; }
	$(PYTHON) -m venv $(CLEAR) .venv
	$(BIN)/python -m pip install $(LOCKED) requirements/torch-cpu.txt 2> /dev/null \
		|| echo "pip finds no CPU build of PyTorch: taking the build on PyPI"
	$(BIN)/python -m pip install $(LOCKED) requirements/locked.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	if $(BIN)/python tools/torch_wants_gpu.py; then \
		$(BIN)/python -m pip install $(LOCKED) requirements/gpu.txt; fi
	$(BIN)/python -m pip check
	touch $@

# pyproject.toml says what works, constraints.txt which versions, requirements/ which files of them.
lock: .venv/tools/installed
	$(PYTHON) tools/lock.py --uv .venv/tools/bin/uv

.venv/tools/installed: requirements/tools.txt
	$(PYTHON) -m venv .venv/tools
	.venv/tools/bin/python -m pip install $(LOCKED) requirements/tools.txt
	touch $@

# What only tests of exports need. These environments see the packages of .venv behind their own.
.venv/jax/installed .venv/tensorflow/installed .venv/triton/installed: .venv/%/installed: \
		requirements/%.txt .venv/installed
	$(BIN)/python -m venv --clear .venv/$*
	.venv/$*/bin/python -m pip install $(LOCKED) requirements/$*.txt
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > \
		`.venv/$*/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'`/behind.pth
	touch $@

# Ten minutes for each parser of foreign files: make fuzz SECONDS=60 PARSERS="zip tar"
SECONDS ?= 600
fuzz: .venv/installed
	$(BIN)/python -m pip install $(LOCKED) requirements/fuzz.txt
	$(BIN)/python tests/fuzz/with_atheris.py --seconds $(SECONDS) $(PARSERS)

# Known vulnerabilities of what is locked; needs the network, and says so where there is none.
audit: .venv/tools/installed
	$(PYTHON) tools/audit.py .venv/tools/bin/pip-audit

# What is in the environment: as CycloneDX, and the licenses as a table.
sbom: .venv/installed .venv/tools/installed
	mkdir -p dist
	.venv/tools/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
		--output-file dist/catgan.cdx.json $(BIN)/python
	.venv/tools/bin/pip-licenses --python $(BIN)/python --format markdown --order license \
		--ignore-packages catgan --output-file dist/licenses.md

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
	rm -rf .venv demo fuzz .mypy_cache .pytest_cache .ruff_cache .hypothesis
