"""The witness ledger: at a fixed beat a node commits to the heads of all the ledgers that it keeps.

Every partner follows the witness ledger, keeps it as a replica that it cannot open, and cosigns it. So a node cannot
keep two histories of what it decided and released: each head stands, salted, in a ledger that others have signed.

Rules of a beat, in order:

1. A beat is one entry for each RECIPIENTS_AN_ENTRY recipients, in the order of their names; at least one. How many that
   are follows from the configuration and from the ledgers that there are, and from nothing that happens.
2. The entry's parts are of group HEADS: in the first entry one for the node's own ledgers, and one for each recipient,
   each with the heads of the current generations alone, by origin line, as of the last durable commit. A ledger without
   entries has no head. (What ended is named, with its last size and root, by the event that says so.)
3. Then follow parts of group PADDING, at least one, up to a multiple of PARTS. The last of them is filled with empty
   records until the entry has the padding class that the largest heads of these recipients need. So a beat has the same
   size whatever happened, and no part shows which of its neighbours are heads.
4. Every part has the time of the beat while the node believes its own clock, and none has one otherwise.

What a partner learns: the beats, so that the node ran; the openings of epochs, so that it was started, that a commit
was in doubt, or that its sealing key changed. Nothing else is in what travels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from google.protobuf.message import DecodeError
from signalfire.v1 import ledger_pb2

from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.errors import LedgerError
from gateway.ledger.origin import WITNESS, Lane, Origin
from gateway.release.plan import Plan
from gateway.release.ranks import Rank
from gateway.seal.commitment import SALT_SIZE
from gateway.seal.entry import PADDED_SIZES, padding_class

HEADS: Final = ledger_pb2.PART_GROUP_HEADS
PADDING: Final = ledger_pb2.PART_GROUP_PADDING

PARTS: Final = 16
"""An entry has a multiple of so many parts: a partner who is shown one learns no closer how many there are."""

RECIPIENTS_AN_ENTRY: Final = 30
"""With the node's own ledgers and one of padding they make 32 parts, half of what a payload may have, and 16 KiB."""

_FILLER: Final = ledger_pb2.EntryContent(witness_record=ledger_pb2.WitnessRecord()).SerializeToString()
"""An empty record, two bytes: merged into any other it changes nothing."""

_WORST_GENERATION: Final = 9_999_999
"""Generations for which room is kept. A ledger that had more would be seen by one padding class, once."""


class WitnessError(LedgerError):
    """An entry of a witness ledger does not hold what one must."""


MAX_INTERVAL_S: Final = 3600
"""The longest that beats may lie apart, seconds: how much may go uncommitted is also what a check has to allow."""


@dataclass(frozen=True, slots=True)
class WitnessLimits:
    """The beat of the own witness ledger, and what partners' ones may cost."""

    interval_s: float = 10.0
    """Seconds between beats: how much of the decisions could be written anew before somebody has signed for them. Each
    costs 2 to 4 KiB for ever, here and at every partner: 18 to 36 MB a day."""
    bytes_per_s: float = 8192.0
    """Bytes of one partner's witness ledger that are stored in the long run, a second: some twenty times what a node
    with a few partners needs, and 700 MB a day of one that does as it likes."""
    burst_bytes: float = float(1 << 30)
    """Bytes of one that are taken in at full speed after a start: the witness ledger of some months."""
    compare_s: float = 3600.0
    """Seconds between comparisons of third nodes' witness ledgers with each partner, half of it to all of it by chance:
    for how long a node can show two partners two histories. Each costs a dial and a few questions."""


@dataclass(frozen=True, slots=True)
class Beat:
    """Appends one beat to this node's witness ledger. `recipients` are the partners of the configuration."""

    recipients: frozenset[str]
    weight: int = 0
    rank: Rank = Rank.PRIORITY

    def apply(self, plan: Plan) -> int:
        """Seals and appends the entries. Returns the size of the ledger with them."""
        node = plan.signatory.node
        heads: dict[str | None, list[Checkpoint]] = {}
        for head in plan.heads:
            origin = head.origin
            if head.replica or origin.owner != node or origin.lane == WITNESS:
                continue
            heads.setdefault(origin.recipient, [])
            if head.edge.size and plan.heads.current(node, origin.recipient, origin.lane) == origin:
                heads[origin.recipient].append(Checkpoint(origin, head.edge.size, head.edge.root()))
        writer = plan.ledgers.witness()
        time_ns = plan.now_ns if plan.clock_trusted else None
        everybody = sorted(self.recipients | {recipient for recipient in heads if recipient is not None})
        for recipients in _chunks(everybody):
            writer.append_parts(parts_of(node, time_ns, heads, recipients))
        return writer.next_index


def _chunks(recipients: Sequence[str]) -> Iterator[Sequence[str | None]]:
    """Whose heads each entry of a beat holds; None stands for the node's own ledgers."""
    yield (None, *recipients[:RECIPIENTS_AN_ENTRY])
    for start in range(RECIPIENTS_AN_ENTRY, len(recipients), RECIPIENTS_AN_ENTRY):
        yield recipients[start : start + RECIPIENTS_AN_ENTRY]


def parts_of(
    node: str,
    time_ns: int | None,
    heads: Mapping[str | None, Sequence[Checkpoint]],
    recipients: Sequence[str | None],
) -> list[ledger_pb2.Part]:
    """The parts of one entry, without salts: the heads for these recipients, padded to the size that they need at most.

    `time_ns` is since 1970; None while the clock is not trusted.
    """
    parts = [_heads_part(time_ns, heads.get(recipient, ())) for recipient in recipients]
    _pad_parts(parts)
    smallest = PADDED_SIZES[worst - 1] - 4 if (worst := _worst_class(node, tuple(recipients))) else 0
    short = smallest + 1 - _size(parts)
    if short > 0:
        parts[-1].content = _FILLER * -(-short // len(_FILLER))
    return parts


def _heads_part(time_ns: int | None, heads: Iterable[Checkpoint]) -> ledger_pb2.Part:
    record = ledger_pb2.WitnessRecord()
    if time_ns is not None:
        record.time.FromNanoseconds(time_ns)
    for head in sorted(heads, key=lambda each: str(each.origin)):
        record.heads.add(origin=str(head.origin), size=head.size, root=head.root)
    content = ledger_pb2.EntryContent(witness_record=record).SerializeToString(deterministic=True)
    return ledger_pb2.Part(group=HEADS, content=content)


def _pad_parts(parts: list[ledger_pb2.Part]) -> None:
    parts.extend(ledger_pb2.Part(group=PADDING) for _ in range(PARTS - len(parts) % PARTS))


def _size(parts: Sequence[ledger_pb2.Part]) -> int:
    """Bytes of the payload that holds these parts once they have salts."""
    salted = [ledger_pb2.Part(group=part.group, salt=bytes(SALT_SIZE), content=part.content) for part in parts]
    return ledger_pb2.SealedPayload(parts=salted).ByteSize()


@lru_cache(maxsize=64)
def _worst_class(node: str, recipients: tuple[str | None, ...]) -> int:
    """The padding class of the largest entry that these recipients' heads can make."""

    def worst(recipient: str | None) -> Iterator[Checkpoint]:
        origins = (
            [Origin.decisions(node, _WORST_GENERATION)]
            if recipient is None
            else [Origin.release(node, recipient, lane, _WORST_GENERATION) for lane in Lane]
        )
        for origin in origins:
            yield Checkpoint(origin, 2**63 - 1, bytes(32))

    parts = [_heads_part(2**33 * 10**9 - 1, worst(recipient)) for recipient in recipients]
    _pad_parts(parts)
    return padding_class(_size(parts))


# --- reading


@dataclass(frozen=True, slots=True)
class Witnessed:
    """What one entry commits to."""

    time_ns: int | None
    """Since 1970; None: the node did not believe its own clock."""
    heads: Sequence[Checkpoint]


def read(node: str, payload: ledger_pb2.SealedPayload) -> Witnessed:
    """What an entry of the witness ledger of `node` holds. Raises WitnessError unless it follows the rules above."""
    times: set[int | None] = set()
    heads: list[Checkpoint] = []
    for position, part in enumerate(payload.parts):
        record = _record(position, part)
        if part.group == PADDING:
            if record.ByteSize():
                raise WitnessError(f"part {position} is padding, and holds something")
            continue
        times.add(record.time.ToNanoseconds() if record.HasField("time") else None)
        found = [_head(position, node, head) for head in record.heads]
        if len({head.origin.recipient for head in found}) > 1:
            raise WitnessError(f"part {position} holds heads of ledgers for several recipients")
        heads += found
    if len(payload.parts) % PARTS or not times:
        raise WitnessError(f"it has {len(payload.parts)} parts, {len(heads)} heads in them")
    if len(times) > 1:
        raise WitnessError("its parts name several times")
    if len({head.origin for head in heads}) < len(heads):
        raise WitnessError("it names a ledger twice")
    return Witnessed(times.pop(), heads)


def _record(position: int, part: ledger_pb2.Part) -> ledger_pb2.WitnessRecord:
    if part.group not in (HEADS, PADDING):
        raise WitnessError(f"part {position} is of group {part.group}, which has no place here")
    try:
        content = ledger_pb2.EntryContent.FromString(part.content)
    except DecodeError:
        raise WitnessError(f"part {position} is no EntryContent") from None
    if content.WhichOneof("content") not in (None, "witness_record"):
        raise WitnessError(f"part {position} holds {content.WhichOneof('content')}, which has no place here")
    return content.witness_record


def _head(position: int, node: str, head: ledger_pb2.LedgerHead) -> Checkpoint:
    try:
        found = Checkpoint(Origin.parse(head.origin), head.size, head.root)
    except LedgerError as error:
        raise WitnessError(f"part {position}: {error}") from error
    if found.origin.owner != node or found.origin.lane == WITNESS or not found.size:
        raise WitnessError(f"part {position} names {found.origin} of size {found.size}, which has no place here")
    return found
