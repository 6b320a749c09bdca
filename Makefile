# The two commands of the README. Each sets up what it needs first; the second time that costs a second.
#
#   make reproduce [PAPER=mgd] [PROFILE=mini] [SEEDS=3] [ARGS="..."]   reproduce a paper and print its tables
#   make test      [MARKERS="not gpu"] [ARGS="..."]                    run the tests
#   make doctor                                                        what is here, and how to mend gaps
#   make lint                                                          style and types
#   make check-setup                                                   what set-up needs, nothing downloaded
#   make lock                                                          write requirements.lock anew
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
PYTHON ?=
VENV ?= .venv
WHEELS ?=
export PYTHON VENV WHEELS

IN_VENV = $(VENV)/bin/python
# An environment may serve several clones, or know none: the code that runs is always this one's.
PATH_TO_SUITE = PYTHONPATH="$(CURDIR)$${PYTHONPATH:+:$$PYTHONPATH}"

.PHONY: reproduce test doctor lint lock setup check-setup

reproduce: setup
	@$(PATH_TO_SUITE) $(IN_VENV) -m suite reproduce --paper $(PAPER) \
	    $(if $(PROFILE),--profile $(PROFILE)) $(if $(SEEDS),--seeds $(SEEDS)) $(ARGS)

test: setup
	@$(PATH_TO_SUITE) $(IN_VENV) -m pytest -m "$(MARKERS)" $(ARGS)

doctor: setup
	@$(PATH_TO_SUITE) $(IN_VENV) -m suite doctor $(ARGS)

lint: setup
	$(IN_VENV) -m ruff check .
	$(IN_VENV) -m ruff format --check .
	$(IN_VENV) -m mypy

lock: setup
	$(IN_VENV) -m pip install --quiet --target .work/uv uv
	PATH="$(CURDIR)/.work/uv/bin:$$PATH" $(IN_VENV) .ci/lock.py

setup:
	@.ci/setup

check-setup:
	@.ci/setup check
