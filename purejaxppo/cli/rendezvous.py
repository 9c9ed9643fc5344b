"""The processes of one command come together, or each says in a line why not.

JAX's own meeting ends a process that waited in vain with a stack trace, and crashes
where the port is taken. So they meet here first, at the same address.
"""

import contextlib
import os
import socket
import time

LIMIT = 300.0
"""Seconds that they wait for each other."""

GREETING, ALL_HERE = "purejaxppo", "all here"


def call_roll(
    coordinator: str, num_processes: int, process_id: int, limit: float = LIMIT
) -> None:
    """Return when all processes are there.

    The first one listens where JAX's coordinator will; the others say who they are,
    and are told what came of it.

    Raises:
      ValueError: in all that came: another did not, or two say that they are the same
        one, or another number of them; or the address is no good.
    """
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise ValueError(
            f"Expected --coordinator to be HOST:PORT or auto, got {coordinator!r}."
        )
    if not 0 <= process_id < num_processes:
        raise ValueError(
            f"Expected --process-id to be in [0, {num_processes}), the --num-processes,"
            f" got {process_id}."
        )
    address, deadline = (host.strip("[]"), int(port)), time.monotonic() + limit
    if process_id == 0:
        came = _receive(_own_port(int(port)), num_processes, deadline)
    else:
        came = _report(address, f"{process_id} {num_processes}", deadline)
    if came != ALL_HERE:
        raise ValueError(came)


def _own_port(port: int) -> int:
    """Where JAX's coordinator listens, if that is not the port that others see."""
    own = os.environ.get("JAX_COORDINATOR_BIND_ADDRESS", "").rpartition(":")[2]
    return int(own) if own.isdigit() else port


def _receive(port: int, num_processes: int, deadline: float) -> str:
    """The first process: wait for the others, and tell all what came of it."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(_listening(port))
        except OSError as error:
            return (
                f"Expected port {port} to be free for the processes to come together, "
                f"got: {os.strerror(error.errno or 0)}."
            )
        peers, here, came = [], {0}, ""
        while not came and len(here) < num_processes:
            server.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                peer = stack.enter_context(server.accept()[0])
            except TimeoutError:
                missing = sorted(set(range(num_processes)) - here)
                came = (
                    f"Expected {num_processes} processes to come together, but of "
                    f"--process-id {', '.join(map(str, missing))} none came."
                )
                break
            numbers = _numbers(peer)
            if numbers is None:  # Somebody else's.
                continue
            peers.append(peer)
            came = _fault(*numbers, here, num_processes)
            here.add(numbers[0])
        came = came or ALL_HERE
        for peer in peers:
            with contextlib.suppress(OSError):
                peer.sendall(f"{came}\n".encode())
    return came


def _listening(port: int) -> socket.socket:
    """At all of this host's addresses, as JAX's coordinator does."""
    if socket.has_dualstack_ipv6():
        family = socket.AF_INET6
        return socket.create_server(("", port), family=family, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _numbers(peer: socket.socket) -> tuple[int, int] | None:
    """Who a process is, and of how many; None if it is none of ours."""
    peer.settimeout(5)
    try:
        greeting, *numbers = peer.makefile().readline(99).split()
        number, of = map(int, numbers)
    except (OSError, ValueError):
        return None
    return (number, of) if greeting == GREETING else None


def _fault(number: int, of: int, here: set[int], num_processes: int) -> str:
    """What is wrong with a process that came; nothing if it is one of those awaited."""
    if of != num_processes:
        return (
            f"Expected all processes to have the same --num-processes, got "
            f"{num_processes} in 0 and {of} in {number}."
        )
    if number in here:
        return (
            f"Expected a --process-id of its own for each process, got {number} twice."
        )
    return ""


def _report(address: tuple[str, int], numbers: str, deadline: float) -> str:
    """Another process: find the first one, and hear what came of it."""
    while True:
        left = max(deadline - time.monotonic(), 0.01)
        try:
            with socket.create_connection(address, timeout=left) as peer:
                peer.sendall(f"{GREETING} {numbers}\n".encode())
                peer.settimeout(left + 5)  # The first one knows who did not come.
                if came := peer.makefile().readline(999).strip():
                    return came
                why = "no answer"
        except OSError as error:
            why = error.strerror or "no answer"
        if time.monotonic() >= deadline:
            return (
                f"Expected the first process to listen at {address[0]}:{address[1]}, "
                f"got: {why}."
            )
        time.sleep(0.2)
