"""Tunnels between two nodes through a third one that can read nothing of them (docs/relay.md)."""
