"""The record, read: searched, explained, rebuilt from its signatures, and taken out as evidence. Nothing is changed.

- `desk`, `search`, `decision_filter`, `explaining`, `rule_text`: which decisions there are, and why each fell so;
- `verify`: a whole store against entries and keys. `examining` checks each ledger, with `log_key_check`, `tile_check`,
  `statement_check`, `entry_check`, `cosignature_check`, `witnessed` and `key_history`; `comparing` holds the records
  against them, with `records`, `feed_check` and `index_check`;
- `proofs`, `proof_check`: one release as a file that is verified offline, over `stored_tree`;
- `export`, `exported`, `export_check`: ledgers as folders that other people's tools read;
- `signers`, `reconcile`: what two nations hold of the same ledgers, over `proven_tree`.
"""
