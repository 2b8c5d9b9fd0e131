"""Prompts: everyday words become the mix that is meant, and what is unclear is refused with help."""

import hashlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.prompts.sentences import HELDOUT, corpus, heldout, labelled
from training.prompts.train import SEED
from vsanimup.errors import AnimupError
from vsanimup.prompts import MEDIA, TASKS, mix_of
from vsanimup.prompts.classifier import DATA, FOLDER, MANIFEST, load
from vsanimup.prompts.text import words
from vsanimup.tasks import TaskMix


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (DATA, MANIFEST):
        shutil.copy(FOLDER / name, tmp_path)
    return tmp_path


def test_held_out_prompts_are_many_and_not_trained_on() -> None:
    assert len(heldout("heldout.tsv")) >= 250
    out = {tuple(words(prompt)) for file in HELDOUT for prompt, _ in heldout(file)}
    assert not out & {prompt.tokens for prompt in corpus(SEED, 200)}


@pytest.mark.parametrize(
    ("prompt", "mix"),
    [
        ("remove the blocking and a bit of noise", {"deblock": 1, "denoise": 0.5}),
        ("NOISE and Blocking", {"deblock": 1, "denoise": 1}),
        ("de-noise, de-block", {"deblock": 1, "denoise": 1}),
        ("remove the colour bleed", {"dechroma": 1}),
        ("remove the color bleed", {"dechroma": 1}),
        ("mosquito noise", {"deblock": 1}),
        ("remove blocking but keep the grain", {"deblock": 1}),
        ("remove blocking, don’t touch the noise", {"deblock": 1}),
        ("deblock, no deblurring, leave the rain", {"deblock": 1}),
        ("old VHS tape", MEDIA["tape"]),
        ("old VHS tape, but keep the grain", {t: w for t, w in MEDIA["tape"].items() if t != "denoise"}),
        ("16mm print", MEDIA["film"]),
        ("DVD rip", MEDIA["rip"]),
        ("x264 encode", MEDIA["stream"]),
        ("HEVC artifacts", {"destream": 1}),
        ("a blocky web rip", {"destream": 1}),
        ("a web rip with a bit of blocking", {"destream": 0.5}),
        ("analogue TV recording", MEDIA["analogue"]),
    ],
)
def test_meaning(prompt: str, mix: dict[str, float]) -> None:
    got = mix_of(prompt)
    assert got == mix
    assert list(got) == [task for task in TASKS if task in mix]


@pytest.mark.parametrize(
    "prompt",
    [
        "add film grain",
        "make it look like VHS",
        "make it snow",
        "add blur",
        "give it scanlines",
        "more grain please",
        "denoise, then add film grain",
        "add subtitles",
    ],
)
def test_what_asks_to_add_is_refused(prompt: str) -> None:
    with pytest.raises(AnimupError, match=rf"^prompt '{prompt}' asks to add something, and prompts only say what to"):
        mix_of(prompt)


@pytest.mark.parametrize(
    "prompt",
    [
        "no grain please",
        "without the noise",
        "grain begone",
        "denosie",
        "remvoe gran",
        "make it less grainy",
        "they added fake grain, remove it",
        "denoise without adding blur",
    ],
)
def test_what_only_sounds_like_it(prompt: str) -> None:
    assert mix_of(prompt) == {"denoise": 1.0}


@pytest.mark.parametrize("prompt", ["add sharpness", "give it more detail", "make it sharper", "not sharp"])
def test_sharpness_is_added_by_removing_blur(prompt: str) -> None:
    assert mix_of(prompt) == {"deblur": 1.0}


@pytest.mark.parametrize(
    ("prompt", "mix"),
    [
        ("denoise lightly", {"denoise": 0.5}),
        ("mostly remove the grain", {"denoise": 0.75}),
        ("strongly denoise", {"denoise": 1}),
        ("denoise at 75%", {"denoise": 0.75}),
        ("75 percent of the noise", {"denoise": 0.75}),
        ("three quarters of the noise", {"denoise": 0.75}),
        ("dehalo ¾", {"dehalo": 0.75}),
        ("deblock .3, denoise 0.6", {"deblock": 0.3, "denoise": 0.6}),
        ("deblock 75%, denoise 50%", {"deblock": 0.75, "denoise": 0.5}),
        ("50% denoise, 20% dehalo", {"denoise": 0.5, "dehalo": 0.2}),
        ("reduce the noise to 30%", {"denoise": 0.7}),
        ("keep a quarter of the grain", {"denoise": 0.75}),
        ("100% denoise", {"denoise": 1}),
        ("3/4 inch U-matic tape", MEDIA["tape"]),
    ],
)
def test_shares(prompt: str, mix: dict[str, float]) -> None:
    assert mix_of(prompt) == pytest.approx(mix)


@pytest.mark.parametrize(
    ("names", "medium"),
    [
        ("VHS; S-VHS; Betamax", "tape"),
        ("16mm; 35 mm print; super 8", "film"),
        ("DVD rip; Xvid; DivX; RealMedia", "rip"),
        ("YouTube; webrip; WEB-DL", "stream"),
        ("LaserDisc; TV capture", "analogue"),
    ],
)
def test_media_by_name(names: str, medium: str) -> None:
    for name in names.split("; "):
        assert mix_of(name) == MEDIA[medium] | ({"destream": 1.0} if medium == "stream" else {}), name


@pytest.mark.parametrize("task", TASKS)
def test_names_of_tasks_are_understood(task: str) -> None:
    assert mix_of(task) == {task: 1.0}
    assert mix_of(f"{task} a bit") == {task: 0.5}
    assert task in mix_of(task.upper())


def test_all_tasks_at_once() -> None:
    assert mix_of(", ".join(TASKS)) == {task: 1.0 for task in TASKS if task != "deblock"}  # what destream does too


@pytest.mark.parametrize("prompt", ["", "  ", "\n\t"])
def test_empty(prompt: str) -> None:
    with pytest.raises(AnimupError, match=r"^prompt is empty; name what to remove.*deblock.*desnow.*task="):
        mix_of(prompt)


def test_length() -> None:
    assert mix_of("remove noise".ljust(1000)) == {"denoise": 1.0}
    with pytest.raises(AnimupError, match=r"1001 characters, 1000 are allowed"):
        mix_of("remove noise".ljust(1001))


@pytest.mark.parametrize("prompt", ["make it nice", "upscale to 4k please", "qpwoe zmxn", "improve quality"])
def test_unclear(prompt: str) -> None:
    guess = rf"^prompt '{prompt}' is unclear \(nearest guess: de\w+\); name what to remove.*deblock, denoise.*task=$"
    with pytest.raises(AnimupError, match=guess):
        mix_of(prompt)


def test_unclear_without_words() -> None:
    with pytest.raises(AnimupError, match=r"^prompt '!\?' is unclear; "):
        mix_of("!?")


@pytest.mark.parametrize("prompt", ["keep the grain", "don't touch the noise"])
def test_nothing_left_to_remove(prompt: str) -> None:
    with pytest.raises(AnimupError, match=r"leaves nothing to remove; name what to remove"):
        mix_of(prompt)


@pytest.mark.parametrize("name", [DATA, MANIFEST])
@pytest.mark.parametrize("damage", ["missing", "truncated", "altered", "empty"])
def test_damaged_files_are_named(folder: Path, name: str, damage: str) -> None:
    path = folder / name
    data = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "altered":
        data[len(data) // 2] ^= 0x80
        path.write_bytes(data)
    else:
        path.write_bytes(data[: len(data) // 2] if damage == "truncated" else b"")
    with pytest.raises(AnimupError, match=rf"{name}.*install vsanimup again"):
        load(folder)


def test_classifier_of_another_version(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(AnimupError, match=r"another version.*install vsanimup again"):
        load(folder)


def test_shipped_file_is_small_and_verified() -> None:
    data = (FOLDER / DATA).read_bytes()
    assert len(data) < 500_000
    assert hashlib.sha256(data).hexdigest() == json.loads((FOLDER / MANIFEST).read_text())["sha256"]


def test_reads_without_training_packages() -> None:
    code = (
        "import sys; from vsanimup.prompts import mix_of; assert mix_of('remove noise') == {'denoise': 1.0}; "
        "assert not {'torch', 'sklearn', 'scipy', 'training'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_tagged_sentences() -> None:
    prompt = labelled("no [halos|dehalo/0], the [grain of the film|denoise/2]")
    assert prompt.tokens == ("no", "halos", ",", "the", "grain", "of", "the", "film")
    assert [(span.start, span.end, degree) for span, degree in prompt.spans()] == [(1, 2, 2), (4, 8, 1)]


def test_longest_prompt_is_quick() -> None:
    mix_of("noise")
    start = time.process_time()
    mix_of(("noise blocks rain " * 60)[:1000])
    assert time.process_time() - start < 2


def valid(prompt: str) -> str | TaskMix:
    """The mix of a prompt, which must be a valid one, or the error's text."""
    try:
        mix = mix_of(prompt)
    except AnimupError as error:
        assert "name what to remove" in str(error)
        return str(error)
    assert mix and all(0 < weight <= 1 for weight in mix.values())
    assert list(mix) == [task for task in TASKS if task in mix]
    return mix


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=1100))
def test_any_text(prompt: str) -> None:
    assert valid(prompt) == valid(prompt)


WORDS = sorted({word for prompt, _ in heldout("heldout.tsv") for word in prompt.split()})


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join))
def test_any_words(prompt: str) -> None:
    assert valid(prompt) == valid(prompt)
