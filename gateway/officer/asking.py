"""What an officer may ask for: everything that is wrong with a request is said before anything is looked at.

Rules, in order, each with where it was broken and how to mend it:

1. A report is named by a UUID (RFC 9562) in its 36-character lower-case form.
2. A node is named by an ISO 3166-1 alpha-3 code; the originator may be left out for this node.
3. A partner is one that the configuration names, where one is needed.
4. A page has 1 to 1000 entries, and its token is at most `MAX_TOKEN` bytes; whose it is, the search says.
5. A place in the decisions ledger is of a generation that there is, and not beyond its end.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import Final

from signalfire.v1 import officer_pb2

from gateway.audit.explaining import Question
from gateway.ledger.origin import MAX_GENERATION
from gateway.reports.fields import quoted
from policy.countries import NODE_CODES

DEFAULT_PAGE: Final = 100
"""Entries of a page where none is asked for: a screen or two."""

MAX_PAGE: Final = 1000
"""Most entries of a page: some hundred kilobytes as a rule, and a bounded time to read."""

MAX_TOKEN: Final = 4096
"""Bytes of the longest page token that is looked at."""


class AskError(Exception):
    """A request that makes no sense; the text says what is wrong, where, and how to mend it."""


def question_of(
    request: officer_pb2.ExplainDecisionRequest | officer_pb2.GetProofRequest, node: str, partners: Collection[str]
) -> Question:
    """The report that is asked about, at `node`. Raises AskError."""
    report_id = _report_id(request.report_id)
    originator = request.originator_node
    if originator and originator not in NODE_CODES:
        raise AskError(f"originator_node: {quoted(originator)} is no ISO 3166-1 alpha-3 code; give one, such as JPN")
    partner = request.partner
    if isinstance(request, officer_pb2.GetProofRequest) or partner:
        partner = partner_of(partner, partners)
    return Question(report_id, "" if originator == node else originator, partner)


def partner_of(partner: str, partners: Collection[str]) -> str:
    """The partner, who is one of this node. Raises AskError."""
    if partner not in partners:
        known = ", ".join(sorted(partners)) or "nobody"
        raise AskError(f"partner: {quoted(partner)} is no partner of this node; name one of them: {known}")
    return partner


def page_size_of(request: officer_pb2.SearchDecisionsRequest) -> int:
    """How many entries a page may have. Raises AskError."""
    if request.page_size > MAX_PAGE:
        raise AskError(f"page_size: {request.page_size} is more than {MAX_PAGE}; ask for fewer, and for further pages")
    if len(request.page_token) > MAX_TOKEN:
        raise AskError(f"page_token: {len(request.page_token)} bytes are none of this gateway's; begin without one")
    return request.page_size or DEFAULT_PAGE


def generation_of(request: officer_pb2.WatchDecisionsRequest) -> int:
    """The generation of the decisions ledger at which a watch begins. Raises AskError."""
    if request.generation > MAX_GENERATION:
        raise AskError(f"generation: {request.generation} is no number of a generation; leave it out for the first")
    return request.generation or 1


def _report_id(text: str) -> uuid.UUID:
    try:
        found = uuid.UUID(text)
    except ValueError:
        found = None
    if found is None or str(found) != text:
        raise AskError(
            f"report_id: {quoted(text)} is not a UUID in its 36-character lower-case form; give it as the report has it"
        )
    return found
