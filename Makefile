# Two commands, on a bare Debian machine with git, make and Python 3.11 (python3-venv):
#   make demo    learn chess from games, measure it, write a report
#   make check   format, lint, types, tests: exactly what CI runs
#   make soak    the tests that take a small sample of something, with all of it
#   make fuzz    fuzzes what reads files and lines, ten minutes each; make fuzz SECONDS=60 for less
#   make interp  whether TransformerLens and nnsight load our checkpoints, in an environment of its own
# Both set up .venv first, once, and again when the pins change.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo check soak fuzz interp format tools

demo: $(READY)
	$(BIN)/chesslm demo

check: $(READY) tools
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

soak: $(READY) tools
	CHESSLM_SOAK=1 $(BIN)/pytest -n auto --dist worksteal tests/test_uci.py tests/test_cli.py tests/test_fuzz.py tests/test_pgn.py tests/test_playout.py tests/test_reliability.py tests/test_cluster.py tests/test_nodes.py tests/test_compiled.py

# Atheris has wheels for few versions of Python and is needed for nothing else, so it is no part of the check.
SECONDS ?= 600
fuzz: $(READY)
	$(PYTHON) -m venv .venv-fuzz
	.venv-fuzz/bin/pip install -q atheris==3.0.0
	for target in pgn uci play; do \
	PYTHONPATH=.:$$(echo .venv/lib/python3.*/site-packages) .venv-fuzz/bin/python tests/fuzz_$$target.py \
		-max_total_time=$(SECONDS) || exit 1; done

# They bring some fifty packages, so they are no part of the check.
interp:
	$(PYTHON) -m venv .venv-interp
	.venv-interp/bin/pip install -q torch==2.13.0
	.venv-interp/bin/pip install -q -e '.[interp]' pytest
	.venv-interp/bin/pytest --noconftest tests/test_interp.py

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# torch goes first and by its bare version, which takes the CPU build where one is offered. The build backend is
# installed with the pins too, since pip would not apply them to an isolated build.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed; name one with make PYTHON=..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt torch==2.13.0
	$(BIN)/pip install -q -c constraints.txt hatchling editables
	$(BIN)/pip install -q -c constraints.txt --no-build-isolation -e '.[dev]'
	touch $(READY)

# The tests play against a real engine, type into a real terminal and click in a real browser. They come from Debian's
# packages, each of the command's name; what is there is left alone.
tools:
	@for tool in stockfish tmux chromium; do \
	if command -v $$tool >/dev/null || [ -x /usr/games/$$tool ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && apt-get install -qq -y --no-install-recommends $$tool; \
	else echo "make check needs $$tool: install Debian's package (apt-get install $$tool)" >&2; exit 2; fi; done
