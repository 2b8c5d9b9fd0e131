"""What networks are trained on: corpus, compositor, degradations, clips."""
