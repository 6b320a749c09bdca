"""The site on a login node: served to this machine alone, and how another one gets there."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest

from suite.cli import main
from tests.ports import free_ports


def listening(pid: int) -> set[str]:
    """The addresses at which a process waits for others, as the kernel writes them."""
    own = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            own.add(os.readlink(entry))
        except OSError:
            continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text(encoding="utf-8").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in own:
                found.add(fields[1].partition(":")[0])
    return found


def test_the_site_is_served_to_this_machine_alone_until_it_is_interrupted(suite):
    (free,) = free_ports(1)
    process = suite.start("report", "--serve", str(free))
    try:
        told = []
        for line in process.stdout:
            told.append(line)
            if "and then open" in line:
                break
        (address,) = re.findall(r"http://127\.0\.0\.1:\d+/", next(line for line in told if "Serving" in line))
        port = address.rsplit(":", 1)[1].strip("/")
        (tunnel,) = [line for line in told if "ssh -N" in line]
        assert port == str(free)
        assert f"-L {port}:127.0.0.1:{port} " in tunnel
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert "Can this distillation paper be reproduced?" in answer.read().decode("utf-8")
        # 127.0.0.1, and no other address.
        assert listening(process.pid) == {"0100007F"}
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--serve", "http"], "--serve must be a port from 1024 to 65535, got 'http'"),
        (["--serve", "65536"], "--serve must be a port from 1024 to 65535, got '65536'"),
        (["--serve", "0"], "--serve must be a port from 1024 to 65535, got '0'"),
        (["--serve", "\u0661\u0661\u0661\u0661"], "--serve must be a port from 1024 to 65535, got "),
        (["--serve", "--strict"], "leave out --strict and other formats"),
        (["--serve", "--format", "csv"], "leave out --strict and other formats"),
        (["--serve", "--control"], "--control covers all papers and only prints"),
    ],
)
def test_what_cannot_be_served_is_one_line_and_status_two(words, says, capsys):
    assert main(["report", *words]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_a_port_that_is_taken_is_told_in_one_line(suite):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done: subprocess.CompletedProcess[str] = suite("report", "--serve", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "name another one" in done.stderr
    assert done.stderr.count("\n") == 1
