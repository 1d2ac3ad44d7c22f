"""A commitment binds every part, in its place, and can be opened part by part."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalfire.v1.ledger_pb2 import Part, PartGroup, SealedPayload

from gateway.seal.commitment import MAX_PARTS, check, commit, disclose, disclose_parts
from gateway.seal.epoch import content_of
from gateway.seal.errors import CommitmentError
from tests.seal import reference_entry as reference
from tests.seal.parties import flipped

SALT = bytes(range(32))
LEAF = bytes(range(100, 132))

salts = st.binary(min_size=32, max_size=32)
grouped_parts = st.builds(
    lambda group, salt, content: Part(group=PartGroup.ValueType(group), salt=salt, content=content),
    st.integers(1, 255),
    salts,
    st.binary(max_size=60),
)
payloads = st.builds(lambda parts: SealedPayload(parts=parts), st.lists(grouped_parts, min_size=1, max_size=MAX_PARTS))


def reference_commitment(payload: SealedPayload) -> bytes:
    return reference.root_of(
        [part.leaf_hash or reference.leaf_of(part.group, part.salt, part.content) for part in payload.parts]
    )


@given(st.binary(max_size=2000), salts)
def test_the_commitment_of_a_whole_content_is_its_leaf_hash(content: bytes, salt: bytes) -> None:
    assert commit([Part(salt=salt, content=content)]) == reference.leaf_of(0, salt, content)


@given(payloads)
def test_the_commitment_of_several_parts_is_the_rfc_6962_root_over_them(payload: SealedPayload) -> None:
    assert commit(payload.parts) == reference_commitment(payload)


@given(payloads, st.data())
def test_any_choice_of_parts_shows_those_and_keeps_the_commitment(payload: SealedPayload, data: st.DataObject) -> None:
    positions = data.draw(st.sets(st.integers(0, len(payload.parts) - 1), min_size=1))
    disclosed = disclose_parts(payload, positions)
    check(disclosed.parts, commit(payload.parts))
    assert content_of(disclosed) == b"".join(payload.parts[i].content for i in sorted(positions))
    for position, part in enumerate(disclosed.parts):
        if position in positions:
            assert part == payload.parts[position]
        else:
            assert part == Part(leaf_hash=part.leaf_hash)


@given(payloads, st.data())
def test_a_change_anywhere_in_a_shown_part_leads_to_another_commitment(
    payload: SealedPayload, data: st.DataObject
) -> None:
    commitment = commit(payload.parts)
    position = data.draw(st.integers(0, len(payload.parts) - 1))
    part = payload.parts[position]
    match data.draw(st.sampled_from(["group", "salt", "content"])):
        case "group":
            part.group = PartGroup.ValueType(part.group % 255 + 1)
        case "salt":
            part.salt = flipped(part.salt, data.draw(st.integers(0, 255)))
        case _:
            part.content += b"\x00"
    with pytest.raises(CommitmentError, match="not the ones"):
        check(payload.parts, commitment)


def test_parts_in_another_order_lead_to_another_commitment() -> None:
    parts = [Part(group=PartGroup.PART_GROUP_DECISION, salt=SALT, content=bytes([i])) for i in range(3)]
    with pytest.raises(CommitmentError, match="not the ones"):
        check([parts[1], parts[0], parts[2]], commit(parts))


def test_disclosing_groups_shows_every_part_of_them_and_no_other() -> None:
    payload = SealedPayload(
        parts=[
            Part(group=PartGroup.PART_GROUP_SUBJECT, salt=SALT, content=b"subject"),
            Part(group=PartGroup.PART_GROUP_DECISION, salt=SALT, content=b"first"),
            Part(group=PartGroup.PART_GROUP_DECISION, salt=SALT, content=b"second"),
        ]
    )
    decisions = disclose(payload, {PartGroup.PART_GROUP_DECISION, PartGroup.PART_GROUP_THREAT})
    assert content_of(decisions) == b"firstsecond"
    check(decisions.parts, commit(payload.parts))
    # A hidden part has group 0 on the wire, and stays hidden all the same.
    with pytest.raises(CommitmentError, match="every part"):
        disclose(decisions, {PartGroup.PART_GROUP_UNSPECIFIED})


def test_what_was_disclosed_can_be_disclosed_further_but_not_back() -> None:
    payload = SealedPayload(
        parts=[Part(group=PartGroup.PART_GROUP_DECISION, salt=SALT, content=bytes([i])) for i in range(5)]
    )
    two = disclose_parts(payload, {1, 3})
    one = disclose_parts(two, {3})
    check(one.parts, commit(payload.parts))
    assert content_of(one) == b"\x03"
    for position in (1, 5, -1):
        with pytest.raises(CommitmentError, match="cannot be disclosed"):
            disclose_parts(one, {position})


def test_disclosing_leaves_the_payload_as_it_was() -> None:
    payload = SealedPayload(
        parts=[Part(group=PartGroup.PART_GROUP_DECISION, salt=SALT, content=bytes([i])) for i in range(2)]
    )
    before = payload.SerializeToString()
    disclose_parts(payload, {0})
    assert payload.SerializeToString() == before


ENVELOPE = Part(group=PartGroup.PART_GROUP_ENVELOPE, salt=SALT, content=b"x")


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [ENVELOPE] * (MAX_PARTS + 1),
        [Part(salt=SALT[:31], content=b"x")],
        [Part(salt=SALT + b"x", content=b"x")],
        [Part(content=b"x")],
        [Part()],
        [Part(salt=SALT, group=PartGroup.ValueType(256))],
        [Part(salt=SALT, group=PartGroup.ValueType(-1))],
        [Part(leaf_hash=LEAF)],
        [Part(leaf_hash=LEAF), Part(leaf_hash=LEAF)],
        [Part(leaf_hash=LEAF, salt=SALT)],
        [ENVELOPE, Part(leaf_hash=LEAF[:31])],
        [ENVELOPE, Part(leaf_hash=LEAF, salt=SALT)],
        [ENVELOPE, Part(leaf_hash=LEAF, content=b"x")],
        [ENVELOPE, Part(leaf_hash=LEAF, group=PartGroup.PART_GROUP_THREAT)],
        [ENVELOPE, Part(salt=SALT, content=b"x")],
        [Part(salt=SALT, content=b"x"), Part(leaf_hash=LEAF)],
    ],
)
def test_parts_that_break_a_rule_are_refused(parts: list[Part]) -> None:
    with pytest.raises(CommitmentError):
        commit(parts)
