"""Whether what a partner was sealed is what the decision let go. Pure: no I/O.

The decision names the fields that went (`Decision.fields`), those that were changed on the way (`changed`), and by the
commitment in the entry's header (`entry_commitment`) to the last bit what was sealed. Rules, in order, for the copy in
an own ledger, and the report as it was accepted:

1. It is of the kind of the report, and holds no field that the decision does not name.
2. To the report's derivations it adds one of this node at most, which names what the decision says was changed.
3. Every value that was not changed is the accepted report's. References to reports that the partner does not have may
   be missing, and so may identifiers in a correction or cancellation and that of a replacement (`policy.transform`,
   rule 2); there is none that the report does not have.
4. Where the decision names a commitment the entry of that place has it. A copy that was sealed again, into a successor,
   has another.

Of a report that is not kept any more, or is not the one that the decision names, rule 3 cannot be checked, and of rule
2 the last derivation alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from google.protobuf.message import Message
from signalfire.v1 import report_pb2

from gateway.release.groups import leaf_paths, same
from gateway.reports.kinds import kind_of
from policy.transform import keep_only

_DERIVATIONS = ("derivations.node", "derivations.fields")


@dataclass(frozen=True, slots=True)
class Said:
    """What a decision says of a release: the kind of the report, the fields that went, and those that were changed."""

    kind: str
    fields: tuple[str, ...]
    changed: tuple[str, ...]


def differences(copy: report_pb2.Report, said: Said, report: report_pb2.Report | None, node: str) -> Iterator[str]:
    """In what the copy is not what the decision says (rules 1 to 3). `report` is the accepted one, where it is kept;
    `node` is this node.
    """
    kind = kind_of(copy)
    if (kind is None) != (not said.kind) or (kind is not None and kind.value != said.kind):
        yield f"it is no {said.kind}"
        return
    beyond = leaf_paths(copy) - _named(said.fields)
    if beyond:
        yield f"it holds {', '.join(sorted(beyond))}, which the decision does not name"
    if not _derived(copy, said, report, node):
        yield "its derivations do not name what the decision says was changed"
    if report is None:
        return
    kept = _kept(said.fields, said.changed)
    ours, accepted = _only(copy, kept), _only(report, kept)
    if not _narrows(ours, accepted) or not same(ours, accepted):
        wrong = sorted(path for path in kept if not same(_only(ours, (path,)), _only(accepted, (path,))))
        yield f"its {', '.join(wrong) or 'values'} are not those of the report that was accepted"


@lru_cache(maxsize=4096)
def _named(fields: tuple[str, ...]) -> frozenset[str]:
    return frozenset((*fields, *_DERIVATIONS))


@lru_cache(maxsize=4096)
def _kept(fields: tuple[str, ...], changed: tuple[str, ...]) -> tuple[str, ...]:
    """The fields that went as they were."""
    return tuple(path for path in fields if path not in changed and path not in _DERIVATIONS)


def _only(report: report_pb2.Report, fields: tuple[str, ...]) -> report_pb2.Report:
    cut = report_pb2.Report()
    cut.CopyFrom(report)
    keep_only(cut, fields)
    return cut


def _derived(copy: report_pb2.Report, said: Said, report: report_pb2.Report | None, node: str) -> bool:
    if report is None:
        added = list(copy.derivations[-1:]) if said.changed else []
    else:
        before = len(report.derivations)
        if list(copy.derivations[:before]) != list(report.derivations):
            return False
        added = list(copy.derivations[before:])
    if len(added) > 1 or any(derivation.node != node for derivation in added):
        return False
    return tuple(path for derivation in added for path in derivation.fields) == said.changed


def _narrows(ours: report_pb2.Report, accepted: report_pb2.Report) -> bool:
    """Whether the lists that may be narrowed are; takes them, as they are in `ours`, into `accepted`."""
    lists: list[tuple[Sequence[Message | str], Sequence[Message | str]]] = [
        (ours.references, accepted.references),
        (ours.correction.report_ids, accepted.correction.report_ids),
        (ours.cancellation.report_ids, accepted.cancellation.report_ids),
    ]
    if not all(_within(some, every) for some, every in lists):
        return False
    accepted.ClearField("references")
    accepted.references.extend(ours.references)
    for content in ("correction", "cancellation"):
        if accepted.HasField(content):
            getattr(accepted, content).report_ids[:] = getattr(ours, content).report_ids
    if not ours.correction.replacement_report_id and accepted.HasField("correction"):
        accepted.correction.ClearField("replacement_report_id")
    return True


def _within(some: Iterable[Message | str], every: Iterable[Message | str]) -> bool:
    """Whether `some` are `every` one of these, in their order, with none or more left out."""
    rest = iter(every)
    return all(any(one == other for other in rest) for one in some)
