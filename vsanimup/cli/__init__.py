"""The command ``animup``: one file a command."""
