"""AnimateLCM's networks."""
