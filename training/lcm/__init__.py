"""How ``animup-lcm-tiny``, a small model of AnimateLCM's kind, was made; ``README.md`` says how good it is."""
