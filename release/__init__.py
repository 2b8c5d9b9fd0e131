"""Making what is published: the wheels of all platforms, by zig, and what is looked at in each of them.

    uv run --only-group release python -m release

No part of the installed package.
"""
