"""Training of the network for posterised pictures, which corrects ``vsanimup/video/deband.py``."""
