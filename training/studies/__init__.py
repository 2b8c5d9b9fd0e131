"""Experiments on the networks whose results the documentation quotes."""
