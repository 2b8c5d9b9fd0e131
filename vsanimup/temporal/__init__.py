"""Working in time: windows around a frame, and the scenes they must not leave."""
