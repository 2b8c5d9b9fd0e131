"""Tasks: mixes, prompts and diagnosis, from the filter's arguments to the picture."""

import hashlib
from typing import Any

import numpy as np
import pytest
import vapoursynth as vs
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.clips import core, moving
from tests.helpers.frames import digest, digests
from vsanimup.errors import AnimupError
from vsanimup.networks.lite.inference import FLOAT, INT8
from vsanimup.networks.manifest import SHIPPED, open_model
from vsanimup.networks.modulation import LEVELS, Modulation, quantise_weight
from vsanimup.tasks import CLEAN, TASKS, TaskMix


@given(st.dictionaries(st.sampled_from(TASKS), st.integers(1, 100), min_size=1))
def test_any_written_mix_is_read_back(weights: dict[str, int]) -> None:
    text = " + ".join(name if weight == 100 else f"{weight / 100}*{name}" for name, weight in weights.items())
    mix = TaskMix.parse(text)
    assert mix == {name: pytest.approx(weight / 100) for name, weight in weights.items()}
    assert list(mix) == [name for name in TASKS if name in weights]
    assert TaskMix.of_property(str(mix)) == mix


@given(st.permutations(["denoise", "deblock", "lite-restore"]))
def test_a_mix_is_the_same_in_whichever_order_it_is_written(names: list[str]) -> None:
    one, other = TaskMix(dict.fromkeys(names, 0.5)), TaskMix({"deblock": 0.5, "denoise": 0.5, "lite-restore": 0.5})
    assert one == other and hash(one) == hash(other) and list(one) == list(other)
    assert one != TaskMix(dict.fromkeys(names, 0.25)) and TaskMix({"denoise": 0.0}) == CLEAN


@pytest.mark.parametrize("weight", [-0.1, 1.01, float("nan"), float("inf")])
def test_a_weight_that_is_none_is_refused(weight: float) -> None:
    with pytest.raises(AnimupError, match="the weight of denoise must lie between 0 and 1, got"):
        TaskMix({"denoise": weight})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must be one of deblock, .*got ''"),
        ("cook", "must be one of deblock, .*got 'cook'"),
        ("deblock+cook", "got 'cook' in 'deblock.cook'"),
        ("deblock+deblock", "name deblock once"),
        ("x*deblock", "from 0 to 1"),
        ("2*deblock", "from 0 to 1"),
        ("deblock*2", r"a weight before its name, as in 0\.5\*deblock, got 'deblock\*2'"),
        ("-1*deblock", "from 0 to 1"),
        ("nan*deblock", "from 0 to 1"),
        ("0*deblock", "leave something to do"),
    ],
)
def test_a_bad_mix_is_explained(text: str, words: str) -> None:
    with pytest.raises(AnimupError, match=words):
        TaskMix.parse(text)


def test_the_mix_in_force_stands_on_every_frame() -> None:
    clip = moving(length=3)
    frame = core.animup.Restore(clip, task="0.5*denoise+deblock").get_frame(1)
    assert frame.props["AnimupMix"] == "deblock+0.5*denoise"
    spoken = core.animup.Restore(clip, prompt="remove the blocking and a bit of noise")
    assert spoken.get_frame(1).props["AnimupMix"] == "deblock+0.5*denoise"
    assert digest(spoken.get_frame(1)) == digest(frame)


def test_tasks_differ_and_so_do_their_weights() -> None:
    clip = moving(length=5, noise=0.05)
    tasks = ["deblock", "denoise", "0.5*denoise", "deblock+denoise", "desnow"]
    seen = {task: digest(core.animup.Restore(clip, task=task).get_frame(2)) for task in tasks}
    assert len(set(seen.values())) == len(tasks)


def test_diagnosis_and_tasks_keep_random_access() -> None:
    clip = moving(length=30, cut=17)
    for arguments in ({}, {"precision": "fp32"}, {"task": "deblock+0.5*dehalo"}):
        linear = digests(core.animup.Restore(clip, **arguments))
        restored = core.animup.Restore(clip, **arguments)
        for n in (29, 3, 17, 16, 0):
            assert digest(restored.get_frame(n)) == linear[n]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"task": "deblock", "prompt": "noise"}, "task or prompt, not both"),
        ({"prompt": ""}, "Restore: prompt"),
        ({"prompt": "xyzzy plugh"}, "unclear"),
        ({"precision": "int4"}, "precision must be one of auto, int8, fp32"),
    ],
)
def test_what_cannot_be_done_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(vs.Error, match=words):
        core.animup.Restore(moving(length=2), **arguments)


def test_merging_nothing_gives_the_file_and_something_another_of_its_length() -> None:
    model = open_model(SHIPPED / "lite-restore")
    modulation = Modulation(model)
    for file in (FLOAT, INT8):
        network = model.read(file)
        assert modulation.merge(file, network, {}) is network
        merged = [modulation.merge(file, network, {task: 1.0}) for task in TASKS]
        assert {len(m) for m in merged} == {len(network)}
        assert len({hashlib.sha256(m).digest() for m in merged}) == len(TASKS)


@given(st.integers(0, 2**32 - 1))
def test_quantised_weights_lie_within_half_a_step(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight = (rng.standard_normal((5, 3, 3, 3)) * np.exp(rng.normal(0, 3, (5, 1, 1, 1)))).astype(np.float32)
    levels, scale = quantise_weight(weight)
    assert np.abs(levels.astype(int)).max() <= LEVELS
    assert (np.abs(levels * scale[:, None, None, None] - weight) <= 0.5001 * scale[:, None, None, None]).all()
