"""The AnimateLCM family: few steps of diffusion over windows of frames. Nothing here imports torch."""
