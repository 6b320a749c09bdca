"""Ports of this machine for tests that have to name them before a process listens there."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_GIVEN_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_ports(count: int) -> list[int]:
    """So many ports on which nobody listens, other ones at every call.

    They lie below those that the system gives to whoever asks for any, and to every connection: one of these
    could be another's before the process that it was meant for gets there.
    """
    first = int(_GIVEN_OUT.read_text().split()[0]) if _GIVEN_OUT.exists() else 32_768
    candidates = list(range(max(1024, first - 10_000), max(first, 2024)))
    # Not the tests' own generator, which parallel workers may have seeded alike.
    random.SystemRandom().shuffle(candidates)
    found: list[int] = []
    for port in candidates:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"there are no {count} free ports")
