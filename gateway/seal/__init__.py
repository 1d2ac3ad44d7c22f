"""Sealing: who can read an entry, and what proves a part of it.

`entry` lays out the bytes of an entry, `commitment` the tree over its parts, `wrap` the opening of an epoch, and
`epoch` seals and opens. `keys` are the keys that readers publish; `storage` keeps payloads encrypted on a node's own
disk. Nothing here does I/O: bytes in, bytes or a `SealError` out, with randomness as an argument.
"""
