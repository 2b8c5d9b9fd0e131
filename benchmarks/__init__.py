"""Speed and quality of animup beside other upscalers for animation."""
