"""Serves a folder of pages to this machine alone, as on the login node of a cluster."""

from __future__ import annotations

import argparse
import contextlib
import functools
import getpass
import re
import socket
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from suite.errors import SuiteError, printable

LOOPBACK: Final = "127.0.0.1"
_PORTS: Final = range(1024, 65536)
"""Those below are for the system."""


class _Quiet(SimpleHTTPRequestHandler):
    """Hands out files, and says nothing of it."""

    def log_message(self, format: str, *args: Any) -> None:
        """Keeps the terminal free for the address."""


def checked_port(args: argparse.Namespace) -> int:
    """The port that ``--serve`` names.

    Raises:
        SuiteError: it is no port, or an option beside it asks for something else.
    """
    if args.strict or args.format not in (None, "html"):
        raise SuiteError("--serve runs until it is interrupted: leave out --strict and other formats")
    # Only digits of ASCII, and few enough to be read.
    port = int(args.serve) if re.fullmatch(r"[0-9]{1,5}", args.serve) else 0
    if port not in _PORTS:
        raise SuiteError(
            f"--serve must be a port from {_PORTS[0]} to {_PORTS[-1]}, got {printable(repr(args.serve), 40)}"
        )
    return port


def serve(folder: Path, port: int) -> None:
    """Serves a folder on the loopback interface until it is interrupted; first prints where.

    Args:
        folder: with the site.
        port: where.

    Raises:
        SuiteError: the port is taken, or not allowed.
    """
    handler = functools.partial(_Quiet, directory=str(folder))
    try:
        server = ThreadingHTTPServer((LOOPBACK, port), handler)
    except OSError as error:
        raise SuiteError(f"cannot serve at port {port} ({error.strerror}): name another one") from None
    with server, contextlib.suppress(KeyboardInterrupt):
        for line in addresses(server.server_address[1]):
            print(line, flush=True)
        server.serve_forever()


def addresses(port: int) -> tuple[str, ...]:
    """Where the site is, and how another machine gets there."""
    here = f"http://{LOOPBACK}:{port}/"
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container may run as a user that has no name.
        user = "USER"
    host = printable(f"{user}@{socket.gethostname()}", 100)
    return (
        f"Serving the site at {here} to users of this machine; Ctrl-C ends it.",
        f"From another machine: ssh -N -L {port}:{LOOPBACK}:{port} {host}",
        f"and then open {here} there.",
    )
