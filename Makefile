# SPDX-License-Identifier: GPL-2.0-or-later
# The commands of this repository; `make` alone lists them.

PYTHON = .venv/bin/python
#: Events of the largest trace that `make bench` reads: 1e8 needs 8 GB of disk.
BENCH_EVENTS = 1e7
#: Percent of the code that `make coverage` requires.
COVERAGE = 86
#: Which kernels `make configs` runs, "--kernel NAME …": all take hours to build;
#: "--keep --kernel NAME …" adds some to what out/configs/ has.
CONFIGS =

#: Which kernels `make mutants` runs, "--kernel NAME …": all but that of arm64.
MUTANTS =

#: What `make arm64` runs.
ARM64 = 6.12-arm64 6.12-arm64-16k 7.x-arm64 --workload \
	lifecycle shmem-thp fork-thp anon-parts mthp file-thp migrate where waste holders fuzz

.DEFAULT_GOAL := help
.PHONY: help setup demo test truth versions coverage man matrix configs arm64 mutants bench check clean

help: ## list these targets
	@sed -n 's/^\([a-z0-9]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: ## install what the other targets need (Debian packages as root, a virtual environment)
	@sh vm/setup.sh

demo: setup ## record a huge page's life on the lab kernel and draw it: out/demo/
	@sh vm/demo.sh $(PYTHON)

test: setup ## the tests of every change, guests included: twenty minutes
	MAPCOUNT_REQUIRE_KERNEL=1 $(PYTHON) -m pytest tests

truth: setup ## every test, on all kernels, and the planted bugs: some hours
	@sh vm/setup.sh arm64 browser
	MAPCOUNT_REQUIRE_KERNEL=1 $(PYTHON) -m pytest -m "truth or not truth" tests
	$(MAKE) versions
	$(MAKE) mutants
	$(MAKE) mutants MUTANTS="--kernel 6.12-arm64-mutants"

versions: setup ## the offline tests on each Python, with the oldest and newest libraries
	$(PYTHON) -m tests.versions

coverage: setup ## code coverage of the tests without guests; fails below the floor
	$(PYTHON) -m pytest tests/unit tests/integration -q --cov --cov-report=term \
		--cov-fail-under=$(COVERAGE)

man: setup ## the man page and bash completion: build/mapcount.1, build/mapcount.bash
	$(PYTHON) -m docs.commands build

matrix: setup ## every workload on every kernel: out/matrix/, and docs/support-matrix.md
	@status=0; $(PYTHON) mapcount.py lab matrix -o out/matrix -f || status=$$?; \
	[ $$status -gt 1 ] || \
	$(PYTHON) -m vm.matrix_text out/matrix/matrix.json docs/support-matrix.md matrix || status=1; \
	exit $$status

configs: setup ## kernels with other configurations: out/configs/, and their part of that page
	@status=0; $(PYTHON) mapcount.py lab matrix --configs $(CONFIGS) -f -o out/configs || status=$$?; \
	[ $$status -gt 1 ] || \
	$(PYTHON) -m vm.configs_text out/configs/matrix.json docs/support-matrix.md || status=1; \
	exit $$status

arm64: setup ## Debian's kernels of arm64, emulated: out/arm64/, and their part of that page
	@sh vm/setup.sh arm64
	@status=0; $(PYTHON) mapcount.py lab matrix --kernel $(ARM64) -f -o out/arm64 || status=$$?; \
	[ $$status -gt 1 ] || \
	$(PYTHON) -m vm.matrix_text out/arm64/matrix.json docs/support-matrix.md arm64 || status=1; \
	exit $$status

mutants: setup ## kernels with planted bugs: out/mutants/, and docs/planted-bugs.md
	@status=0; $(PYTHON) mapcount.py lab mutants $(MUTANTS) -f -o out/mutants || status=$$?; \
	[ $$status -gt 1 ] || \
	$(PYTHON) -m vm.mutants_text out/mutants/mutants.json docs/planted-bugs.md || status=1; \
	exit $$status

bench: setup ## costs of tracing and reading, with peers: out/bench/, docs/performance.md
	$(PYTHON) -m tests.bench.guest start
	$(PYTHON) -m tests.bench.guest cost
	$(PYTHON) -m tests.bench.guest loss
	$(PYTHON) -m tests.bench.guest cpus
	$(PYTHON) -m tests.bench.peers
	$(PYTHON) -m tests.bench.offline steps
	$(PYTHON) -m tests.bench.offline scale --most $(BENCH_EVENTS)
	$(PYTHON) -m tests.bench.table out/bench docs/performance.md

check: setup ## style and types
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	@if command -v shellcheck >/dev/null; then shellcheck vm/*.sh tests/kernel/*.sh .ci/run; \
	else echo "note: shell scripts not checked: shellcheck is missing"; fi

clean: ## remove what make demo left in this folder (the cache stays)
	rm -rf out .venv
