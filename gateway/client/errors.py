"""The error of this room."""

from __future__ import annotations


class ClientError(Exception):
    """The gateway refused the call for a reason that trying again does not change. The text says what to do."""
