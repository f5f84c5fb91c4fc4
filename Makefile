# Two commands are all the set-up there is: `make demo` and `make test`. Each makes `.venv` when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check format coverage kills day soak saved checkout fuzz torture large power fencing filesystems room bench \
    bench-size test-real test-real-all transcripts clean service races agents-start agents-stop agents-restart agents-status

demo: $(VENV)/installed
	$(BIN)/parallel-loop demo

test: $(VENV)/installed
	$(BIN)/python -m pytest $(TESTS)

# Real coding agents against a fake model server (tests/support/models), in a network of nothing but the loopback where
# such a one can be had. They are installed below .venv/clients, or looked for in CLIENTS=DIR.
ALONE = $(shell unshare -rn true 2>/dev/null && echo unshare -rn --pid --fork --kill-child --mount-proc)
LONELY = PYTHONPATH=tests CLIENTS='$(CLIENTS)' $(ALONE) sh -c '$(if $(ALONE),ip link set lo up && )exec "$$@"' sh

test-real: $(VENV)/installed
	@if [ -z '$(CLIENTS)' ] && ! command -v npm >/dev/null; then \
	    echo 'make test-real: SKIPPED, nothing was tested: the agents are installed by npm, and there is no npm here'; \
	else $(if $(CLIENTS),,$(MAKE) --no-print-directory $(VENV)/clients/installed &&) \
	    $(LONELY) $(BIN)/python -m pytest -m real_client $(or $(TESTS),tests/test_real_clients.py tests/test_real_agents.py); fi

# All that we have presets for and that let themselves be tried: minutes. Who is not there is left out, and named.
# WHO="gemini mini": some of them.
test-real-all: $(VENV)/installed $(if $(CLIENTS),,$(VENV)/clients/all)
	@known="$(BIN)/python -P tests/support/models/clients.py"; export PYTHONPATH=tests CLIENTS='$(CLIENTS)'; \
	names=$$($$known installed $(WHO)) || exit 1; \
	WHO="$$names" $(LONELY) $(BIN)/python -m pytest -m real_client -o faulthandler_timeout=290 --durations 0 --durations-min 20 \
	    $(or $(TESTS),tests/test_real_agents.py tests/test_real_ends.py); ended=$$?; \
	$$known installed $(WHO) >/dev/null; exit $$ended

# What cannot be installed is left out, and tried again the next time.
$(VENV)/clients/all: tests/support/models/clients.py
	@known="$(BIN)/python -P tests/support/models/clients.py"; export PYTHONPATH=tests; failed=; \
	npm install --prefix $(VENV)/clients --no-audit --no-fund --force $$($$known npm) || failed=npm; \
	for name in $$($$known names PyPI); do \
	    $(PYTHON) -m venv $(VENV)/clients/$$name && \
	    $(VENV)/clients/$$name/bin/python -m pip install --quiet --disable-pip-version-check $$($$known PyPI $$name) || \
	        { failed="$$failed $$name"; rm -rf $(VENV)/clients/$$name; }; \
	done; \
	if [ -z "$$failed" ]; then touch $@; else echo "make test-real-all: NOT INSTALLED: $$failed" >&2; fi

$(VENV)/clients/installed: tests/support/models/clients.py
	npm install --prefix $(VENV)/clients --no-audit --no-fund --force \
	    $$(PYTHONPATH=tests $(BIN)/python -P tests/support/models/clients.py npm claude codex)
	@touch $@

# What they print in every case that an adapter must know: tests/transcripts, anew. WHO=codex, CASE=usage: some of it.
# Agents that are not installed are left out; `clients.py npm` and `clients.py PyPI` name the packages of all of them.
transcripts: $(VENV)/installed $(if $(CLIENTS),,$(VENV)/clients/installed)
	$(LONELY) $(BIN)/python -P tests/support/models/record.py $(WHO) $(if $(CASE),--case $(CASE))

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@mkdir -p $(VENV)/types && ln -sfn ../.. $(VENV)/types/parallel_loop
	MYPYPATH=$(VENV)/types $(BIN)/mypy -p parallel_loop.queue -p parallel_loop.worktrees \
	    -p parallel_loop.harness -p parallel_loop.coordinator -m parallel_loop.loop

format: $(VENV)/installed
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

coverage: $(VENV)/installed
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -n 0
	$(BIN)/coverage combine -q && $(BIN)/coverage report

# Random schedules of kills, by seed: each kills four times and then runs to the end.
kills: $(VENV)/installed
	PYTHONPATH=tests $(BIN)/python tests/support/crash.py $(or $(FROM),0) $(or $(TO),20)

# Days of 24 hours in seconds: the real coordinator with made-up processes on a made-up clock, by seed.
day: $(VENV)/installed
	PYTHONPATH=tests $(BIN)/python -P tests/support/virtual/day.py $(or $(FROM),0) $(or $(TO),20)

# A real run under random kills, by seed: make soak MINUTES=60, make soak KILLS=200 SEED=7. FAST=1: nothing but workers,
# as fast as they are replaced (make soak KILLS=5000 FAST=1: memory and descriptors of the coordinator must not grow).
soak: $(VENV)/installed
	PYTHONPATH=tests $(BIN)/python -P tests/support/soak.py --minutes $(or $(MINUTES),5) $(if $(SEED),--seed $(SEED)) \
	    $(if $(KILLS),--kills $(KILLS)) $(if $(FAST),--fast --agents 8) $(if $(STRICT),--strict)

# Random kills while programs write files, stage, commit on no branch and leave merges half done: what they had closed is
# found again in branches and salvage, after a gc. make saved KILLS=500 SEED=7
saved: $(VENV)/installed
	PYTHONPATH=tests $(BIN)/python -P tests/support/soak.py --scribble --kills $(or $(KILLS),500) --pause 0.6 \
	    --orphans 20 $(if $(SEED),--seed $(SEED))

# Kills while the target follows in a checkout that has edits of each kind: each must be as it was, byte for byte.
# make checkout KILLS=200 SEED=1
checkout: $(VENV)/installed
	PYTHONPATH=tests $(BIN)/python -P tests/support/checkout_kills.py --kills $(or $(KILLS),200) $(if $(SEED),--seed $(SEED))

# Workers and landers that are stopped, replaced, and go on: twenty and five trials for each seed.
fencing: $(VENV)/installed
	PYTHONPATH=tests $(BIN)/python tests/support/fencing.py $(or $(FROM),0) $(or $(TO),10)

# Git's own races: agents beside somebody's gc, gc --prune=now and pack-refs, and a second clone that pushes to the target.
races: $(VENV)/installed
	PYTHONPATH=tests $(BIN)/python -P tests/support/races.py $(or $(WORKERS),8) $(or $(ITEMS),128)

# The readers of the queue's files, given what is nearly one: 20,000 of each kind.
fuzz: $(VENV)/installed
	FUZZ=$(or $(FUZZ),20000) $(BIN)/python -m pytest --timeout 0 tests/test_queue_fuzz.py

# Other file systems, mounted for real in a mount namespace of its own; needs root. FILESYSTEMS="xfs btrfs": some of them.
filesystems: $(VENV)/installed
	PYTHONPATH=tests $(BIN)/python -P tests/support/file_systems.py $(FILESYSTEMS)

# Small disks that are full, without inodes or read-only for a while, and processes without descriptors or processes,
# while agents work and are killed; needs root. ROOM="ext4 processes": some of it.
room: $(VENV)/installed
	PYTHONPATH=tests $(BIN)/python -P tests/support/small_disks.py $(ROOM)

# What needs minutes: 100,000 items, long drains, and the protocol explored with more mishaps at once.
large: $(VENV)/installed
	$(BIN)/python -m pytest -n 0 -m large $(TESTS)

# Every operation of the queue killed at every step, every recovery of that as well; then random schedules, by number.
# Some of them again: make torture FROM=7 TO=8; what fails tells its history.
# FAULT="shared marker": with a fault of tests/support/faults.py planted.
torture: export PYTHONPATH := tests
torture: export PYTHONHASHSEED := 0
torture: $(VENV)/installed
	$(if $(FROM)$(TO)$(FAULT),,$(BIN)/python -P tests/support/kill_points.py all)
	$(BIN)/python -P tests/support/torture.py $(or $(FROM),0) $(or $(TO),10000) "$(FAULT)"

# Power cuts: of simulated disks by seed, and of real file systems where they can be made and mounted (as root, on Linux).
power: $(VENV)/installed
	PYTHONPATH=tests $(BIN)/python tests/support/power_explore.py $(or $(FROM),0) $(or $(TO),20)
	PYTHONPATH=tests $(BIN)/python tests/support/power_device.py $(or $(CUTS),5)

# Half an hour on a quiet machine; it writes docs/performance.md with its plot, and docs/supervision.md.
bench: $(VENV)/bench
	PYTHONPATH=tests $(BIN)/python benchmarks/train.py
	PYTHONPATH=tests $(BIN)/python benchmarks/forecast.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/claim_rate.py --page
	$(BIN)/python benchmarks/waking.py 50 20
	$(BIN)/python benchmarks/supervision.py --page

# A million finished items, a hundred thousand waiting: 4 GB of disk, ten minutes.
bench-size: $(VENV)/installed
	$(BIN)/python benchmarks/size.py

$(VENV)/bench: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

# The unit of `parallel-loop service`, in a real systemd that has nothing but namespaces of its own (root, Linux).
service: $(VENV)/installed
	PYTHONPATH=tests $(BIN)/python -P tests/support/user_systemd.py

# The coordinator of the repository REPO, in the background: by its service where one is installed.
REPO ?= .
AGENTS = $(BIN)/parallel-loop --repo '$(REPO)'

agents-start agents-stop agents-restart: agents-%: $(VENV)/installed
	@if $(AGENTS) service status >/dev/null 2>&1; then $(AGENTS) service $*; else $(AGENTS) $*; fi

agents-status: $(VENV)/installed
	@$(AGENTS) service status 2>/dev/null || true
	@$(AGENTS) status

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("parallel-loop needs Python 3.11 or newer; $(PYTHON) is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,check]'
	@touch $@
