"""What of mmengine's messages reaches the log of a run."""

from __future__ import annotations

import logging

import pytest
from mmengine.logging import MMLogger, print_log

from tasks.training.logs import warnings_alone


class Kept(logging.Handler):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@pytest.fixture
def said():
    """What mmengine's current logger says."""
    logger = MMLogger.get_instance("test_logs")
    kept = Kept()
    logger.addHandler(kept)
    yield kept.said
    logger.removeHandler(kept)


def test_warnings_stay_and_what_else_is_said_goes(said):
    with warnings_alone():
        print_log("backbone.conv1.weight: KaimingInit", logger="current")
        print_log("init_weights has been called more than once", logger="current", level=logging.WARNING)
    print_log("Epoch(train) [1]", logger="current")
    assert said == ["init_weights has been called more than once", "Epoch(train) [1]"]


def test_the_level_is_what_it_was_after_an_error(said):
    with pytest.raises(ZeroDivisionError), warnings_alone():
        raise ZeroDivisionError
    print_log("Epoch(train) [1]", logger="current")
    assert said == ["Epoch(train) [1]"]
