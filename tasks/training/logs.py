"""What of mmengine's messages reaches the log of a run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.logging import MMLogger


@contextmanager
def warnings_alone() -> Iterator[None]:
    """Lets mmengine's current logger say what is a warning or worse, and nothing else.

    It tells of each parameter how it was initialised, and which options the optimiser has for it: hundreds of
    lines before the first that is about the training.
    """
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
