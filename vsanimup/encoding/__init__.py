"""Encoders, what they must be told of a video, and vspipe, which feeds them."""
