"""Tiles, their feathered seams, and smaller ones where a device is out of memory."""
