# Each target first sets up what it needs; once that is done, the check takes a second. 'make' alone lists the targets.
#
#   PYTHON   a Python 3.10, 3.11 or 3.12; by default the first of the usual names that works
#   VENV     where to create the environment (.venv), or an existing one, which is checked and left unchanged
#   WHEELS   a folder or page with prebuilt mmcv wheels, to be used instead of compiling mmcv
#   Compilation respects CXX, CFLAGS, MAX_JOBS (all cores) and, for operators on the GPU, TORCH_CUDA_ARCH_LIST and
#   FORCE_CUDA=1 (on a login node without one).

PAPER ?= mgd
PROFILE ?=
SEEDS ?=
ARGS ?=
MARKERS ?= not gpu
MINUTES ?= 5
SEED ?= 0
PYTHON ?=
VENV ?= .venv
WHEELS ?=
export PYTHON VENV WHEELS

IN_VENV = $(VENV)/bin/python
# Several clones may share an environment, or it may have none installed: the code that runs is always this clone's.
PATH_TO_SUITE = PYTHONPATH="$(CURDIR)$${PYTHONPATH:+:$$PYTHONPATH}"
# One worker per core; a worker without tests left takes over some of another's. '-n 0' in ARGS runs without workers.
PARALLEL = -n auto --dist worksteal

define HELP
make reproduce [PAPER=mgd] [PROFILE=mini] [SEEDS=3] [ARGS='...']
                   reproduces a paper and prints its tables: one to three hours per seed on two
                   cores and embedded data, minutes with PROFILE=smoke
make test [MARKERS='not gpu'] [ARGS='...']
                   runs all tests in parallel
make test-fast     runs the tests that need no PyTorch: minutes, including set-up
make campaign [MINUTES=5] [SEED=0] [ARGS='...']
                   tests the suite with kills, full disks, damaged state, hostile files and command
                   lines; prints a table of what was tried and found, and keeps the smallest case of
                   each finding
make doctor        shows what is installed, what is missing and how to install it: seconds
make lint          checks style and types: a minute
make slurm         installs Slurm from system packages, for the tests that start a cluster
make browser       installs Chromium from system packages, for the tests that open the site
make check-setup   checks what set-up needs, without downloading anything: seconds
make lock          regenerates requirements.lock: a minute

Targets run set-up first if they need it: once, ten to twenty minutes and 12 GB, since it downloads PyTorch
and compiles mmcv; for test-fast a minute. The top of the Makefile explains PYTHON, VENV and WHEELS.
endef

.PHONY: help reproduce test test-fast campaign doctor lint lock slurm browser setup check-setup

help:
	$(info $(HELP))@:

reproduce: setup
	@$(PATH_TO_SUITE) $(IN_VENV) -m suite reproduce --paper $(PAPER) \
	    $(if $(PROFILE),--profile $(PROFILE)) $(if $(SEEDS),--seeds $(SEEDS)) $(ARGS)

test: setup
	@$(PATH_TO_SUITE) $(IN_VENV) -m pytest $(PARALLEL) -m "$(MARKERS)" $(ARGS)

# Uses the environment of the other targets if there is one, otherwise a small one of its own.
test-fast:
	@python=$$(.ci/setup fast) && \
	    $(PATH_TO_SUITE) $$python -m pytest $(PARALLEL) -m "not train and not slow" $(ARGS)

campaign: setup
	@$(PATH_TO_SUITE) $(IN_VENV) -m tests.campaign --minutes $(MINUTES) --seed $(SEED) $(ARGS)

doctor: setup
	@$(PATH_TO_SUITE) $(IN_VENV) -m suite doctor $(ARGS)

lint: setup
	$(IN_VENV) -m ruff check .
	$(IN_VENV) -m ruff format --check .
	$(IN_VENV) -m mypy

lock: setup
	$(IN_VENV) -m pip install --quiet --target .work/uv uv
	PATH="$(CURDIR)/.work/uv/bin:$$PATH" $(IN_VENV) .ci/lock.py

slurm:
	@.ci/install-slurm

browser:
	@.ci/install-chromium

setup:
	@.ci/setup

check-setup:
	@.ci/setup check
