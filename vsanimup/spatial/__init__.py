"""Working in space: tiles and their feathered seams."""
