"""Every parser that is fuzzed, by name."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.fuzz.target import Target
from tests.fuzz.targets import identity, ledger, national, sealed

TARGETS: Final[Mapping[str, Target]] = {
    target.name: target for target in (*ledger.TARGETS, *sealed.TARGETS, *identity.TARGETS, *national.TARGETS)
}

CORPUS: Final = Path(__file__).parent / "corpus"
"""What reached something new, a directory a target."""

FINDINGS: Final = Path(__file__).parent / "findings"
"""What once did what it should not, a directory a target."""


def kept(directory: Path, target: Target) -> list[Path]:
    """The files of a target in the corpus, or among the findings."""
    return sorted(path for path in (directory / target.name).glob("*") if path.is_file())


@functools.cache
def seeds_of(name: str) -> tuple[bytes, ...]:
    """Where the search of a target begins, the same in one process: what it takes, and what was kept in the corpus."""
    target = TARGETS[name]
    return (*target.seeds(), *(path.read_bytes() for path in kept(CORPUS, target)))
