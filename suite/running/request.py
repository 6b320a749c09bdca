"""What is handed to whoever executes a run: the run, and with what. It lies in the run's folder as JSON."""

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
from suite.store.records import Provenance
from suite.store.run_folders import RunFolder
from suite.strict import Line, Name, RunId, Strict, first_fault

_LARGEST = 16 * 2**20
"""Bytes; a request takes about 10,000."""

_OF_RUN = tuple(field.name for field in fields(Run))
"""What a request takes from its run and gives back to it."""

_REMEDY = "run the command that requested it again, which rewrites it"


class RunRequest(Strict):
    """A run to execute.

    Where it reads and writes is not in it: as for every command, that is for the environment to say where it
    is executed.

    Attributes:
        schema_version: of this layout.
        run_id: of the run.
        series: of the run, as are the fields below (`suite.planning.plan.Run`).
        identity: what defines its number.
        arm: the arm it was planned as.
        recipe: the composed recipe.
        teacher: the run that it learns from.
        start: the run whose backbone it starts from.
        checkpoint: what is scored, where nothing is trained.
        claims: the claims that it serves.
        device: `cpu`, `cuda`, or `auto` where that is known only where it is executed.
        beside: how many runs share the cores of the machine that executes it.
        provenance: code and command of whoever requested it.
        title: one line for the log: what is run, and by which command.
        log_to: where else it is logged (`suite.running.loggers`).
        samples: of how many test images predictions are kept.
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
        """The provenance of what is executed here: the machine and its packages are those of this process."""
        return self.provenance.model_copy(update={"host": host_facts(), "packages": installed_versions()})


def write_request(folder: RunFolder, request: RunRequest) -> None:
    """Puts a request into the folder of its run, in place of an earlier one.

    Raises:
        OSError: the file system refuses.
    """
    write(folder.request, (request.model_dump_json(indent=1) + "\n").encode())


def find_request(folder: RunFolder) -> RunRequest | None:
    """The order in the folder of a run, to tell what it is about, whatever code and packages are here.

    Returns:
        None where there is none, or it is damaged or of another run.
    """
    try:
        request = RunRequest.model_validate_json(content_of(folder.request, _LARGEST))
    except (OSError, NotAPlainFileError, ValueError, RecursionError):
        return None
    return request if request.run_id == folder.run_id else None


def read_request(folder: RunFolder) -> RunRequest:
    """The request that lies in the folder of a run.

    Raises:
        SuiteError: there is none, it is damaged, it is of another run or of other code than is here, or it
            names Python that no recipe may name.
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
    """Refuses what no composed recipe holds: the checks that its settings passed as they were composed.

    Raises:
        ValueError: a setting names Python, or is no finite number.
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
