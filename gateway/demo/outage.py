"""Outages that are staged in a replay: whose gateway is killed, when, and when it is started again. Pure.

Rules, in order: an outage begins and ends within the replay, and ends after it began; the node is one of the replay;
a gateway's outages do not overlap.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from gateway.demo.errors import DemoError


@dataclass(frozen=True, slots=True, order=True)
class Outage:
    """One gateway is gone for a part of a replay: 0 is its beginning, 1 the moment of the last report."""

    begins: float
    ends: float
    node: str


def by_node(outages: Sequence[Outage], nodes: Collection[str]) -> Mapping[str, Sequence[Outage]]:
    """The outages of each node, in order. Raises DemoError where they break a rule of this module."""
    for outage in outages:
        if outage.node not in nodes:
            raise _refused(f"There is no gateway of {outage.node} to kill", f"Name one of {', '.join(sorted(nodes))}.")
        if not 0 <= outage.begins < outage.ends <= 1:
            raise _refused(
                f"An outage of {outage.node} lasts from {outage.begins:g} to {outage.ends:g} of the replay",
                "Let it begin at 0 or later, and end after that and at 1 or before.",
            )
    grouped = {node: sorted(outage for outage in outages if outage.node == node) for node in sorted(nodes)}
    for node, own in grouped.items():
        if any(later.begins < earlier.ends for earlier, later in pairwise(own)):
            raise _refused(f"Two outages of {node} overlap", "Let one begin when the other has ended.")
    return grouped


def _refused(what: str, mend: str) -> DemoError:
    return DemoError(what, where="outages of a replay", mend=mend)
