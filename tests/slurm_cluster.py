"""A real Slurm of one node for tests: configuration, ports, state and logs of its own, all in one folder.

It needs Slurm's programs and neither root nor munge. Jobs run as whoever started it.
"""

from __future__ import annotations

import functools
import getpass
import os
import shutil
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests import waiting
from tests.ports import free_ports
from tests.waiting import PATIENCE

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")

NODE = "node"
PLACES = 8
"""Runs that fit on the node at one time, with `CORES` each; it counts more cores than the machine has."""

CORES = 8
LARGEST_ARRAY = 21

_CONFIG = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/none
CredType=cred/none
# What is queued again starts after so many seconds.
AuthInfo=cred_expire=5
SlurmUser={user}
SlurmdUser={user}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=2
MaxArraySize={largest}
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MailProg=/bin/true
GresTypes=gpu
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000 Gres=gpu:8 State=UNKNOWN
PartitionName=main Nodes={node} Default=YES MaxTime=INFINITE State=UP
"""


wait_until = functools.partial(waiting.wait_until, pause=0.2)
"""As of all tests, and seldom: what is asked for are mostly answers of Slurm."""


def lacks() -> str | None:
    """What this machine lacks to start one, or None."""
    absent = [name for name in PROGRAMS if _found(name) is None]
    return (
        f"needs Slurm, and there is no {absent[0]} (Debian, Ubuntu: apt install slurm-wlm)"
        if absent
        else None
    )


def _found(program: str) -> str | None:
    return shutil.which(program, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin")))


@dataclass
class SlurmCluster:
    """The cluster; commands reach it by `SLURM_CONF`.

    Attributes:
        folder: holds all of it.
    """

    folder: Path
    _daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def config(self) -> Path:
        return self.folder / "slurm.conf"

    @property
    def environment(self) -> dict[str, str]:
        # A job that the tests themselves run in is another cluster's.
        plain = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        return {**plain, "SLURM_CONF": str(self.config)}

    def start(self) -> None:
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True)
        gpus = [self.folder / f"gpu{number}" for number in range(8)]
        for gpu in gpus:
            gpu.touch()
        (self.folder / "gres.conf").write_text(f"Name=gpu File={self.folder}/gpu[0-7]\n", encoding="utf-8")
        facts = {
            "host": socket.gethostname().partition(".")[0],
            "ports": free_ports(2),
            "user": getpass.getuser(),
            "folder": self.folder,
            "largest": LARGEST_ARRAY,
            "node": NODE,
            "cpus": PLACES * CORES,
        }
        self.config.write_text(_CONFIG.format(**facts), encoding="utf-8")
        for program, *words in (("slurmctld", "-D"), ("slurmd", "-D", "-N", NODE)):
            with open(self.folder / f"{program}.out", "wb") as log:
                command = [str(_found(program)), *words]
                self._daemons.append(subprocess.Popen(command, env=self.environment, stdout=log, stderr=log))
        wait_until(lambda: "idle" in self.ask("sinfo", "--noheader", "--format=%T"))

    def stop(self) -> None:
        self.ask("scancel", f"--user={getpass.getuser()}")
        wait_until(lambda: not self.queue())
        for daemon in reversed(self._daemons):
            daemon.terminate()
            daemon.wait(timeout=PATIENCE)

    def ask(self, *words: str) -> str:
        """What a command of Slurm prints; nothing while there is no controller yet."""
        answer = subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False)
        return answer.stdout

    def queue(self) -> dict[str, str]:
        """Job -> state, of all that have not ended."""
        lines = self.ask("squeue", "--noheader", "--array", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)

    def state(self, job: str) -> str:
        """State of a job, ended ones of the last minutes among them."""
        words = ("squeue", "--noheader", "--array", "--states=all", f"--jobs={job}", "--format=%T")
        return self.ask(*words).strip()

    def end_soon(self, job: str) -> None:
        """Gives a running job so little time that the next look at limits warns it and the one after ends it.

        Slurm looks every 30 seconds; what is over at its first look is ended without a warning.
        """
        self.ask("scontrol", "update", f"jobid={job}", "endtime=now+40")

    def update_node(self, state: str) -> None:
        reason = [] if state == "resume" else ["reason=test"]
        self.ask("scontrol", "update", f"nodename={NODE}", f"state={state}", *reason)
