"""What can go wrong at a start."""

from __future__ import annotations


class StartError(Exception):
    """The gateway cannot start; the text says why and how to mend it."""
