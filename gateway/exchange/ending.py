"""How a stream that a partner opened is ended by this node."""

from __future__ import annotations

import grpc


class StreamEnded(Exception):
    """A stream is ended with a gRPC status and a sentence that says why."""

    def __init__(self, code: grpc.StatusCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
