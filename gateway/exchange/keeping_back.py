"""Runs of entries as they are served where some of them are kept back (`gateway.release.keeping`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway.ledger import bundle
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.stores import AbsentRow, KeptBackRow, Run
from gateway.release.keeping import in_words, places_in

__all__ = ["in_words", "places_in", "without"]


def without(run: Run, kept_back: Sequence[KeptBackRow]) -> Run:
    """The run with these of its entries given as their hashes, each with the signed reason on record."""
    if not kept_back:
        return run
    entries = bundle.decode(run.entries, run.count, allow_absent=True)
    absent = list(run.absent)
    pruned = {row.index for row in absent}
    for row in kept_back:
        if row.index in pruned:
            # With the same reason: it was pruned since.
            continue
        place = row.index - run.first
        absent.append(AbsentRow(row.ledger, row.index, leaf_hash(entries[place]), row.note))
        entries[place] = b""
    absent.sort(key=lambda each: each.index)
    return replace(run, entries=bundle.encode(entries, allow_absent=True), absent=absent)
