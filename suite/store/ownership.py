"""Exclusive ownership of a folder that several machines share: one process at a time, and all can read which.

The system's locks work only within a machine, or do not exist on a shared file system. Instead, a folder
holds numbered files, each created exclusively by the process that it names, and the process with the *highest
number* is the owner:

- To take the folder, a process looks at the highest number, and if its owner has released it, is dead, or has
  sent no heartbeat for `STALE` seconds, creates the next number. The file system lets only one process create
  it.
- The owner touches its file every `HEARTBEAT` seconds. How long ago that was is measured by the clock of the
  file system, with a file that is written beside it for the purpose, since clocks of machines differ.
- The highest number is never deleted, not even on release; lower ones are, by the owner. A process that was
  stopped between looking and creating may therefore create a number that existed before. It looks again
  afterwards: there is a higher one, and it owns nothing.
- An owner that was stopped for longer than `STALE` sees a higher number when it continues
  (`Ownership.check`).

Within one machine the system knows whether a process is alive, so no time is waited for or trusted.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import NonNegativeInt, PositiveInt

from suite.errors import SuiteError, printable
from suite.store.files import begun, create, replacing
from suite.store.plain_files import NotAPlainFileError, content_of
from suite.strict import Line, Strict

HEARTBEAT = 10.0
"""Seconds between two heartbeats."""

STALE = 120.0
"""Seconds without a heartbeat after which an owner on another machine counts as gone; network file systems
cache the times of files for up to a minute."""

_LONGEST_POLL = 2.0
_LARGEST = 64 * 1024
_NUMBER = re.compile(r"^(?P<number>\d{6,18})\.json$")


class TakenOverError(RuntimeError):
    """Another process owns the folder by now: nothing more may be written there."""


class Owner(Strict):
    """A process, described so that it cannot be confused with another of the same id.

    Attributes:
        host: name of the machine.
        boot: distinguishes the machine, its boot and its process table from others of the same name, such as
            containers; None if the system does not say.
        pid: id of the process.
        started: when it started, in the system's own unit; None if the system does not say.
        job: id of the batch job that it belongs to.
        restart: how often that job was started before.
        released: whether it has released the folder.
    """

    host: Line
    boot: Line | None = None
    pid: PositiveInt
    started: NonNegativeInt | None = None
    job: Line | None = None
    restart: NonNegativeInt = 0
    released: bool = False

    def shares_machine_with(self, other: Owner) -> bool:
        """Whether both are in the same process table."""
        return (self.host, self.boot) == (other.host, other.boot)

    def lives(self) -> bool:
        """Whether the process is alive; to be asked on its own machine."""
        try:
            state, started = _state_of(self.pid)
        except OSError:
            # There is no process with that id, or the system hides it from other users.
            return _answers(self.pid)
        return state not in ("Z", "X") and self.started in (None, started)


def _state_of(pid: int) -> tuple[str, int]:
    """State of a process and when it started, as Linux reports them (proc(5), fields 3 and 22)."""
    # The name of the program may contain anything, and ends with the last parenthesis.
    fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return fields[0], int(fields[19])


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def this_process(host: str | None = None) -> Owner:
    """This process.

    Args:
        host: the name of the machine; None for its host name.
    """
    started = None
    with contextlib.suppress(OSError):
        started = _state_of(os.getpid())[1]
    restart = os.environ.get("SLURM_RESTART_COUNT", "")
    return Owner(
        host=host or socket.gethostname(),
        boot=_boot(),
        pid=os.getpid(),
        started=started,
        job=os.environ.get("SLURM_JOB_ID") or None,
        restart=int(restart) if restart.isascii() and restart.isdecimal() else 0,
    )


def _boot() -> str | None:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


class _Numbers:
    """The numbered files of a folder, as one process sees them."""

    def __init__(self, folder: Path, me: Owner, stale: float) -> None:
        self.folder = folder
        self.me = me
        self._stale = stale
        self._seen: tuple[int, int, float] = (0, 0, 0.0)

    def path(self, number: int) -> Path:
        """The file of a number."""
        return self.folder / f"{number:06d}.json"

    def all(self) -> list[int]:
        """Every number, in ascending order."""
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        return sorted(int(match["number"]) for name in names if (match := _NUMBER.match(name)))

    def newest(self) -> int:
        """The highest number; 0 if there is none."""
        return max(self.all(), default=0)

    def owner(self, number: int) -> Owner | None:
        """The process that a file names; None if that cannot be read.

        Raises:
            FileNotFoundError: the file no longer exists.
        """
        path = self.path(number)
        try:
            # Without hard links a name exists before its content (`files.create`).
            content = content_of(path, _LARGEST) if path.stat().st_size else begun(path, _LARGEST)
            return Owner.model_validate_json(content or b"")
        except FileNotFoundError:
            if path.is_symlink():
                return None
            raise
        except (ValueError, NotAPlainFileError):
            return None

    def is_free(self, number: int) -> bool:
        """Whether the process that took a number no longer owns the folder."""
        try:
            owner = self.owner(number)
            if owner is not None:
                if owner.released:
                    return True
                if owner.job and owner.job == self.me.job and owner.restart < self.me.restart:
                    # A batch system restarts a job only when none of its processes are left.
                    return True
                if owner.shares_machine_with(self.me):
                    return not owner.lives()
            return self._is_stale(number)
        except FileNotFoundError:
            # There is a higher one by now.
            return False

    def _is_stale(self, number: int) -> bool:
        touched = self.path(number).lstat().st_mtime_ns
        if self._seen[:2] != (number, touched):
            self._seen = (number, touched, time.monotonic())
        # A clock that was set back shows too short a time; then the time observed by this process counts.
        unchanged = time.monotonic() - self._seen[2]
        return max(unchanged, (self._now() - touched) / 1e9) > self._stale

    def _now(self) -> int:
        """The clock of the file system, in nanoseconds; this machine's clock if nothing can be written."""
        try:
            with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".now.") as probe:
                probe.write(b"now")
                probe.flush()
                return os.stat(probe.name).st_mtime_ns
        except OSError:
            return time.time_ns()

    def take(self) -> int | None:
        """Takes the next number if the highest is free; returns it if it is the highest afterwards."""
        newest = self.newest()
        if newest and not self.is_free(newest):
            return None
        mine = newest + 1
        if not create(self.path(mine), self.me.model_dump_json().encode()):
            return None
        if self.newest() != mine:
            self.path(mine).unlink(missing_ok=True)
            return None
        for number in self.all():
            if number < mine:
                self.path(number).unlink(missing_ok=True)
        return mine


class Ownership:
    """The ownership of a folder, kept alive by a heartbeat thread until it is released."""

    def __init__(self, numbers: _Numbers, number: int, beat: float, on_beat: Callable[[], None]) -> None:
        """Starts the heartbeat thread.

        Args:
            numbers: the numbered files of the folder.
            number: the number that was taken.
            beat: seconds between two heartbeats.
            on_beat: called at each heartbeat, in its thread.
        """
        self._numbers = numbers
        self._number = number
        self._beat = beat
        self._on_beat = on_beat
        self._over = threading.Event()
        self.lost = False
        """Whether another process was found to own the folder."""
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def _live(self) -> None:
        while not self._over.wait(self._beat):
            # An error may be temporary; ownership is checked again before anything that matters.
            with contextlib.suppress(OSError):
                if self._numbers.newest() != self._number:
                    self.lost = True
                    return
                os.utime(self._numbers.path(self._number))
            self._on_beat()

    def check(self) -> None:
        """Checks that this process still owns the folder.

        Raises:
            TakenOverError: it does not.
            OSError: the folder cannot be read.
        """
        newest = self._numbers.newest()
        if newest == self._number and not self.lost:
            return
        self.lost = True
        owner = None
        with contextlib.suppress(OSError):
            owner = self._numbers.owner(newest)
        by = f"process {owner.pid} on {owner.host}" if owner else "another process"
        raise TakenOverError(
            f"{by} has taken it over, because this one had shown no sign of life for too long"
        )

    def release(self) -> None:
        """Releases the folder; one that was taken over is left to its new owner."""
        self._over.set()
        self._thread.join()
        numbers = self._numbers
        # If this fails, others see that the process has ended, or that its heartbeat has stopped.
        with contextlib.suppress(OSError):
            if numbers.newest() == self._number:
                released = numbers.me.model_copy(update={"released": True})
                with replacing(numbers.path(self._number)) as aside:
                    aside.write_bytes(released.model_dump_json().encode())


@contextlib.contextmanager
def owned(
    folder: Path,
    on_wait: Callable[[Owner | None], None] = lambda owner: None,
    on_beat: Callable[[], None] = lambda: None,
    me: Owner | None = None,
    beat: float = HEARTBEAT,
    stale: float = STALE,
) -> Iterator[Ownership]:
    """Owns a folder for the duration of the block, exclusively among all processes on all machines.

    Args:
        folder: the folder of the numbered files; created if missing.
        on_wait: called once if another process owns it, with that process if known.
        on_beat: called about every `beat` seconds while it is owned, in another thread.
        me: this process.
        beat: seconds between two heartbeats.
        stale: seconds without a heartbeat after which an owner on another machine counts as gone.

    Raises:
        SuiteError: the file system refuses.
    """
    numbers = _Numbers(folder, me or this_process(), stale)
    number = _wait_for(numbers, on_wait)
    ownership = Ownership(numbers, number, beat, on_beat)
    try:
        yield ownership
    finally:
        ownership.release()


def _wait_for(numbers: _Numbers, on_wait: Callable[[Owner | None], None]) -> int:
    pause, told = 0.1, False
    while True:
        try:
            numbers.folder.mkdir(parents=True, exist_ok=True)
            if (number := numbers.take()) is not None:
                return number
            if not told and (newest := numbers.newest()):
                told = True
                with contextlib.suppress(FileNotFoundError):
                    on_wait(numbers.owner(newest))
        except OSError as error:
            raise SuiteError(
                f"{printable(numbers.folder)}: cannot be claimed ({error.strerror}); make room there, "
                "delete what is not a folder, or set SUITE_WORK to another one, and run the command again"
            ) from None
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_POLL)


def owner_of(folder: Path, me: Owner | None = None, stale: float = STALE) -> Owner | None:
    """The process that owns a folder now; None if none does, or if that cannot be read."""
    numbers = _Numbers(folder, me or this_process(), stale)
    with contextlib.suppress(OSError):
        newest = numbers.newest()
        if newest and not numbers.is_free(newest):
            return numbers.owner(newest)
    return None
