"""Trust bundles on record: the newest of each node, and those before it, by the root that signed them.

Rules, in order:

1. What is on record counts for one root. A node whose root has been replaced begins anew at sequence 0, whatever the
   former root, or its thief, has signed. That is an event, `root-replaced`.
2. Of one root the sequence on record never falls.
3. The last KEPT bundles of a root stay on record: a newer one need not name every key that was ever retired, and
   history is verified by the keys of its day (`known_then`).

Values of the store, `<root>` being the first 16 hexadecimal digits of SHA-256 of the root's verifier key:

==============================  ====================================================================================
`bundle JPN <root>`             the sequence of the newest, 8 bytes
`bundle-note JPN <root>`        its signed note
`bundle-note JPN <root> 7`      the note with the sequence 7; empty where it has been let go of
`bundles JPN <root>`            the sequences that are kept, joined by spaces
`bundle-roots JPN`              each root in its order: a line of the verifier key and, once replaced, POSIX seconds
`bundle JPN`, `bundle-note JPN` from before roots were told apart: they count for the root that signed the note
==============================  ====================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, TypeVar

from gateway.exchange.partners import public_keys
from gateway.identity.errors import IdentityError
from gateway.identity.trust_bundle import TrustBundle
from gateway.release.plan import Plan
from gateway.release.ranks import Rank
from gateway.release.signatory import Partner, Retired

KEPT: Final = 64
"""Bundles of one root that stay on record: at most 64 KiB each, and a few kilobytes as a rule."""

_ALWAYS: Final = datetime.min.replace(tzinfo=UTC)
"""For reading what was believed in its time, whether it has expired or not."""

Meta = Callable[[str], bytes | None]
"""The store's own values by key."""

K = TypeVar("K")


def _tag(root: str) -> str:
    return sha256(root.strip().encode("utf-8")).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class BundleRecord:
    """What a store has on record of trust bundles."""

    meta: Meta

    def sequence(self, node: str, root: str) -> int:
        """The sequence of the newest bundle of `node` under `root`, a verifier key; 0 where there is none."""
        recorded = self.meta(f"bundle {node} {_tag(root)}")
        if recorded is None and self._is_of_before(node, root):
            recorded = self.meta(f"bundle {node}")
        return int.from_bytes(recorded or b"")

    def note(self, node: str, root: str) -> bytes | None:
        """That bundle itself."""
        note = self.meta(f"bundle-note {node} {_tag(root)}")
        if note is None and self._is_of_before(node, root):
            note = self.meta(f"bundle-note {node}")
        return note

    def holds(self, node: str, root: str, note: bytes) -> bool:
        """Whether this bundle is on record as the newest."""
        return self.meta(f"bundle-note {node} {_tag(root)}") == note

    def roots(self, node: str) -> list[tuple[str, int | None]]:
        """The roots that were pinned for `node` in their order, each with the time at which it was replaced."""
        lines = (self.meta(f"bundle-roots {node}") or b"").decode("utf-8").splitlines()
        parts = [line.split(" ") for line in lines]
        return [(root, int(until[0]) if until else None) for root, *until in parts]

    def bundles(self, node: str, root: str) -> list[TrustBundle]:
        """The bundles that are kept of one root, the oldest first. What that root has not signed is left out."""
        tag, found = _tag(root), []
        for sequence in _numbers(self.meta(f"bundles {node} {tag}")):
            opened = _opened(self.meta(f"bundle-note {node} {tag} {sequence}") or b"", node, root)
            if opened is not None:
                found.append(opened)
        return found

    def _is_of_before(self, node: str, root: str) -> bool:
        """Whether what was recorded without a root counts for this one."""
        note = self.meta(f"bundle-note {node}")
        return note is None or _opened(note, node, root) is not None


@dataclass(frozen=True, slots=True)
class TakeUp:
    """The step that puts a bundle on record. `root` is the verifier key under which it was opened."""

    bundle: TrustBundle
    note: bytes
    root: str
    how: str
    weight: int = 0
    rank: Rank = Rank.OWN

    def apply(self, plan: Plan) -> None:
        """Records it, unless a newer one of the same root has been recorded meanwhile."""

        def meta(key: str) -> bytes | None:
            planned = plan.commit.meta.get(key)
            return plan.store.meta(key) if planned is None else planned

        record, node, root = BundleRecord(meta), self.bundle.node, self.root.strip()
        if record.sequence(node, root) > self.bundle.sequence:
            return
        self._note_root(plan, record, node, root)
        plan.record_event(
            "bundle-taken-up",
            f"trust bundle of {node}, sequence {self.bundle.sequence}, expires {self.bundle.expires.isoformat()},"
            f" {self.how}",
            [],
        )
        tag, sequence = _tag(root), self.bundle.sequence
        kept = list(dict.fromkeys([*_numbers(meta(f"bundles {node} {tag}")), sequence]))
        for gone in kept[:-KEPT]:
            plan.commit.meta[f"bundle-note {node} {tag} {gone}"] = b""
        plan.commit.meta[f"bundles {node} {tag}"] = " ".join(map(str, kept[-KEPT:])).encode("ascii")
        plan.commit.meta[f"bundle-note {node} {tag} {sequence}"] = self.note
        plan.commit.meta[f"bundle-note {node} {tag}"] = self.note
        plan.commit.meta[f"bundle {node} {tag}"] = sequence.to_bytes(8)

    def _note_root(self, plan: Plan, record: BundleRecord, node: str, root: str) -> None:
        roots = record.roots(node)
        if roots and roots[-1][0] == root:
            return
        now_s = plan.now_ns // 1_000_000_000
        roots = [(each, now_s if until is None else until) for each, until in roots]
        unnamed = not roots and record.meta(f"bundle-note {node}") is not None and record.sequence(node, root) == 0
        if roots or unnamed:
            before = roots[-1][0] if roots else "one of before"
            plan.record_event(
                "root-replaced",
                f"the pinned root of {node} is {root}, and was {before}: its bundles count from sequence 0",
                [],
            )
        lines = [each if until is None else f"{each} {until}" for each, until in [*roots, (root, None)]]
        plan.commit.meta[f"bundle-roots {node}"] = "\n".join(lines[-KEPT:]).encode("utf-8")


def known_then(partner: Partner, record: BundleRecord, root: str) -> Partner:
    """`partner` with what bundles on record name besides: keys that were retired, for judging what is on record.

    A key that an earlier bundle of the same root names as retired stays so. The current keys of a former root count as
    retired when that root was replaced. The earliest time counts.
    """
    root = root.strip()
    for bundle in record.bundles(partner.node, root):
        partner = _with_retired(partner, public_keys(bundle), None)
    for former, until in record.roots(partner.node):
        if former == root or until is None:
            continue
        for bundle in record.bundles(partner.node, former):
            partner = _with_retired(partner, public_keys(bundle), until)
    return partner


def _with_retired(partner: Partner, then: Partner, gone: int | None) -> Partner:
    """With the retired keys of `then` and, where its root was replaced at `gone`, also its current ones."""

    def more(
        now: Iterable[K], old: Sequence[Retired[K]], then_now: Iterable[K], then_old: Iterable[Retired[K]]
    ) -> list[Retired[K]]:
        found = {one.key: one.until for one in old}
        added = [*then_old, *(() if gone is None else (Retired(key, gone) for key in then_now))]
        current = set(now)
        for one in added:
            if one.key not in current:
                found[one.key] = min(one.until, found.get(one.key, one.until))
        return [Retired(key, until) for key, until in found.items()]

    return replace(
        partner,
        retired_log=more(partner.log, partner.retired_log, then.log, then.retired_log),
        retired_receipt=more(partner.receipt, partner.retired_receipt, then.receipt, then.retired_receipt),
        retired_pq=more(partner.pq, partner.retired_pq, then.pq, then.retired_pq),
    )


def _opened(note: bytes, node: str, root: str) -> TrustBundle | None:
    try:
        bundle = TrustBundle.open(note, root, now=_ALWAYS)
    except IdentityError:
        # Another root's, or nothing any more.
        return None
    return bundle if bundle.node == node else None


def _numbers(raw: bytes | None) -> list[int]:
    return [int(word) for word in (raw or b"").decode("ascii").split()]
