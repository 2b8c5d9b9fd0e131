"""The lite networks."""
