"""The search of one target by libFuzzer, in a process of its own: `python -m tests.fuzz.search TARGET OPTION...`.

What is to be watched is loaded here and nowhere before, since Atheris instruments a module as it is imported.
"""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-untyped]  # it has no types

# Not the contract: modules that register messages gain nothing from it.
with atheris.instrument_imports(include=["gateway", "policy"]):
    from tests.fuzz.every_target import TARGETS


def main(name: str, *options: str) -> None:
    """Searches; libFuzzer ends the process itself."""
    target = TARGETS[name]

    def one(data: bytes) -> None:
        target.takes(data)

    atheris.Setup([sys.argv[0], *options], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
