"""Makes something happen to a process as it accesses a file: it is killed, or the system refuses.

Python imports a module of this name as it starts, where its folder is on the path. The variable
``CAMPAIGN_PLANTED`` says what (`tests.campaign.training.Planted`), and a line in its log says that it has
happened. So a process dies exactly between two writes, at the same ones for the same seed, and a disk is full
from one write on, without a disk.
"""

import json
import multiprocessing
import os
import signal
import sys

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_FLAGS_AT = 2


def _plant(told):
    left = {"count": told["count"]}
    busy: list[bool] = []

    def role():
        name = multiprocessing.current_process().name
        if name != "MainProcess":
            return "worker"
        return "engine" if sys.argv[:1] != ["-c"] else "server"

    def concerns(event, arguments):
        if event not in told["events"]:
            return False
        if event == "open" and not (
            isinstance(arguments[_FLAGS_AT], int) and arguments[_FLAGS_AT] & _WRITING
        ):
            return False
        if event == "fcntl.flock":
            return True
        path = arguments[0]
        if not isinstance(path, (str, bytes, os.PathLike)):
            return False
        return os.path.abspath(os.fsdecode(path)).startswith(told["under"])

    def hook(event, arguments):
        if busy or left["count"] <= 0 or event not in told["events"]:
            return
        busy.append(True)
        try:
            if role() != told["role"] or not concerns(event, arguments):
                return
            left["count"] -= 1
            if left["count"]:
                return
            if told["forever"]:
                left["count"] = 1
            with open(told["log"], "a", encoding="utf-8") as log:
                log.write(f"{event}\n")
            if told["does"] == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if told["does"] == "kill all":
                os.killpg(os.getpgid(0), signal.SIGKILL)
            raise OSError(told["does"], os.strerror(told["does"]), *map(str, arguments[:1]))
        finally:
            busy.clear()

    sys.addaudithook(hook)


if "CAMPAIGN_PLANTED" in os.environ:
    _plant(json.loads(os.environ["CAMPAIGN_PLANTED"]))
