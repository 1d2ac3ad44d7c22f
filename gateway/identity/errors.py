"""The errors of this room.

IdentityError               what was wrong, where, and how to mend it; `code` tells them apart
├── SpiffeIdError           a text or certificate does not hold exactly one well-formed identity
├── PeerError               a certificate or connection is not believed
├── TrustBundleError         a trust bundle is not believed
├── ChallengeError          the other side of an exchange did not prove who it is
├── SecretFileError         a secret on disk is missing, exposed, or of another kind
│   └── LockError           keys at rest cannot be unlocked, or locked
├── CredentialsError        TLS credentials cannot be built
└── IssueError              a certificate or bundle cannot be issued as asked
"""

from __future__ import annotations

from enum import StrEnum


class Refusal(StrEnum):
    """Why an identity was refused. The values are stable: they appear in logs and metrics."""

    MALFORMED_ID = "malformed_id"
    MALFORMED_CERTIFICATE = "malformed_certificate"
    UNTRUSTED_ISSUER = "untrusted_issuer"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    REVOKED = "revoked"
    WRONG_ROLE = "wrong_role"
    WRONG_PURPOSE = "wrong_purpose"
    WRONG_NODE = "wrong_node"
    INSECURE_TRANSPORT = "insecure_transport"
    BAD_SIGNATURE = "bad_signature"
    MALFORMED_BUNDLE = "malformed_bundle"
    STALE_SEQUENCE = "stale_sequence"
    MALFORMED_CHALLENGE = "malformed_challenge"
    REFLECTED = "reflected"
    MISSING = "missing"
    EXPOSED = "exposed"
    WRONG_KIND = "wrong_kind"
    MALFORMED_FILE = "malformed_file"
    MISMATCHED_PAIR = "mismatched_pair"
    ALREADY_THERE = "already_there"
    BAD_REQUEST = "bad_request"
    LOCKED = "locked"


class IdentityError(Exception):
    """An identity, or something that should prove one, was refused.

    Never carries secret bytes: `what`, `where` and `mend` may be shown to an operator and logged.
    """

    def __init__(self, code: Refusal, what: str, *, where: str, mend: str) -> None:
        super().__init__(f"{what} ({where}). {mend}")
        self.code = code
        self.what = what
        self.where = where
        self.mend = mend


class SpiffeIdError(IdentityError):
    """A text or certificate does not hold exactly one well-formed SPIFFE ID of ours."""


class PeerError(IdentityError):
    """A peer's certificate or connection is not believed."""


class TrustBundleError(IdentityError):
    """A trust bundle is not believed."""


class ChallengeError(IdentityError):
    """The other side of an exchange did not prove who it is."""


class SecretFileError(IdentityError):
    """A secret on disk is missing, exposed to others, or not of the kind asked for."""


class LockError(SecretFileError):
    """Keys at rest cannot be unlocked, or locked, with what was given."""


class CredentialsError(IdentityError):
    """TLS credentials cannot be built from what is there."""


class IssueError(IdentityError):
    """A certificate, key or bundle cannot be issued as asked."""
