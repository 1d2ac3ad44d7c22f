"""The machine: is its clock synchronised, is there room on its disk, are the ports free."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
import ssl
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from cryptography import x509

from gateway.clock import STEP_S
from gateway.doctor.finding import Finding, ok, or_ok, problem, unknown, warning
from gateway.identity.errors import IdentityError
from gateway.identity.spiffe import SpiffeId
from gateway.synchronisation import MAX_ERROR_S, KernelClock, Synchronised

CLOCK, DISK, PORT = "clock", "disk", "port"

LOW_BYTES: Final = 2 << 30
"""Free space below which it is a warning: some hours of the heaviest traffic."""

NO_BYTES: Final = 256 << 20
"""Free space below which it is a problem: SQLite's write-ahead log may grow to as much within minutes."""

SLOW_FSYNC_S: Final = 0.1
"""An fsync that takes longer makes every acknowledgement take longer than that."""

NETWORK_FILE_SYSTEMS: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "fuse.sshfs", "ceph"})
"""File systems on which the locks of SQLite's write-ahead log do not hold."""

MEMORY_FILE_SYSTEMS: Final = frozenset({"tmpfs", "ramfs"})

_TIME_CLIENTS: Final = frozenset({"chronyd", "ntpd", "openntpd", "systemd-timesyn", "ptp4l", "phc2sys"})
"""Programs that discipline a clock, by the 15 characters that Linux keeps of a name."""


def time_client(processes: Path = Path("/proc")) -> str:
    """The name of a program that runs here and disciplines the clock; empty where none is seen."""
    for name in processes.glob("[0-9]*/comm"):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if (found := name.read_text("utf-8").strip()) in _TIME_CLIENTS:
                return found
    return ""


def clock(
    kernel: KernelClock | None,
    now: datetime,
    latest: datetime | None,
    client: str = "",
    asked: Synchronised = Synchronised.NOT_ASKED,
) -> list[Finding]:
    """The clock. `latest`: the newest time on record; `client`: the program that disciplines it, if one runs; `asked`:
    what the gateway asks of it.

    Where the gateway asks nothing of the kernel, what that says is no problem: whoever set it so sees to the clock in
    another way, and is told what the kernel says.
    """
    where = "this machine's clock"
    found = []
    if latest is not None and (behind := (latest - now).total_seconds()) > STEP_S:
        found.append(
            problem(
                CLOCK,
                where,
                f"it is {behind:.0f} s behind what is on record, so that agreements would count as lapsed",
                "Set it right; if it is right, start with `signalfire serve --clock-is-right`.",
            )
        )
    if kernel is None and asked is Synchronised.REQUIRED:
        what = "the system does not say whether it is synchronised, so that agreements count as lapsed"
        return [
            *found,
            problem(CLOCK, where, what, "Set `clock.synchronised` to if_known, if something else sees to it."),
        ]
    if kernel is None:
        return [*found, unknown(CLOCK, where, "the system does not say whether it is synchronised", "Look at chronyc.")]
    if not kernel.synchronised:
        mend = "Run chrony or another NTP client: reports, agreements and certificates all depend on the time."
        what = "it is not synchronised, and no program that would do it runs"
        if client:
            what, mend = f"it is not synchronised, though {client} runs", "Look at its sources: they may be gone."
        if asked is Synchronised.NOT_ASKED:
            what += "; `clock.synchronised` is not_asked, so the gateway believes the clock all the same"
            found.append(warning(CLOCK, where, what, mend))
        else:
            found.append(problem(CLOCK, where, f"{what}, so that agreements count as lapsed", mend))
    elif kernel.max_error_s > MAX_ERROR_S:
        what = f"it may be off by {kernel.max_error_s:.1f} s"
        found.append(warning(CLOCK, where, what, "Look at `chronyc tracking`: its sources may be gone."))
    return or_ok(found, CLOCK, where, f"synchronised, off by at most {kernel.max_error_s * 1000:.0f} ms")


class Space(Protocol):
    """What statvfs gives, of which this is looked at."""

    @property
    def f_frsize(self) -> int: ...
    @property
    def f_bavail(self) -> int: ...
    @property
    def f_files(self) -> int: ...
    @property
    def f_favail(self) -> int: ...


def disk(
    store: Path,
    *,
    space: Callable[[Path], Space] = os.statvfs,
    mounts: Path = Path("/proc/self/mounts"),
    monotonic: Callable[[], float] = time.monotonic,
) -> list[Finding]:
    """The directory of the store: room, whether it can be written and synced, and on what file system it is."""
    directory = store.parent
    where = str(directory)
    try:
        there = space(directory)
    except OSError as error:
        what = f"the store's directory cannot be looked at: {error.strerror}"
        return [problem(DISK, where, what, "Correct `store`, or make the directory.")]
    found = []
    free = there.f_frsize * there.f_bavail
    if free < LOW_BYTES:
        level = problem if free < NO_BYTES else warning
        found.append(
            level(DISK, where, f"only {free >> 20} MiB are free", "Make room, or move the store to a larger disk.")
        )
    if there.f_files and there.f_favail < 1000:
        found.append(
            problem(DISK, where, f"only {there.f_favail} files can still be made", "Delete files that are not needed.")
        )
    kind = file_system(directory, mounts)
    if kind in NETWORK_FILE_SYSTEMS:
        what = f"it is on a network file system ({kind}), on which SQLite's locks do not hold"
        found.append(problem(DISK, where, what, "Put the store on a local disk."))
    elif kind in MEMORY_FILE_SYSTEMS:
        what = f"it is on a file system in memory ({kind}): the store is gone with the machine's power"
        found.append(warning(DISK, where, what, "Put the store on a disk."))
    found += _write(directory, monotonic)
    if store.exists() and not os.access(store, os.W_OK):
        found.append(
            problem(DISK, str(store), "the store cannot be written by this user", f"chown it to user {os.geteuid()}.")
        )
    return or_ok(found, DISK, where, f"{free >> 30} GiB free on {kind or 'a file system'}, writable, fsync works")


def _write(directory: Path, monotonic: Callable[[], float]) -> list[Finding]:
    path = directory / f".doctor.{secrets.token_hex(8)}"
    began = monotonic()
    try:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, b"\x00" * 4096)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        finally:
            path.unlink(missing_ok=True)
    except OSError as error:
        what = f"nothing can be written and synced there: {error.strerror}"
        return [problem(DISK, str(directory), what, f"Let user {os.geteuid()} write it, and make sure there is room.")]
    took = monotonic() - began
    if took > SLOW_FSYNC_S:
        what = f"an fsync takes {took * 1000:.0f} ms, and every acknowledgement waits for one"
        return [warning(DISK, str(directory), what, "Use a disk with a power-protected cache.")]
    return []


def file_system(directory: Path, mounts: Path) -> str:
    """The type of the file system that a directory is on, from the longest mount point above it; empty: not known."""
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
        real = os.path.realpath(directory)
    except OSError:
        return ""
    best, kind = "", ""
    for fields in (line.split(" ") for line in lines):
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ")
        above = real == point or real.startswith(point.rstrip("/") + "/")
        if above and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


# --- ports


def listener(name: str, address: str, own: SpiffeId | None) -> tuple[list[Finding], bool]:
    """Whether an address can be listened on, and whether this very gateway does already.

    `own`: its identity, by which a gateway that runs is known; None where its certificate cannot be read.
    """
    host, _, port = address.rpartition(":")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    except OSError as error:
        what = f"`{name}` is no address of a machine: {error.strerror or error}"
        return [problem(PORT, address, what, f"Correct `{name}.listen`.")], False
    with socket.socket(family, kind, protocol) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(place)
            trial.listen(1)
        except OSError as error:
            return _taken(name, address, error, own, place)
    return [ok(PORT, address, f"free for `{name}`")], False


def _taken(name: str, address: str, error: OSError, own: SpiffeId | None, place: object) -> tuple[list[Finding], bool]:
    match error.errno:
        case errno.EADDRINUSE:
            if own is not None and answers_as(place) == own:
                return [ok(PORT, address, f"this gateway runs, and listens for `{name}`")], True
            what = f"another program listens there, where `{name}` should"
            return [problem(PORT, address, what, f"End it (`ss -ltnp` names it), or change `{name}.listen`.")], False
        case errno.EADDRNOTAVAIL:
            what = f"the address for `{name}` is none of this machine's"
            return [problem(PORT, address, what, f"Correct `{name}.listen`; `ip address` lists them.")], False
        case errno.EACCES:
            what = f"this user may not listen there for `{name}`"
            return [problem(PORT, address, what, "Use a port from 1024 on, or let the service bind low ports.")], False
        case _:
            what = f"`{name}` cannot be listened for: {error.strerror}"
            return [problem(PORT, address, what, f"Change `{name}.listen`.")], False


def answers_as(place: object, patience_s: float = 1.0) -> SpiffeId | None:
    """The identity in the certificate that a TLS server shows, unverified: it says who, and is believed by nobody."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection(place[:2], timeout=patience_s) as raw,  # type: ignore[index]  # an INET address
            context.wrap_socket(raw) as wrapped,
        ):
            shown = wrapped.getpeercert(binary_form=True)
        return None if shown is None else SpiffeId.from_certificate(x509.load_der_x509_certificate(shown))
    except (OSError, ValueError, IdentityError):
        return None
