"""Video: formats, samples, duplicate frames, scenes, and what is evened out."""
