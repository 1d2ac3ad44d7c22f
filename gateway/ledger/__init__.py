"""Ledgers: append-only Merkle logs, their signed checkpoints, and the proofs about them.

Pure: nothing in this room reads a clock, a file or the network, except `stores`, which keeps ledgers on disk.

- `origin`: the name of a ledger;
- `merkle`, `tiles`, `bundle`: the tree, its stored form, and its entries;
- `note`, `checkpoint`, `cosignature`: what is signed about it, by its owner and by others;
- `proof_file`: that one entry stands in it, as a file that is checked offline;
- `errors`: what can go wrong.
"""
