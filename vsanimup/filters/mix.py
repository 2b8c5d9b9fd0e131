"""The mix of tasks that a script asks for, and the frame property that says it."""

from __future__ import annotations

import vapoursynth as vs

from vsanimup.bridge import log
from vsanimup.diagnosis import PROPERTY, probe
from vsanimup.errors import AnimupError, shown
from vsanimup.networks.manifest import Model
from vsanimup.prompts import mix_of
from vsanimup.tasks import AUTO, TaskMix, parse_task, spelled


def asked_mix(task: str | None, prompt: str | None, model: Model) -> TaskMix | None:
    """The mix that ``task`` or ``prompt`` ask for; ``None`` for a diagnosis, which is what neither asks for too.

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
        return tuple(mix.items())
    if task is None or task == AUTO:
        # a model of somebody else's without task biases does what it does
        return None if model.modulation else ()
    return tuple(parse_task(task, model.tasks).items())


def marked(clip: vs.VideoNode, mix: TaskMix | None, function: str, model: Model) -> vs.VideoNode:
    """The clip, whose frames say the mix in force in the property ``AnimupMix``, by a diagnosis where there is none."""
    if mix is None:
        return clip.std.CopyFrameProps(probe(clip, function), props=[PROPERTY])
    text = spelled(dict(mix))
    log(f"{function}: {model.name}, {text or 'as the model is'}", "debug")
    return clip.std.SetFrameProps(**{PROPERTY: text})
