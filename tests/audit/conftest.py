"""Nodes that are closed when their test ends: those of the tests of the one way of a report."""

from __future__ import annotations

from tests.release.conftest import jpn, kor, make_site

__all__ = ["jpn", "kor", "make_site"]
