"""The networks as torch modules. Training, export and benchmarks import them, nothing else does."""
