from __future__ import annotations

import pytest

from policy.countries import ASSIGNED, NODE_CODES, UNKNOWN, USER_ASSIGNED


def test_iso_3166_1_assigns_249_codes() -> None:
    assert len(ASSIGNED) == 249
    assert all(len(code) == 3 and code.isascii() and code.isupper() for code in ASSIGNED)


def test_iso_3166_1_leaves_1092_codes_to_its_users() -> None:
    assert len(USER_ASSIGNED) == 26 + 14 * 26 + 26 * 26 + 26
    assert USER_ASSIGNED.isdisjoint(ASSIGNED)


@pytest.mark.parametrize("code", ["AAA", "AAZ", "QMA", "QZZ", "XAA", "XZZ", "ZZA", "ZZZ"])
def test_the_ends_of_the_user_assigned_ranges_belong_to_them(code: str) -> None:
    assert code in USER_ASSIGNED
    assert code in NODE_CODES


@pytest.mark.parametrize("code", ["ABA", "QLZ", "RAA", "WZZ", "YAA", "ZYZ", "SUN", "YUG", "ANT", "EUE", UNKNOWN, "jpn"])
def test_codes_outside_withdrawn_or_reserved_name_no_node(code: str) -> None:
    assert code not in NODE_CODES


@pytest.mark.parametrize("code", ["JPN", "KOR", "PRK", "USA", "AUS", "DEU", "TUR", "SSD", "MKD"])
def test_nations_are_there(code: str) -> None:
    assert code in ASSIGNED
