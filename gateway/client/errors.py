"""The errors of this room.

ClientError
└── CursorTooOld     some of what came after the cursor is not kept any more
"""

from __future__ import annotations


class ClientError(Exception):
    """The gateway refused the call for a reason that trying again does not change. The text says what to do."""


class CursorTooOld(ClientError):
    """Some of what came after the cursor was pruned, since it is older than the gateway keeps it.

    The text names the oldest cursor that still holds. Who subscribes from there, or anew without a cursor, goes on
    without what was pruned: only he can say whether he may.
    """
