"""Unix sockets at which a tunnel meets this process's own gRPC: a directory that only this user can enter.

What goes through a tunnel is an ordinary connection of gRPC. At the end that opened the tunnel a channel dials a socket
here; at the other end the tunnel connects to the listener of partners, at a further port of it. It does so from a
socket with a name, which gRPC gives as the peer: so the listener knows that a stream is carried, from whom, and by
whom.

The directory is locked while its process lives. What processes that were killed left behind, the next one removes.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

from gateway.seal.tunnel import Ends

Served = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_SCHEME: Final = "unix:"
_PREFIX: Final = "sf-"
_LOCK: Final = "lock"


class Sockets:
    """The directory, and which connection came through which tunnel. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        # Short, for the name of such a socket has at most 107 bytes.
        _remove_abandoned(Path(tempfile.gettempdir()))
        self._directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock = (self._directory / _LOCK).open("xb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._next = 0
        self._arrivals: dict[str, Ends] = {}

    @property
    def listener(self) -> str:
        """The further address of the listener of partners, as gRPC takes it."""
        return f"{_SCHEME}{self._directory / 'exchange'}"

    def arrived(self, peer: str) -> Ends | None:
        """By which tunnel a stream of this peer (`ServicerContext.peer`) came; None where it came by none."""
        return self._arrivals.get(peer)

    @staticmethod
    def is_local(peer: str) -> bool:
        """Whether a peer came by such a socket."""
        return peer.startswith(_SCHEME)

    @contextlib.asynccontextmanager
    async def listening(self, serve: Served) -> AsyncIterator[str]:
        """A socket of which each connection is given to `serve`; gives its address, as gRPC takes it."""
        path = self._fresh()
        server = await asyncio.start_unix_server(serve, path)
        try:
            yield f"{_SCHEME}{path}"
        finally:
            server.close()
            path.unlink(missing_ok=True)

    async def connect(self, ends: Ends) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Callable[[], None]]:
        """A connection to the listener of partners, for what came through a tunnel between these ends. The last that is
        returned is to be called when it has ended. Raises OSError.
        """
        path = self._fresh()
        own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            own.setblocking(False)
            own.bind(str(path))
            # The name stays with the connection; the file is needed no more.
            os.unlink(path)
            peer = f"{_SCHEME}{path}"
            self._arrivals[peer] = ends
            try:
                await asyncio.get_running_loop().sock_connect(own, self.listener.removeprefix(_SCHEME))
                reader, writer = await asyncio.open_unix_connection(sock=own)
            except BaseException:  # also where it is cancelled: nobody may be taken for one who came by this tunnel
                del self._arrivals[peer]
                raise
        except BaseException:  # however it ends, the socket is not left open; what ended it goes on
            own.close()
            raise

        def done() -> None:
            self._arrivals.pop(peer, None)

        return reader, writer, done

    def _fresh(self) -> Path:
        self._next += 1
        return self._directory / str(self._next)

    def close(self) -> None:
        """Removes the directory."""
        shutil.rmtree(self._directory, ignore_errors=True)
        self._lock.close()


def _remove_abandoned(parent: Path) -> None:
    """Removes the directories of this user's processes that are gone: nobody holds their locks any more."""
    for directory in parent.glob(f"{_PREFIX}*"):
        # A link, or what belongs to somebody else, is left alone; so is what was made just now and has no lock yet.
        with contextlib.suppress(OSError):
            if directory.is_symlink() or directory.stat().st_uid != os.getuid():
                continue
            with (directory / _LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(directory, ignore_errors=True)
