"""Training of the lite networks."""
