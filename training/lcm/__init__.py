"""How ``animup-lcm-tiny`` was made: a small model of our own of AnimateLCM's kind, see ``README.md`` beside this."""
