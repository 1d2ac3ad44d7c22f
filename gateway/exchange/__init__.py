"""Gateway to gateway: partners follow the ledgers that this node keeps for them, and this node follows theirs.

`server` answers partners who dial; `follower` dials (`dialling`). Both open with the challenge (`handshake`), and
neither believes anything but signatures by keys in the partner's trust bundle (`partners`).

- bundles and keys: `in_band`, `own_bundle`, `bundle_record`, `rotation`, `signed_anew`;
- what goes over the streams: `heartbeat`, `keeping_back`, `allowance`;
- comparing ledgers: `inspecting`, `reconciling`.
"""
