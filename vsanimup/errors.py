"""The error that a script author is meant to see."""


class AnimupError(ValueError):
    """A mistake in arguments, models or source that its text names along with the remedy.

    Raised anywhere below a filter function, its text becomes the VapourSynth error as it stands;
    any other exception is reported as an internal error, with its traceback in the log.
    """


class OutOfMemory(AnimupError):
    """A device has too little memory for what it was asked to do; smaller tiles may fit."""
