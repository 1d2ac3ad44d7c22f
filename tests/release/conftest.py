"""Nodes that are closed when their test ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.release.world import MakeSite, Site


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[MakeSite]:
    sites: list[Site] = []

    def make(node: str = "JPN", name: str = "") -> Site:
        sites.append(Site(node, tmp_path / f"{name or node}.sqlite"))
        return sites[-1]

    yield make
    for site in sites:
        site.close()


@pytest.fixture
def jpn(make_site: MakeSite) -> Site:
    return make_site("JPN")


@pytest.fixture
def kor(make_site: MakeSite) -> Site:
    return make_site("KOR")


@pytest.fixture
def usa(make_site: MakeSite) -> Site:
    return make_site("USA")
