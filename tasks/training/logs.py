"""Keeps mmengine's less useful messages out of the log of a run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.logging import MMLogger


@contextmanager
def warnings_alone() -> Iterator[None]:
    """Limits mmengine's current logger to warnings and errors.

    It reports for each parameter how it was initialised and which options the optimiser has for it: hundreds
    of lines before the first one about the training.
    """
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
