"""Who is who: SPIFFE IDs, certificates, trust bundles, the opening challenge, and a node's secret files.

`tls13` must be imported before `grpc` is (see there).

- values in, values or an `IdentityError` out: `spiffe`, `peer`, `trust_bundle`, `challenge`, `revocation`, `authority`;
- at the gateway: `node_keys`, `keyring`, `tls`, `national`, `standing`, `rotation`, `installing`;
- keys at rest: `private_files`, `locked`, `unlocking`, `relocking`;
- at the nation's offline root: `nation`, `issuing`, `gateway_records`, `next_bundle`, `admission`, `retirement`,
  `officer_keys`;
- at both: `issuers`.
"""
