"""The networks: what a model folder says, and a folder for each family."""
