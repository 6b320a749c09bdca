"""``reproduce``: train, evaluate, judge and report a selection."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from suite.cost import PlanCost
    from suite.planning.clusters import Cluster
    from suite.planning.plan import Plan, Run
    from suite.published.claims import Claim, Paper
    from suite.report import Report
    from suite.report.answer import Asked, Failure
    from suite.running.launchers import Launcher
    from suite.store.record import Record
    from suite.store.summaries import SummaryReader

LAUNCHERS = ("local", "torchrun", "slurm")
FORMATS = ("table", "markdown", "json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    from suite.cli.output import add_verbosity
    from suite.cli.selection import add_budget, add_jobs, add_samples, add_selection
    from suite.running.loggers import PACKAGES

    add_selection(parser)
    parser.add_argument(
        "--all", action="store_true", help="select every paper; without a selection nothing is trained"
    )
    add_budget(
        parser, "train only the claims that fit into this many hours, most informative first; see 'plan'"
    )
    parser.add_argument("--device", metavar="D", default="auto", help="auto (default), cpu or cuda")
    parser.add_argument(
        "--launcher",
        metavar="NAME",
        default="local",
        help=f"{LAUNCHERS[0]} (default), {' or '.join(LAUNCHERS[1:])}",
    )
    add_jobs(
        parser,
        "runs side by side (default: one per core, or one per GPU; slurm: tasks of an array)",
    )
    parser.add_argument(
        "--detach",
        action="store_true",
        help="submit to the cluster and return at once; the jobs keep running",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the plan and the cluster scripts, then stop"
    )
    parser.add_argument(
        "--again", action="store_true", help="measure every run again, as its next repetition"
    )
    parser.add_argument(
        "--log-to", metavar="NAME", help=f"also log trainings to one of {', '.join(PACKAGES)}, if installed"
    )
    add_samples(parser)
    parser.add_argument("--strict", action="store_true", help="exit with status 3 when a verdict deviates")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="what to print at the end: table (default on a terminal) or json: the selected rows; markdown "
        "(default elsewhere): the whole page",
    )
    add_verbosity(parser)


def run(args: argparse.Namespace) -> int:
    """Executes the selection and prints the answer: on a terminal, a table of the selected claims.

    Elsewhere it prints the page of every selected paper. The pages are written to the results folder in any
    case.

    Without a selection it trains nothing and lists what can be selected.

    Returns:
        0; 1 if a run failed or is blocked; with ``--strict`` 3 if a verdict deviates; 130 if interrupted.

    Raises:
        SuiteError: the selection, the profile, the device or an override is wrong, packages for training or
            logging are not installed, a record is damaged, or the disk is full; its exit status is 1 if a run
            was lost because of that.
    """
    from suite.cli.clusters import print_scripts
    from suite.cli.plan_ import print_plan
    from suite.cli.selection import recorded_states
    from suite.cost import cost_of
    from suite.doctor import lacks_training
    from suite.errors import SuiteError
    from suite.paths import records_dir
    from suite.planning.plan import make_plan
    from suite.published.finding import select
    from suite.running.launchers.slurm import SlurmLauncher
    from suite.running.loggers import check_logger
    from suite.store.records import read_all

    check_logger(args.log_to)
    cluster = _checked_cluster(args)
    selects = bool(args.paper or args.table or args.claim)
    if args.all and selects:
        raise SuiteError(
            "--all selects every claim of every paper: leave out either it or the other selection"
        )
    claims = [claim for _, claim in select(args.paper, args.table, args.claim)]
    records = read_all(records_dir())
    again = _is_finished(records) if args.again else None
    plan = make_plan(claims, args.profile, args.seeds, args.overrides, again)
    states = recorded_states(plan, records)
    if not (selects or args.all or args.dry_run):
        _say_what_there_is(cost_of(plan, states, records), args.seeds)
        return 0
    if args.budget is not None:
        claims = _within_budget(args, claims, cost_of(plan, states, records))
        plan = make_plan(claims, args.profile, args.seeds, args.overrides, again)
        states = recorded_states(plan, records)
    open_runs = [run for run in plan.runs.values() if states[run.run_id] != "finished"]
    if open_runs and not args.dry_run and lacks_training():
        raise SuiteError(
            "training needs PyTorch and the mm packages, and none is installed: 'python -m suite doctor' "
            "says how to install them"
        )
    _say_what_it_shows(args, plan)
    launcher = _launcher(args, cluster, open_runs)
    if args.dry_run:
        print_plan(plan, states)
        if isinstance(launcher, SlurmLauncher):
            print_scripts(plan, states, launcher)
        return 0
    return _execute(args, plan, claims, launcher)


def _execute(args: argparse.Namespace, plan: Plan, claims: Sequence[Claim], launcher: Launcher) -> int:
    """Executes a plan; returns the exit status, see `run`."""
    from suite.catalogue import check_python_files
    from suite.cli.screen import Screen
    from suite.cli.selection import command_of
    from suite.paths import records_dir
    from suite.published.finding import load_papers
    from suite.running.engine import Engine, selected_papers
    from suite.running.progress import Progress
    from suite.store.summaries import SummaryReader

    check_python_files()
    papers = selected_papers((claim.id for claim in claims), load_papers().values())

    store = SummaryReader(records_dir())

    def rewrite() -> None:
        _rewrite_reports(papers, args.profile, store)

    progress = Progress(verbosity=args.verbosity)
    engine = Engine(plan, command_of(args), launcher, progress, rewrite, args.log_to, args.samples)
    try:
        outcome = engine.execute(waits=not args.detach)
    except KeyboardInterrupt:
        print(f"suite: interrupted; {_what_goes_on(launcher)}", file=sys.stderr)
        return 130
    if args.samples and outcome.skipped:
        print(
            f"suite: {len(outcome.skipped)} runs were already finished and keep no new samples: --again "
            "measures them again",
            file=sys.stderr,
        )
    if args.detach:
        Screen().say(
            "'python -m suite status' shows the state of the jobs, 'python -m suite cancel' cancels them, "
            "and the same command without --detach waits for them and reports."
        )
        return 0
    deviates = _report(args, papers, plan, _asked(plan, claims), _failures(plan, outcome.failed))
    if outcome.failed:
        return 1
    return 3 if args.strict and deviates else 0


def _checked_cluster(args: argparse.Namespace) -> Cluster | None:
    """Checks launcher and device, and for Slurm removes the overrides of the cluster from `args.overrides`.

    Returns:
        The cluster for Slurm; None for other launchers.

    Raises:
        SuiteError: there is no such launcher, cluster or device, or an option is for another launcher.
    """
    from suite.errors import SuiteError, did_you_mean
    from suite.planning.clusters import find_cluster, split_off
    from suite.running.launchers.local import DEVICES, check_device

    if args.launcher not in LAUNCHERS:
        raise SuiteError(f"unknown launcher {args.launcher!r}: {did_you_mean(args.launcher, LAUNCHERS)}")
    if args.launcher == "torchrun" and args.jobs not in (None, 1):
        raise SuiteError("--launcher torchrun executes one run at a time: leave --jobs out")
    if args.launcher != "slurm":
        if args.detach:
            raise SuiteError("--detach is for --launcher slurm: runs on this machine end with their command")
        check_device(args.device)
        return None
    if args.device not in DEVICES:
        raise SuiteError(f"unknown device {args.device!r}: {did_you_mean(args.device, DEVICES)}")
    of_cluster, args.overrides = split_off(args.overrides)
    cluster = find_cluster(of_cluster)
    return cluster.model_copy(update={"throttle": args.jobs}) if args.jobs else cluster


def _launcher(args: argparse.Namespace, cluster: Cluster | None, open_runs: Sequence[Run]) -> Launcher:
    """The requested launcher."""
    from suite.running.launchers.local import LocalLauncher
    from suite.running.launchers.slurm import SlurmLauncher
    from suite.running.launchers.torchrun import TorchrunLauncher, processes_for

    if cluster is not None:
        return SlurmLauncher(cluster, args.device, tell=lambda text: print(f"suite: {text}", file=sys.stderr))
    if args.launcher == "torchrun":
        return TorchrunLauncher(args.device, max(map(processes_for, open_runs), default=1))
    return LocalLauncher(args.device, args.jobs)


def _what_goes_on(launcher: Launcher) -> str:
    if launcher.has_queue:
        return (
            "submitted jobs keep running: the same command waits for them, 'python -m suite cancel' "
            "cancels them"
        )
    return "the same command resumes where this one stopped"


def _is_finished(records: Iterable[Record]) -> Callable[[str], bool]:
    """A function that tells whether the run with an id has a finished record."""
    finished = {record.run_id for record in records if record.status == "finished"}
    return finished.__contains__


def _within_budget(args: argparse.Namespace, claims: Sequence[Claim], cost: PlanCost) -> list[Claim]:
    """The claims that fit into the budget, most informative first; prints their number."""
    from suite.cli.plan_ import bought
    from suite.cost import choose

    choices = choose(cost, args.budget, args.seeds)
    _tell(args, f"{bought(args.budget, cost, choices)}.")
    by_id = {claim.id: claim for claim in claims}
    return [by_id[choice.claim] for choice in choices if choice.picked]


def _say_what_there_is(cost: PlanCost, seeds: int) -> None:
    """Prints the cost of every paper, and the command that starts it."""
    from suite.cli.screen import Screen, plain_table
    from suite.cost import unit
    from suite.published.finding import load_papers

    out, hours = Screen(), unit(cost.plan)
    out.say(
        f"Nothing is trained without a selection. Profile {cost.plan.profile}, "
        f"{seeds} {'seed' if seeds == 1 else 'seeds'}:\n"
    )
    numbers = ("trainings", "finished", hours)
    table = plain_table("paper", "title", *numbers, right=numbers)
    papers = load_papers()
    for name, total in cost.by_paper.items():
        counts = (total.trainings, total.finished, total)
        table.add_row(name, papers[name].title, *map(str, counts))
    out.print(table)
    total, example = cost.total, next(iter(cost.by_paper))
    for line in (
        f"\nTogether: {total.trainings} trainings, {total.trainings - total.finished} of them left, {total} "
        f"{hours}; sharing between papers saves {cost.saved_between_papers}.",
        f"Start one with 'python -m suite reproduce --paper {example}', all of them with --all. --table and "
        "--claim select less; 'python -m suite plan' lists every training.",
    ):
        out.say(line)


def _tell(args: argparse.Namespace, text: str) -> None:
    """Prints a message; with ``--format json`` to standard error, so that standard output is only data."""
    from suite.cli.screen import Screen

    if args.format == "json":
        print(text, file=sys.stderr, flush=True)
    else:
        Screen().say(text)


def _say_what_it_shows(args: argparse.Namespace, plan: Plan) -> None:
    from suite.cli.plan_ import left_out

    published = [run.recipe.comparable for run in plan.runs.values()] or [plan.profile == "paper"]
    if not all(published):
        _tell(
            args,
            f"Profile {plan.profile}: the data are embedded, so published numbers are "
            "not comparable; only the sign of a gain is judged.",
        )
    if not plan.runs:
        _tell(args, ". ".join(["There is nothing to train", *left_out(plan)]) + ".")


def _rewrite_reports(papers: list[str], profile: str, store: SummaryReader) -> None:
    """Updates the reports while other runs continue.

    Errors must not stop these runs; if they persist, they are reported at the end.
    """
    from suite.errors import SuiteError
    from suite.report import rewrite_reports

    with contextlib.suppress(OSError, SuiteError):
        rewrite_reports(papers, profile, store.read())


def _asked(plan: Plan, claims: Sequence[Claim]) -> Asked:
    """The selected claims as they are planned: the claim's own runs, or a variant."""
    own = {claim.id: claim.kind.arm for claim in claims}
    planned = {
        (entry.claim, " ".join(entry.variant) or None)
        for run in plan.runs.values()
        for entry in run.claims
        if own.get(entry.claim) == entry.arm
    }
    variants = {claim for claim, variant in planned if variant}
    # With overrides, a planned run may also serve a claim without its variant.
    kept = {(claim, variant) for claim, variant in planned if variant or claim not in variants}
    return kept | {(claim, None) for claim in plan.left_out}


def _failures(plan: Plan, failed: Mapping[str, str]) -> list[Failure]:
    """The runs that did not finish, with their logs."""
    from suite.cli.runs import log_of
    from suite.errors import printable
    from suite.report.answer import Failure

    return [
        Failure(plan.runs[run_id].label, run_id, printable(why), log_of(run_id))
        for run_id, why in failed.items()
    ]


def _report(
    args: argparse.Namespace, papers: list[str], plan: Plan, asked: Asked, failures: Sequence[Failure]
) -> bool:
    """Prints the reports and writes them; returns whether a verdict in them deviates.

    Raises:
        SuiteError: a record cannot be read, or the reports cannot be written.
    """
    from suite.evidence.gathered import measured_arms
    from suite.paths import records_dir
    from suite.published.finding import find_paper
    from suite.report import make_report
    from suite.store.summaries import read_summaries

    records = read_summaries(records_dir())
    arms = measured_arms(records, args.profile)
    reports = [
        (paper := find_paper(name), make_report(paper, records, args.profile, arms)) for name in papers
    ]
    format_name = args.format or ("table" if sys.stdout.isatty() else "markdown")
    if format_name == "markdown":
        for _, report in reports:
            print(f"\n{report.text('markdown')}", flush=True)
            print(f"Written to {' and '.join(map(str, _written(report)))}.")
    else:
        _answer(format_name, reports, plan, asked, failures)
    return any(report.deviates for _, report in reports)


def _answer(
    format_name: str,
    reports: Sequence[tuple[Paper, Report]],
    plan: Plan,
    asked: Asked,
    failures: Sequence[Failure],
) -> None:
    """Writes the reports and prints what they say about the selected rows.

    Raises:
        SuiteError: they cannot be written; the answer has been printed.
    """
    from suite.cli.answer import Answer, as_json, print_answers
    from suite.cli.runs import log_of
    from suite.cli.screen import Screen
    from suite.errors import SuiteError

    fault: SuiteError | None = None
    answers = []
    for paper, report in reports:
        pages: list[Path] = []
        try:
            pages = _written(report)
        except SuiteError as refused:
            fault = refused
        answers.append(Answer.of(paper, plan.profile, report, pages, asked))
    if format_name == "json":
        print(as_json(answers, failures))
    else:
        failed = {failure.run_id for failure in failures}
        logs = [
            (run.label, log)
            for run in plan.runs.values()
            if run.run_id not in failed and (log := log_of(run.run_id)) is not None
        ]
        print_answers(Screen(), answers, failures, logs)
    if fault is not None:
        raise fault


def _written(report: Report) -> list[Path]:
    """Writes a report to the results; returns its files.

    Raises:
        SuiteError: it cannot be written.
    """
    from suite.errors import SuiteError
    from suite.paths import results_dir

    try:
        return report.write(results_dir())
    except OSError as error:
        raise SuiteError(
            f"cannot write the report to {results_dir()} ({error.strerror}): the records are safe; make "
            "room there and run 'python -m suite report'"
        ) from None
