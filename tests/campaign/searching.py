"""Searches for cases with Hypothesis, which shrinks what it finds to the smallest that still shows it."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import ClassVar

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity
from hypothesis import strategies as st

from tests.campaign.experiment import Case, Experiment, Finding, Place, Tried, size

_SECONDS_TO_SHRINK = 45.0


class _FoundError(Exception):
    """Tells Hypothesis that a case shows the fault that is being shrunk."""


class Searched(Experiment):
    """An experiment whose cases are cheap: Hypothesis draws many and shrinks what it finds.

    A fault is shrunk once. Seen again it is counted, and the search looks for others.

    Attributes:
        examples: how many cases an attempt draws.
    """

    examples: ClassVar[int] = 50

    def __init__(self) -> None:
        """Knows no fault yet."""
        self._known: set[str] = set()

    @abstractmethod
    def cases(self) -> st.SearchStrategy[Case]:
        """What is drawn from."""

    def attempt(self, seed: str, place: Place, until: float) -> Tried:
        """Tries as many cases as an attempt has; ends with the first new fault, when it is shrunk."""
        search = _Search(self, place, until, self._known)
        decorated = hypothesis.seed(seed)(
            hypothesis.settings(
                max_examples=self.examples,
                database=None,
                deadline=None,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
                report_multiple_bugs=False,
                verbosity=Verbosity.quiet,
            )(hypothesis.given(self.cases())(search.try_one))
        )
        try:
            decorated()
        except BaseException as error:
            # What a second try does not show is another error to Hypothesis, and our finding all the same.
            if search.sought is None or isinstance(error, KeyboardInterrupt):
                raise
        search.tried.found = list(search.smallest.values())
        self._known |= search.smallest.keys()
        return search.tried


class _Search:
    """One search: from the first new fault on, only that one counts."""

    def __init__(self, experiment: Searched, place: Place, until: float, known: set[str]) -> None:
        self.experiment = experiment
        self.place = place
        self.until = until
        self.known = known
        self.sought: str | None = None
        self.smallest: dict[str, tuple[Finding, Case]] = {}
        self.tried = Tried()

    def try_one(self, case: Case) -> None:
        """Tries a case, unless time is up.

        Raises:
            _FoundError: it shows the fault that is sought.
        """
        if time.monotonic() > self.until:
            return
        done = self.experiment.replay(case, self.place)
        found, done.found = done.found, []
        self.tried.add(done)
        for finding, shown in found:
            if finding.key in self.known:
                continue
            best = self.smallest.get(finding.key)
            if best is None or size(shown) <= size(best[1]):
                self.smallest[finding.key] = (finding, shown)
            if self.sought is None:
                self.sought = finding.key
                self.until = time.monotonic() + _SECONDS_TO_SHRINK
        if self.sought in {finding.key for finding, _ in found}:
            raise _FoundError(self.sought)
