"""Alters each rule and definition of the example policies in turn: docs/policy-examples.md shows what comes of it.

    PYTHONPATH=.:proto python bench/mutation.py [BUNDLE ...] [--write]

A bundle is named as in policy/examples, e.g. trilateral/jpn; without one, all are altered. Prints the tables, and the
names of mutants that are equivalent or have survived, and with --write puts the tables into the page. Ends with
status 1 where one has survived that is not listed with a reason. All of it takes a few minutes.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.policy.mutants import BUNDLES, SURVIVORS, Fate, Original, table

PAGE: Final = Path(__file__).parents[1] / "docs" / "policy-examples.md"


def altered_in_turn(original: Original) -> Mapping[str, Fate]:
    """What becomes of every mutant of a bundle, by its name."""
    fates = {}
    for mutant in original.mutants():
        fates[mutant.name] = fate = original.fate(mutant)
        if fate in (Fate.EQUIVALENT, Fate.SURVIVED):
            print(f"{fate}: {mutant.name}", flush=True)
    return fates


def write(name: str, text: str) -> None:
    """Puts a table between its marks in the page."""
    begin, end = f"<!-- mutants of {name} -->\n", "<!-- end -->"
    page = PAGE.read_text("utf-8")
    written, count = re.subn(rf"{re.escape(begin)}.*?{end}", lambda _: begin + text + end, page, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{PAGE} has no place for the mutants of {name}: add {begin!r} and {end!r}")
    PAGE.write_text(written, "utf-8")


def main() -> int:
    """Alters, prints, and writes where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundles", nargs="*", metavar="BUNDLE", help=f"one of {', '.join(BUNDLES)}; default: all")
    parser.add_argument("--write", action="store_true", help=f"write the tables into {PAGE.name}")
    asked = parser.parse_args()
    unlisted = 0
    for name in asked.bundles or BUNDLES:
        original = Original(name)
        fates = altered_in_turn(original)
        text = table(fates, original)
        print(f"{name}\n{text}", flush=True)
        survivors = {mutant for mutant, fate in fates.items() if fate is Fate.SURVIVED}
        unlisted += len(survivors - SURVIVORS.get(name, {}).keys())
        if asked.write:
            write(name, text)
    return 1 if unlisted else 0


if __name__ == "__main__":
    sys.exit(main())
