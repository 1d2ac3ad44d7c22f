"""Another node's report, passed on with its originator's proof: how it is made, and how the third nation believes it.

The originator sealed the report to the node that passes it on, in groups of fields (`gateway.release.groups`), under a
commitment that stands in the clear in the entry. So the node shows the third nation that very entry, where it stands in
the originator's signed ledger, and opens of its payload only what may go.

Rules for making (`passed_on`), in order:

1. A group is opened where the copy that policy released holds all of it as it came, and no obligation touched it: a
   value that happened to stay the same is not shown to be exact. A group of which anything was kept back stays a hash.
2. Who may have the report onward is opened as far as the copy shows it, and for the partner itself in any case.
3. Every value of the copy that no opened group shows is named in a derivation of this node.
4. What cannot be proved is not passed on (`CannotBeProved`): the originator sealed it as a whole and not all of it may
   go, or in parts that are not the groups of the contract; copy and proof do not fit one entry; there is no room for a
   derivation.

Rules for believing (`verify`), in order. `carrier` is the owner of the ledger that brought it:

1. Another node than the carrier and this one is the originator, and this node has pinned its trust bundle.
2. The entry stands in a ledger of the originator for the carrier, by an inclusion proof, under a checkpoint that a
   log key of the originator signed: one that its bundle in force names as current. The carrier's own signatures on it
   say nothing. Of what is on record `verify_on_record` says until when a retired key was in use.
3. It is sealed content, and the parts that are shown are what its commitment stands for.
4. Each part that is shown holds a piece of a report of the same kind, of its own group alone; identity is among them.
5. The originator named this node among those who may have the report onward.
6. The copy holds exactly what the opened groups show. (Of the permissions the copy may show others, or none.)
7. After the derivations that the originator's identity shows comes at most one, the carrier's, and it names every other
   value of the copy.

What is proved is that the originator released these values to the carrier, and that this node may have them. That they
still stand is the carrier's word: its withdrawal follows the originator's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from signalfire.v1 import ledger_pb2, report_pb2

from gateway.ledger.checkpoint import Checkpoint, LogPublicKey, open_checkpoint
from gateway.ledger.errors import LedgerError
from gateway.ledger.merkle import leaf_hash, verify_inclusion
from gateway.ledger.origin import Origin
from gateway.release.belief import open_on_record
from gateway.release.groups import (
    IDENTITY,
    ONWARD,
    PATHS,
    WHOLE,
    Group,
    NotInGroups,
    Piece,
    cut,
    leaf_paths,
    merged,
    pieces_shown,
    same,
)
from gateway.release.signatory import Partner
from gateway.reports.derivations import MOST_DERIVATIONS
from gateway.seal.commitment import check, disclose_parts
from gateway.seal.entry import EntryKind, parse_header, require_place
from gateway.seal.epoch import MAX_CONTENT_SIZE
from gateway.seal.errors import SealError
from policy.fields import LEAVES

_EVERYTHING: Final = frozenset(LEAVES)


class CannotBeProved(Exception):
    """A report that policy released, and that cannot be passed on with a proof; the text says why."""


class NotBelieved(Exception):
    """A report that was passed on and is not believed.

    The text says which rule it breaks, and holds nothing of the content; `detail` is for this node's own log.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Passage:
    """Where another node's report stands, and what of it can be shown: its ledger, index and entry, and the payload."""

    origin: Origin
    index: int
    entry: bytes
    payload: ledger_pb2.SealedPayload

    @property
    def place(self) -> str:
        """Origin line and index, as they stand in records."""
        return f"{self.origin} {self.index}"


@dataclass(frozen=True, slots=True)
class Inclusion:
    """That an entry stands in a ledger: the RFC 6962 path, and the signed checkpoint that it leads to."""

    path: Sequence[bytes]
    checkpoint: bytes


def passed_on(
    passage: Passage,
    inclusion: Inclusion,
    report: report_pb2.Report,
    copy: report_pb2.Report,
    *,
    node: str,
    partner: str,
) -> ledger_pb2.EntryContent:
    """What `node` seals to `partner`: the `copy` that policy made of `report`, which came by `passage`, and the proof.

    Raises CannotBeProved.
    """
    bare, added = _without(copy, len(report.derivations))
    changed = frozenset(path for derivation in added for path in derivation.fields)
    pieces = _pieces(passage.payload, report)
    shown: list[int] = []
    proved: set[str] = set()
    for group in dict.fromkeys(piece.group for piece in pieces):
        of_group = [piece for piece in pieces if piece.group == group]
        paths = _paths(group)
        if changed.isdisjoint(paths) and same(cut(bare, group), cut(report, group)):
            shown += [piece.position for piece in of_group]
            proved |= paths
        elif group == WHOLE:
            raise CannotBeProved(
                f"{report.originator_node} sealed it as a whole, and not all of it may go as it is, so that nothing of"
                " it can be proved"
            )
        elif group == ONWARD:
            shown += [piece.position for piece in of_group if partner in piece.report.marking.onward_release]
    if "report_id" not in proved:
        raise CannotBeProved(f"{report.originator_node} sealed it without its identity in a part")
    released = report_pb2.Report()
    released.CopyFrom(copy)
    _own_to(released, leaf_paths(bare) - proved - changed, node, added)
    content = ledger_pb2.EntryContent(
        onward_report=ledger_pb2.OnwardReport(
            report=released,
            proof=ledger_pb2.OriginProof(
                origin=str(passage.origin),
                index=passage.index,
                entry=passage.entry,
                path=inclusion.path,
                checkpoint=inclusion.checkpoint,
                disclosed=disclose_parts(passage.payload, shown),
            ),
        )
    )
    if content.ByteSize() > MAX_CONTENT_SIZE:
        raise CannotBeProved(
            f"with its proof it has {content.ByteSize()} bytes, and an entry holds {MAX_CONTENT_SIZE}: release fewer"
            " fields"
        )
    return content


def _pieces(payload: ledger_pb2.SealedPayload, report: report_pb2.Report) -> Sequence[Piece]:
    """The parts of an entry whose content is `report`. Raises CannotBeProved."""
    try:
        pieces = pieces_shown(payload)
    except NotInGroups as error:
        raise CannotBeProved(f"{report.originator_node} did not seal it in groups of fields: {error}") from error
    if not same(merged(pieces), report):
        raise CannotBeProved(f"{report.originator_node} sealed it in parts that do not join to what they hold")
    return pieces


def _own_to(copy: report_pb2.Report, paths: set[str], node: str, added: Sequence[report_pb2.Derivation]) -> None:
    """Names `paths` in the derivation of `node`, which is the last one where it added any. Raises CannotBeProved."""
    if not paths:
        return
    if not added:
        if len(copy.derivations) >= MOST_DERIVATIONS:
            raise CannotBeProved(f"{MOST_DERIVATIONS} nodes have changed it already, as many as the contract allows")
        copy.derivations.add(node=node)
    copy.derivations[-1].fields.extend(path for path in LEAVES if path in paths)


def verify(onward: ledger_pb2.OnwardReport, *, carrier: str, node: str, partners: Mapping[str, Partner]) -> None:
    """Raises NotBelieved unless the report is its originator's, released to `carrier` and allowed onward to `node`.

    The report has been judged by itself (`gateway.reports.validate.validate_released`). `partners` are the nodes whose
    trust bundles this one has pinned and believes.
    """
    _verify(onward, carrier, node, partners, on_record=False)


def verify_on_record(
    onward: ledger_pb2.OnwardReport, *, carrier: str, node: str, partners: Mapping[str, Partner]
) -> int | None:
    """The same of a report that this node believed when it came. Returns None where a current key of the originator
    signed the checkpoint, otherwise until when the retired one was in use (POSIX seconds): it is believed where this
    node received the entry by then (`gateway.release.belief`, rule 6). Raises NotBelieved.
    """
    return _verify(onward, carrier, node, partners, on_record=True)


def _verify(
    onward: ledger_pb2.OnwardReport, carrier: str, node: str, partners: Mapping[str, Partner], *, on_record: bool
) -> int | None:
    copy = onward.report
    originator = copy.originator_node
    if originator in (carrier, node):
        raise NotBelieved("its originator is a node from or to which no report is passed on")
    pinned = partners.get(originator)
    if pinned is None:
        raise NotBelieved("its originator is not known here", f"this node has no trust bundle of {originator} in force")
    until = _verify_entry(onward.proof, carrier, pinned, on_record=on_record)
    try:
        pieces = pieces_shown(onward.proof.disclosed)
    except NotInGroups as error:
        raise NotBelieved(f"its proof is not in groups of fields: {error}") from error
    groups = {piece.group for piece in pieces}
    if groups.isdisjoint((IDENTITY, WHOLE)):
        raise NotBelieved("its proof does not show whose report it is")
    kind = copy.WhichOneof("content")
    if any(piece.report.WhichOneof("content") != kind for piece in pieces):
        raise NotBelieved("its proof is of a report of another kind")
    proof = merged(pieces)
    if node not in proof.marking.onward_release:
        raise NotBelieved("its proof does not show that its originator allowed it onward to this node")
    bare, added = _without(copy, len(proof.derivations))
    proved: set[str] = set()
    for group in groups:
        if same(cut(bare, group), cut(proof, group)):
            proved |= _paths(group)
        elif group != ONWARD:
            raise NotBelieved(f"its proof shows otherwise what it holds of group {group}")
    if len(added) > 1 or any(derivation.node != carrier for derivation in added):
        raise NotBelieved("it names changes by others than its originator and the node that passed it on")
    unproved = leaf_paths(bare) - proved - {path for derivation in added for path in derivation.fields}
    if unproved:
        raise NotBelieved(
            "it holds values that no proof shows and that are not named as derived", ", ".join(sorted(unproved))
        )
    return until


def _verify_entry(proof: ledger_pb2.OriginProof, carrier: str, pinned: Partner, *, on_record: bool) -> int | None:
    """Rules 2 and 3 for believing."""
    until = None
    try:
        origin = Origin.parse(proof.origin)
        if (origin.owner, origin.recipient) != (pinned.node, carrier):
            raise NotBelieved("its proof is of another ledger than its originator's for the node that passed it on")
        if on_record:
            checkpoint, until = open_on_record(proof.checkpoint, origin, pinned)
        else:
            checkpoint = _opened(proof.checkpoint, tuple(pinned.log), origin)
        verify_inclusion(leaf_hash(proof.entry), proof.index, checkpoint.size, proof.path, checkpoint.root)
        header = parse_header(proof.entry)
        require_place(header, proof.index)
        if header.kind is not EntryKind.SEALED_CONTENT:
            raise NotBelieved("its proof is of an entry that holds no content")
        check(proof.disclosed.parts, header.commitment)
    except (LedgerError, SealError) as error:
        raise NotBelieved("its proof does not hold", str(error)) from error
    return until


@lru_cache(maxsize=64)
def _opened(raw: bytes, keys: tuple[LogPublicKey, ...], origin: Origin) -> Checkpoint:
    """A checkpoint by one of these very keys: what was passed on together comes under one. Raises LedgerError."""
    return open_checkpoint(raw, keys, origin)[0]


def _paths(group: Group) -> frozenset[str]:
    return _EVERYTHING if group == WHOLE else frozenset(PATHS[group])


def _without(copy: report_pb2.Report, before: int) -> tuple[report_pb2.Report, Sequence[report_pb2.Derivation]]:
    """A copy as it was before derivations were added to the first `before`, and those that were."""
    bare = report_pb2.Report()
    bare.CopyFrom(copy)
    del bare.derivations[before:]
    return bare, copy.derivations[before:]
