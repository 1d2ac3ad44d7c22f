"""Gateway to gateway: partners follow the ledgers that this node keeps for them, and this node follows theirs.

`server` answers partners who dial; `follower` dials. Both open with the challenge (`handshake`), and neither believes
anything but signatures by keys in the partner's trust bundle (`partners`).
"""
