"""The national side: C2 systems push reports and receive what partners released."""
