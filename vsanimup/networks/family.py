"""What every family of networks answers: the filters and the command line ask no more of a network than this."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import vapoursynth as vs

from vsanimup.errors import AnimupError, shown
from vsanimup.tasks import AUTO, CLEAN, TaskMix

if TYPE_CHECKING:
    from vsanimup.engines.tensorrt.plans import Request


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a script asks of a filter."""

    function: str
    """Name of the filter, for errors and the log."""
    scale: int
    """Enlargement; 1 restores."""
    target: vs.VideoFormat
    """Format of the result."""
    values: Mapping[str, Any]
    """Values of all arguments of the filter, by name, each in its range; ``None`` where the network is to choose."""
    given: frozenset[str]
    """Names of those that the script gave itself."""

    @property
    def model(self) -> str:
        """What ``model=`` says, for errors."""
        return shown(self.values["model"])

    def get(self, name: str) -> Any:
        """An argument's value if the script gave it, else ``None``."""
        return self.values[name] if name in self.given else None

    def refuse_precision(self) -> None:
        """Raise :class:`AnimupError` where ``precision`` is given to a network that has the one of its export."""
        if self.values["precision"] != "auto":
            raise AnimupError(
                f"precision={shown(self.values['precision'])}: model={self.model} has the precision that it was "
                "exported with; leave precision out"
            )


@dataclass(frozen=True, kw_only=True)
class Build:
    """Engines that are to be there before a filter asks for them."""

    sizes: Sequence[tuple[int, int]]
    """Width and height of the frames that the filter will be given."""
    most: int
    """Bytes that a tile may take."""
    precision: str = "auto"
    scale: int = 2
    """Enlargement, where the network leaves it open."""
    task: str | None = None
    memory: float = 0.0
    anchor: int = 4

    def mix(self, known: Sequence[str]) -> TaskMix:
        """The mix of a network's tasks that ``task`` names. Raises :class:`AnimupError` where there is none."""
        if not self.task:
            return CLEAN
        if self.task == AUTO or not known:
            why = "it is told clip by clip" if known else "the model has no tasks"
            raise AnimupError(f"task={shown(self.task)}: {why}; name the tasks to build for, or leave it out")
        return TaskMix.parse(self.task, known)


class Network(Protocol):
    """A network that was found and opened."""

    @property
    def kind(self) -> str:
        """Its family's name in manifests."""
        ...

    def node(self, clip: vs.VideoNode, call: Call) -> vs.VideoNode:
        """``clip`` through the network as the script asks for.

        Raises :class:`AnimupError` for what cannot work.
        """
        ...

    def requests(self, build: Build) -> Iterator[Request]:
        """The engines that :meth:`node` will ask for. Raises as it."""
        ...


def as_it_is(clip: vs.VideoNode, target: vs.VideoFormat) -> vs.VideoNode:
    """The clip itself, in the format of the result."""
    return clip if target.id == clip.format.id else clip.resize.Bicubic(format=target.id)
