"""The mix of tasks that a script asks for, and the frame property that says it."""

from __future__ import annotations

import vapoursynth as vs

from vsanimup.bridge import log
from vsanimup.diagnosis import PROPERTY, probe
from vsanimup.errors import AnimupError, shown
from vsanimup.networks.manifest import Model
from vsanimup.prompts import mix_of
from vsanimup.tasks import AUTO, CLEAN, DIAGNOSE, Diagnose, TaskMix


def asked_mix(task: str | None, prompt: str | None, model: Model) -> TaskMix | Diagnose:
    """The mix that ``task`` or ``prompt`` ask for; neither asks for a diagnosis, too.

    Raises :class:`AnimupError` for both at once, an unclear prompt, and what the model does not do.
    """
    if prompt is not None:
        if task is not None:
            raise AnimupError(f"give task or prompt, not both: got task={shown(task)} and prompt={shown(prompt)}")
        mix = mix_of(prompt)
        unknown = [name for name in mix if name not in model.tasks]
        if unknown:
            raise AnimupError(
                f"prompt={shown(prompt)} asks for {', '.join(unknown)}, which model {model.name} does not do; "
                "leave it out"
            )
        return mix
    if task is None or task == AUTO:
        # a model of somebody else's without task biases does what it does
        return DIAGNOSE if model.modulation else CLEAN
    return TaskMix.parse(task, model.tasks)


def marked(clip: vs.VideoNode, mix: TaskMix | Diagnose, function: str, model: Model) -> vs.VideoNode:
    """The clip, whose frames say the mix in force in the property ``AnimupMix``, or the one that a diagnosis tells."""
    if mix is DIAGNOSE:
        return clip.std.CopyFrameProps(probe(clip, function), props=[PROPERTY])
    log(f"{function}: {model.name}, {str(mix) or 'as the model is'}", "debug")
    return clip.std.SetFrameProps(**{PROPERTY: str(mix)})
