"""What the diffusion networks need at run time. Nothing here imports torch."""
