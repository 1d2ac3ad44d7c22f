"""Who is who: SPIFFE IDs, certificates, trust bundles, the opening challenge, and a node's secret files.

`spiffe`, `peer`, `trust_bundle` and `challenge` are pure: values in, values or an `IdentityError` out.
`node_keys`, `nation` and `tls` read and write files. `tls13` must be imported before `grpc` is (see there).
"""
