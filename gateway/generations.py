"""Which generations of its own ledgers a node has opened, beside the store: for the day on which the store is lost.

A store that is gone, or an older copy of it, does not know the newest generation that partners hold, and would open it
once more, with another history. So the number is written to a small file of its own before anything is written to the
generation. Rules, in order:

1. The file names of each line of ledgers the highest generation that was ever to be opened, as an origin line. It never
   goes back, whatever the store says. A number that was written and then not used is passed over one day, harmlessly.
2. Such a line ends with BEGUN until the commit that opens the generation is known to be durable: as soon as it is, or,
   where that was in doubt, once the store is open again and holds the generation. So a store that does not know a
   generation without that word was set back. One that does not know a generation with it may have been, if the node
   stopped in between; or the opening was interrupted and nothing is lost. The two look the same from here.
3. It is a help and no condition: where it cannot be written the generation opens all the same, for alerts come first,
   and the log says so.
4. It holds no secret, and nothing in it is believed of ledgers of others.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from gateway.identity.private_files import MAX_FILE_SIZE, write_private
from gateway.ledger.errors import OriginError, StoreError
from gateway.ledger.origin import Origin

log = logging.getLogger(__name__)

FILE: Final = "generations"
"""Name of the file, in the directory of the store."""

BEGUN: Final = " begun"
"""What a line ends with while nothing shows that the generation was opened."""


class Generations:
    """The file of one node. One thread at a time."""

    def __init__(self, store: Path, node: str) -> None:
        self._path = store.with_name(FILE)
        self._node = node

    def known(self) -> tuple[Origin, ...]:
        """The highest generation of each own line that has had more than one, open or begun. Raises StoreError where
        the file does not read, which leaves it as it is.
        """
        return highest_of([*self.opened(), *self.begun()])

    def opened(self) -> tuple[Origin, ...]:
        """The highest generation of each own line that was opened. Raises StoreError likewise."""
        opened, _ = self._all()
        return tuple(origin for origin in opened if origin.owner == self._node)

    def begun(self) -> tuple[Origin, ...]:
        """Those above it of which no more is known than that they were begun. Raises StoreError likewise."""
        _, begun = self._all()
        return tuple(origin for origin in begun if origin.owner == self._node)

    def begin(self, opening: Iterable[Origin]) -> None:
        """Takes note of generations that are about to open. Raises nothing: what fails is told in the log."""
        self._note((), opening)

    def keep(self, opened: Iterable[Origin]) -> None:
        """Takes note of generations that are open, durably. Raises nothing: what fails is told in the log."""
        self._note(opened, ())

    def _note(self, opened: Iterable[Origin], begun: Iterable[Origin]) -> None:
        try:
            before = self._all()
            after = _told_apart([*before[0], *_further(opened)], [*before[1], *_further(begun)])
            if after != before:
                lines = [*map(str, after[0]), *(f"{origin}{BEGUN}" for origin in after[1])]
                write_private(self._path, "".join(f"{line}\n" for line in sorted(lines)).encode("ascii"))
        except (StoreError, OSError) as error:
            log.critical(
                "%s: which generations of the own ledgers open is not on record outside of the store: %s. Were the"
                " store lost now, one of them might be opened twice. Mend or remove the file, and start again.",
                self._path, error,
            )  # fmt: skip

    def _all(self) -> tuple[frozenset[Origin], frozenset[Origin]]:
        """Of every line of the file, whoever owns it: what was opened, and what was begun."""
        try:
            with self._path.open("rb") as file:
                raw = file.read(MAX_FILE_SIZE)
        except FileNotFoundError:
            return frozenset(), frozenset()
        except OSError as error:
            raise StoreError(f"{self._path} cannot be read: {error.strerror}") from error
        try:
            lines = raw.decode("ascii").splitlines()
            return _told_apart(
                [Origin.parse(line) for line in lines if not line.endswith(BEGUN)],
                [Origin.parse(line.removesuffix(BEGUN)) for line in lines if line.endswith(BEGUN)],
            )
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


def _told_apart(opened: Iterable[Origin], begun: Iterable[Origin]) -> tuple[frozenset[Origin], frozenset[Origin]]:
    """Of each line the highest generation that was opened, and the highest that was begun, if that is above it."""
    stand = frozenset(highest_of(opened))
    return stand, frozenset(highest_of([*stand, *begun])) - stand


def _further(origins: Iterable[Origin]) -> Iterator[Origin]:
    """Of first generations there is nothing to say."""
    return (origin for origin in origins if origin.generation > 1)
