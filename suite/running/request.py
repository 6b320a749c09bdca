"""The request to execute a run: the run and its settings, stored as JSON in the run's folder."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveInt, ValidationError

from suite.contract import Arm, Checkpoint, ComposedModel, ComposedRecipe, ServedClaim
from suite.environment import host_facts, installed_versions
from suite.errors import SuiteError, printable
from suite.planning.identity import Identity
from suite.planning.plan import Run, identity_here
from suite.settings import check_value
from suite.store.files import write
from suite.store.plain_files import NotAPlainFileError, content_of
from suite.store.record import Provenance
from suite.store.run_folders import RunFolder
from suite.strict import Line, Name, RunId, Strict, first_fault

_LARGEST = 16 * 2**20
"""Largest file that is read, in bytes; a request takes about 10,000."""

_OF_RUN = tuple(field.name for field in fields(Run))
"""The fields that a request shares with its run."""

_REMEDY = "run the command that requested it again, which rewrites it"


class RunRequest(Strict):
    """A run to execute.

    It names no folders: as for every command, those come from the environment of the process that executes
    it.

    Attributes:
        schema_version: of this layout.
        run_id: of the run.
        series: of the run, as are the fields below (`suite.planning.plan.Run`).
        identity: what determines its numbers.
        arm: the arm it was planned as.
        recipe: the composed recipe.
        teacher: the run that it learns from.
        start: the run whose backbone it starts from.
        checkpoint: what is scored, if nothing is trained.
        claims: the claims that it serves.
        device: `cpu`, `cuda`, or `auto` if only the machine that executes it can tell.
        beside: how many runs share the cores of the machine that executes it.
        provenance: code and command of the requester.
        title: one line for the log: what is run, and by which command.
        log_to: where else it is logged (`suite.running.loggers`).
        samples: for how many test images predictions are kept.
    """

    schema_version: Literal[1] = 1
    run_id: RunId
    series: RunId
    identity: Identity
    arm: Arm
    recipe: ComposedRecipe
    teacher: RunId | None = None
    start: RunId | None = None
    checkpoint: Checkpoint | None = None
    claims: tuple[ServedClaim, ...] = ()
    device: Literal["auto", "cpu", "cuda"]
    beside: PositiveInt = 1
    provenance: Provenance
    title: Line
    log_to: Name | None = None
    samples: NonNegativeInt = 0

    @classmethod
    def of(
        cls,
        run: Run,
        device: str,
        beside: int,
        provenance: Provenance,
        log_to: str | None = None,
        samples: int = 0,
    ) -> RunRequest:
        """The request of a run."""
        return cls(
            **{name: getattr(run, name) for name in _OF_RUN},
            device=device,  # type: ignore[arg-type]  # validated here
            beside=beside,
            provenance=provenance,
            title=f"{run.label} ({provenance.command})",
            log_to=log_to,
            samples=samples,
        )

    @property
    def run(self) -> Run:
        """The run."""
        return Run(**{name: getattr(self, name) for name in _OF_RUN})

    @property
    def provenance_here(self) -> Provenance:
        """The provenance with the machine and packages of this process, for a run that is executed here."""
        return self.provenance.model_copy(update={"host": host_facts(), "packages": installed_versions()})


def write_request(folder: RunFolder, request: RunRequest) -> None:
    """Writes a request into the folder of its run, in place of an earlier one.

    Raises:
        OSError: the file system refuses.
    """
    write(folder.request, (request.model_dump_json(indent=1) + "\n").encode())


def find_request(folder: RunFolder) -> RunRequest | None:
    """Reads the request of a run without checking it against the installed code and packages.

    Returns:
        The request, for messages about the run; None if there is none, or it is damaged or of another run.
    """
    try:
        request = RunRequest.model_validate_json(content_of(folder.request, _LARGEST))
    except (OSError, NotAPlainFileError, ValueError, RecursionError):
        return None
    return request if request.run_id == folder.run_id else None


def read_request(folder: RunFolder) -> RunRequest:
    """Reads and checks the request in the folder of a run.

    Raises:
        SuiteError: there is none, it is damaged, it belongs to another run or to other code than is installed
            here, or it names Python that no recipe may name.
    """
    place = printable(folder.request)
    try:
        request = RunRequest.model_validate_json(content_of(folder.request, _LARGEST))
        _check_settings(request.recipe)
        here = identity_here(request.run)
    except FileNotFoundError:
        raise SuiteError(
            f"{place}: run {folder.run_id} was never requested here: 'python -m suite reproduce' requests "
            "runs, and SUITE_WORK must name the same folder for both"
        ) from None
    except (OSError, NotAPlainFileError) as error:
        raise SuiteError(f"{place}: cannot be read ({printable(error, 100)}); {_REMEDY}") from None
    except (ValueError, KeyError, RecursionError) as error:
        raise SuiteError(f"{place}: damaged request ({_fault_of(error)}); {_REMEDY}") from None
    if folder.run_id != request.run_id:
        raise SuiteError(f"{place}: is the request of another run, {request.run_id}; {_REMEDY}")
    if (here.run_id, here) != (request.run_id, request.identity):
        raise SuiteError(
            f"{place}: with the code and packages installed here, its recipe makes run {here.run_id}, not "
            f"{request.run_id}: execute it with those it was requested with, or {_REMEDY}"
        )
    return request


def _check_settings(recipe: ComposedRecipe) -> None:
    """Repeats the checks that the settings of a recipe passed when it was composed.

    Raises:
        ValueError: a setting names Python, or is not a finite number.
    """
    for name, settings in _settings_of(recipe):
        check_value(settings, name)


def _settings_of(recipe: ComposedRecipe) -> list[tuple[str, dict[str, Any]]]:
    found = [("schedule", recipe.schedule), ("data", recipe.data.overrides)]
    models: dict[str, ComposedModel | None] = {"student": recipe.student, "teacher": recipe.teacher}
    for side, model in models.items():
        if model is not None:
            found += [(side, model.overrides), (side, model.config)]
    if recipe.method is not None:
        found.append(("method", recipe.method.config))
        found += [(f"method.{name}", loss.arguments) for name, loss in recipe.method.losses.items()]
    return found


def _fault_of(error: Exception) -> str:
    if isinstance(error, ValidationError):
        place, fault = first_fault(error)
        return f"{printable(place or 'top level', 100)}: {printable(fault['msg'], 150)}"
    return printable(error, 200)
