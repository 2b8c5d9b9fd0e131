"""Between the native plugin and the rest of the package.

The plugin's functions (``core.animup.Restore`` and so on) arrive in `vsanimup.plugin`, and `answer` turns
their maps into Python's arguments and back. In the other direction `block_node` makes the plugin's one kind of
node: a clip computed in blocks of frames by a Python callable.

Two rules for the callables given to `block_node`: they must not request frames of any clip (a core
with one thread would wait for itself), and they must not keep views of a frame's planes.

Native code itself calls `attach` and `take_callback`.
"""

from vsanimup.bridge.calls import answer
from vsanimup.bridge.frames import FrameView, Job
from vsanimup.bridge.logs import log
from vsanimup.bridge.native import attach, functions
from vsanimup.bridge.nodes import SPAN, block_node, take_callback

__all__ = ["SPAN", "FrameView", "Job", "answer", "attach", "block_node", "functions", "log", "take_callback"]
