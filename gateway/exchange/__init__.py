"""Gateway to gateway: partners follow the ledgers that this node keeps for them, and this node follows theirs.

`server` answers partners who dial; `follower` dials (`dialling`, `attempts`). Both open with the challenge
(`handshake`), and neither believes anything but signatures by keys in the partner's trust bundle (`partners`).

- one way to a partner: `way`; its streams: `streams`, `following`, `listening`;
- bundles and keys: `in_band`, `own_bundle`, `bundle_record`, `rotation`, `signed_anew`;
- what goes over the streams: `heartbeat`, `beating`, `keeping_back`, `allowance`; what does not come: `owed`;
- comparing ledgers: `inspecting`, `reconciling`; giving lost ones back: `giving_back`, `fetching`;
- ways through a third nation: the room `tunnels`.
"""
