"""Which generations of its own ledgers a node has opened, beside the store: for the day on which the store is lost.

A store that is gone, or an older copy of it, does not know the newest generation that partners hold, and would open it
once more, with another history. So the number is written to a small file of its own before anything is written to the
generation. Rules, in order:

1. The file names of each line of ledgers the highest generation that was ever opened, as an origin line. It never goes
   back, whatever the store says. A number that was written and then not used is passed over one day, harmlessly.
2. It is a help and no condition: where it cannot be written the generation opens all the same, for alerts come first,
   and the log says so.
3. It holds no secret, and nothing in it is believed of ledgers of others.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from gateway.identity.private_files import MAX_FILE_SIZE, write_private
from gateway.ledger.errors import OriginError, StoreError
from gateway.ledger.origin import Origin

log = logging.getLogger(__name__)

FILE: Final = "generations"
"""Name of the file, in the directory of the store."""


class Generations:
    """The file of one node. One thread at a time."""

    def __init__(self, store: Path, node: str) -> None:
        self._path = store.with_name(FILE)
        self._node = node

    def known(self) -> tuple[Origin, ...]:
        """The highest generation of each own line that has had more than one. Raises StoreError where the file does not
        read, which leaves it as it is.
        """
        return tuple(origin for origin in self._all() if origin.owner == self._node)

    def keep(self, opened: Iterable[Origin]) -> None:
        """Takes note of generations that open. Raises nothing: what fails is told in the log."""
        try:
            before = self._all()
            highest = highest_of([*before, *(origin for origin in opened if origin.generation > 1)])
            if set(highest) != set(before):
                lines = "".join(f"{origin}\n" for origin in sorted(highest, key=str))
                write_private(self._path, lines.encode("ascii"))
        except (StoreError, OSError) as error:
            log.critical(
                "%s: which generations of the own ledgers open is not on record outside of the store: %s. Were the"
                " store lost now, one of them might be opened twice. Mend or remove the file, and start again.",
                self._path, error,
            )  # fmt: skip

    def _all(self) -> tuple[Origin, ...]:
        try:
            with self._path.open("rb") as file:
                raw = file.read(MAX_FILE_SIZE)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise StoreError(f"{self._path} cannot be read: {error.strerror}") from error
        try:
            return highest_of(Origin.parse(line) for line in raw.decode("ascii").splitlines())
        except (OriginError, UnicodeDecodeError) as error:
            raise StoreError(f"{self._path} does not read: {error}. Remove it, if it cannot be mended.") from error


def highest_of(origins: Iterable[Origin]) -> tuple[Origin, ...]:
    """Of each line of ledgers the highest generation."""
    found: dict[tuple[str, str | None, str], Origin] = {}
    for origin in origins:
        line = origin.owner, origin.recipient, origin.lane
        if line not in found or found[line].generation < origin.generation:
            found[line] = origin
    return tuple(found.values())
