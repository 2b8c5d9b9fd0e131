"""Restoration and upscaling of animation for VapourSynth.

The filters are ``core.animup.Restore`` and ``core.animup.Upscale``; nothing needs importing for them.
"""
