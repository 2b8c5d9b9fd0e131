"""What is wrong with a source: a blind estimate behind ``Restore(task="auto")``.

Classical measures of a few frames (`measures`), a small learned decision (`decision`) among few task mixes (`mixes`),
and the node that attaches it to the frames of a clip (`graph`).
"""

from vsanimup.diagnosis.decision import estimate
from vsanimup.diagnosis.graph import CELL, probe
from vsanimup.diagnosis.mixes import MIXES, PROPERTY

__all__ = ["CELL", "MIXES", "PROPERTY", "estimate", "probe"]
