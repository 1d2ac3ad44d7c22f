"""What a partner was told before the store was lost of reports whose release to it is not on record here.

A withdrawal comes back with the ledger that it was sent in, and the release that it is of with another one, or as its
hash alone, or never. What was withdrawn must not stand again meanwhile, so it is kept in mind: by report, who was told
and when.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.ledger.errors import StoreError
from gateway.release.plan import Plan
from gateway.release.subject import Subject

_ABOUT: Final = "told before "
"""Begins the key of the store's own value about one report; the originator (`-` for this node) and the identifier, in
hexadecimal, follow. The value has a line for each partner: its name and when it was told, nanoseconds since 1970."""


def told_before(plan: Plan, subject: Subject) -> Mapping[str, int]:
    """Who was told that a report no longer stands, and when, durably or in this plan."""
    key = _key(subject)
    raw = plan.commit.meta.get(key)
    raw = plan.store.meta(key) if raw is None else raw
    try:
        lines = (line.split(" ") for line in (raw or b"").decode("ascii").splitlines())
        return {partner: int(time_ns) for partner, time_ns in lines}
    except ValueError as error:
        raise StoreError(f"who was told before that a report does not stand does not read: {error}") from error


def keep_told(plan: Plan, subject: Subject, partner: str, time_ns: int) -> None:
    """Keeps in mind that a partner was told of a report of whose release nothing is on record."""
    told = {partner: time_ns, **told_before(plan, subject)}
    plan.commit.meta[_key(subject)] = "".join(f"{name} {at}\n" for name, at in sorted(told.items())).encode("ascii")


def recalled_since(plan: Plan, subject: Subject) -> int | None:
    """Since when a report no longer stands, as the first who was told of it was told; None where nobody was."""
    times = [*told_before(plan, subject).values()]
    since_ns = plan.releases.withdrawn_since(subject)
    return min(times if since_ns is None else [*times, since_ns], default=None)


def _key(subject: Subject) -> str:
    return f"{_ABOUT}{subject.originator or '-'} {subject.report_id.hex()}"
