"""One run at a time on a CUDA device: inputs in, the computation, outputs out; the same for every way to compute."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence

from vsanimup.engines import device
from vsanimup.engines.base import Feed, Result
from vsanimup.engines.buffers import Buffer, Kept
from vsanimup.errors import AnimupError

Shapes = Mapping[str, tuple[int, ...]]


class Lane(ABC):
    """A stream, and buffers for the inputs and outputs in the shapes of the last run.

    Used by one thread at a time, on its device, which must be the current one also where it is made.
    """

    def __init__(self, outputs: Sequence[str], pool: device.Pool, device_id: int) -> None:
        """``outputs`` are their names; those that are kept on the device come from the ``pool``."""
        self._outputs, self._pool, self._device = outputs, pool, device_id
        self._stream = device.Stream()
        self._shapes: Shapes = {}
        self._buffers: dict[str, Buffer] = {}

    def run(self, inputs: Mapping[str, Feed | Kept], keep: Collection[str]) -> dict[str, Result]:
        """As :meth:`vsanimup.engines.base.Engine.run`, of arrays that are in main memory or on this device."""
        self._prepare({name: tuple(value.shape) for name, value in inputs.items()})
        outputs = {name: self._buffers[name] for name in self._outputs}
        kept: dict[str, Kept] = {}
        try:
            for name, value in inputs.items():
                self._buffers[name].feed(self._stream, value)
            self._compute()
            for name, buffer in outputs.items():
                if name in keep:
                    kept[name] = buffer.keep(self._stream, self._pool, self._device)
                else:
                    buffer.bring(self._stream)
        finally:
            self._stream.wait()  # nothing that is let go may be in use
        return {name: kept[name] if name in kept else buffer.fetch() for name, buffer in outputs.items()}

    def _prepare(self, shapes: Shapes) -> None:
        if shapes == self._shapes:
            return
        # freed before there are others; and whatever fails on the way, the next run begins here
        self._shapes, self._buffers = {}, {}
        self._bind(shapes)
        self._shapes = shapes

    @abstractmethod
    def _bind(self, shapes: Shapes) -> None:
        """Fill ``_buffers`` for these shapes of the inputs, and have the computation use them.

        Raises :class:`vsanimup.errors.AnimupError` where they do not fit.
        """

    @abstractmethod
    def _compute(self) -> None:
        """From the inputs' buffers, which the stream is filling, to the outputs', which it is asked for next.

        Raises :class:`vsanimup.errors.AnimupError` when it fails.
        """


def refuse_others(inputs: Mapping[str, object], wanted: Collection[str], whose: str) -> None:
    """Raise :class:`vsanimup.errors.AnimupError` for inputs of other names; ``whose`` names the engine."""
    if set(inputs) != set(wanted):
        raise AnimupError(f"{whose} takes {', '.join(sorted(wanted))}, got {', '.join(sorted(inputs))}")
