# Each target sets up what it needs first; the second time that costs a second. 'make' alone lists them.
#
#   PYTHON   a Python 3.10, 3.11 or 3.12; without it the first of the usual names that works
#   VENV     where the environment goes (.venv), or an existing one, which is checked and left as it is
#   WHEELS   a folder or page with prebuilt mmcv wheels, instead of compiling mmcv
#   Compiling heeds CXX, CFLAGS, MAX_JOBS (all cores) and, for operators on the GPU, TORCH_CUDA_ARCH_LIST and
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
# An environment may serve several clones, or know none: the code that runs is always this one's.
PATH_TO_SUITE = PYTHONPATH="$(CURDIR)$${PYTHONPATH:+:$$PYTHONPATH}"
# One worker a core; a worker that has run out of tests takes over some of another's. -n 0 in ARGS: none.
PARALLEL = -n auto --dist worksteal

define HELP
make reproduce [PAPER=mgd] [PROFILE=mini] [SEEDS=3] [ARGS='...']
                   reproduce a paper and print its tables: on two cores and embedded data an hour
                   or so for one seed, minutes with PROFILE=smoke
make test [MARKERS='not gpu'] [ARGS='...']
                   all tests, in parallel
make test-fast     the tests that need no PyTorch: minutes, set-up included
make campaign [MINUTES=5] [SEED=0] [ARGS='...']
                   kills, full disks, damaged state, hostile files and command lines; a table of what
                   was tried and found, and a smallest case for each finding
make doctor        what is installed and present, and how to close gaps: seconds
make lint          style and types: a minute
make slurm         Slurm's programs from the system's packages, for the tests that start a cluster
make browser       Chromium from the system's packages, for the tests that look at the site
make check-setup   what set-up needs, nothing downloaded: seconds
make lock          write requirements.lock anew: a minute

Set-up runs before whatever needs it: ten to twenty minutes and 12 GB once, since PyTorch is downloaded
and mmcv compiled; for test-fast a minute. The head of the Makefile explains PYTHON, VENV and WHEELS.
endef

.PHONY: help reproduce test test-fast campaign doctor lint lock slurm browser setup check-setup

help:
	$(info $(HELP))@:

reproduce: setup
	@$(PATH_TO_SUITE) $(IN_VENV) -m suite reproduce --paper $(PAPER) \
	    $(if $(PROFILE),--profile $(PROFILE)) $(if $(SEEDS),--seeds $(SEEDS)) $(ARGS)

test: setup
	@$(PATH_TO_SUITE) $(IN_VENV) -m pytest $(PARALLEL) -m "$(MARKERS)" $(ARGS)

# In the environment of the other targets where there is one, else in a small one of its own.
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
