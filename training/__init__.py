"""How the shipped weights were made: corpus, moving pictures, degradations, clip files, training."""
