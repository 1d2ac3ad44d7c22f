"""What can go wrong in sealing.

Every error of this room is a `SealError`; catch that to treat an entry as unopenable, or a branch to tell why::

    SealError
    ├── EntryError        the bytes are not an entry, or not one that can stand at its index
    ├── OpenError         a well-formed entry (or a stored blob) that cannot be opened
    │   └── StorageKeyMissing   a stored blob names a storage key that is not held
    ├── CommitmentError   parts that are malformed, or that are not what the entry committed to
    ├── WrapError         a content key cannot be wrapped for a reader, or unwrapped by one
    │   └── SealingKeyMissing   it is wrapped for no sealing key that is held
    ├── PayloadTooLarge   what is to be sealed does not fit the largest entry
    ├── NonceError        an epoch was asked to seal where it may not, so that a nonce could occur twice
    └── KeyMaterialError  a key or a random value is not of the kind and length that it must have

No message holds a key, a salt or any content.
"""

from __future__ import annotations


class SealError(Exception):
    """Anything that keeps an entry from being sealed or opened."""


class EntryError(SealError):
    """The bytes do not follow the layout of `gateway.seal.entry`."""


class OpenError(SealError):
    """The ciphertext does not open here, or what it holds breaks a rule of the plaintext."""


class StorageKeyMissing(OpenError):
    """A stored blob names a storage key that is not held here. Nothing need be wrong with the blob."""


class CommitmentError(SealError):
    """Parts break a rule of `gateway.seal.commitment`, or lead to another commitment."""


class WrapError(SealError):
    """A content key cannot be wrapped or unwrapped as asked."""


class SealingKeyMissing(WrapError):
    """A content key is wrapped for no sealing key that is held here. Nothing need be wrong with the wraps."""


class PayloadTooLarge(SealError):
    """The payload, or the list of readers, does not fit an entry."""


class NonceError(SealError):
    """The epoch may not seal at this index. Open a new epoch."""


class KeyMaterialError(SealError):
    """A key or a random value has the wrong length or form."""
