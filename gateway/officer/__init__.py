"""The security officer's side."""
