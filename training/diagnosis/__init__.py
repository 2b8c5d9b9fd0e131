"""What decides which tasks a source needs: examples from the clip files, and the training on them."""
