"""What the ready scripts share: arguments, names of files, interlaced sources."""

from __future__ import annotations

from pathlib import Path

import pytest
import vapoursynth as vs

from tests.helpers.clips import inked
from tests.helpers.frames import digest, digests
from vsanimup import ready
from vsanimup.errors import AnimupError

core = vs.core
SCRIPT = "nowhere/name.vpy"


def arguments(**given: object) -> ready.Arguments:
    return ready.Arguments({"__name__": "x", "vs": vs, **given}, ("source", "scale", "fast", "model"), SCRIPT)


def test_arguments_are_read_by_kind() -> None:
    given = arguments(scale="3", fast="1")
    assert (given.whole("scale", 2), given.flag("fast"), given.number("source", 0.5)) == (3, True, 0.5)
    assert "scale" in given and "source" not in given
    assert given.text("source", "scale", default="none") == "3"
    given.finish()
    assert not arguments().flag("fast")


@pytest.mark.parametrize("value", ["two", "", "nan", "inf", "2.5"])
def test_numbers_that_are_none(value: str) -> None:
    with pytest.raises(SystemExit, match=r"name\.vpy: scale must be a (whole )?number, got"):
        arguments(scale=value).whole("scale", 2)


def test_what_is_not_known_or_not_read_ends_the_script() -> None:
    with pytest.raises(SystemExit, match=r"name\.vpy: there is no argument 'fasst'; did you mean fast\?"):
        arguments(fasst="1")
    given = arguments(scale="3", fast="1")
    given.whole("scale", 2)
    with pytest.raises(SystemExit, match="fast=1 is of no use beside scale=3; leave it out"):
        given.finish()


def test_names_count_from_the_calling_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("caller", "caller/scripts", "scripts"):
        (tmp_path / folder).mkdir()
    for script in ("caller/scripts/a.vpy", "scripts/a.vpy", "caller/film.mkv"):
        (tmp_path / script).touch()
    monkeypatch.chdir(tmp_path / "caller" / "scripts")  # as vspipe does
    for script, told in (
        ("scripts/a.vpy", tmp_path / "caller"),
        ("scripts/a.vpy", tmp_path / "scripts"),  # left over from a program that moved on
        ("scripts/a.vpy", ""),
        ("../caller/scripts/a.vpy", tmp_path / "caller"),
        (str(tmp_path / "caller/scripts/a.vpy"), tmp_path / "caller"),
    ):
        monkeypatch.setenv("PWD", str(told))
        assert ready.called_from(script) == tmp_path / "caller"
        given = ready.Arguments({"source": "film.mkv", "model": "lite"}, ("source", "model"), script)
        assert given.path("source") == str(tmp_path / "caller" / "film.mkv")
        assert given.model("model") == "lite"
    monkeypatch.setenv("PWD", "gone")
    assert ready.called_from(str(tmp_path / "caller/scripts/a.vpy")) == tmp_path / "caller/scripts"
    assert ready.Arguments({"source": "no.mkv"}, ("source",), "scripts/a.vpy").path("source") == "no.mkv"
    assert ready.neighbour("scripts/a.vpy", "a.vpy") == tmp_path / "caller/scripts/a.vpy"


def test_shipped_models_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))
    for name in ("lite-restore", "mine"):
        (tmp_path / name).mkdir()
    assert arguments(model="lite-restore").model("model") == "lite-restore"
    monkeypatch.setattr(ready, "called_from", lambda _: tmp_path)
    assert arguments(model="mine").model("model") == str(tmp_path / "mine")


def marked(clip: vs.VideoNode, first: int) -> vs.VideoNode:
    """From frame ``first`` on frames say that they are interlaced."""
    return clip[:first] + clip[first:].std.SetFieldBased(2)


def test_only_interlaced_frames_are_changed() -> None:
    clip = inked(length=8)
    mixed = marked(clip, 4)
    assert digests(ready.progressive(clip, "", SCRIPT)) == digests(clip)
    assert digests(ready.progressive(mixed, "off", SCRIPT)) == digests(clip)
    made = ready.progressive(mixed, "bwdif", SCRIPT)
    assert [a == b for a, b in zip(digests(made), digests(clip), strict=True)] == [True] * 4 + [False] * 4
    assert not any(frame.props.get("_FieldBased") for frame in made.frames())
    assert [digest(made.get_frame(n)) for n in (6, 1, 7)] == [digests(made)[n] for n in (6, 1, 7)]


def test_interlaced_frames_are_refused_by_number() -> None:
    refused = ready.progressive(marked(inked(length=6), 3), "", SCRIPT)
    refused.get_frame(2)
    for n in (5, 3):
        with pytest.raises(vs.Error, match=rf"^name\.vpy: frame {n} is interlaced; call it with -a deinterlace=bwdif"):
            refused.get_frame(n)


def test_telecined_film_comes_back() -> None:
    film = inked(width=320, height=192, length=40).std.AssumeFPS(fpsnum=24000, fpsden=1001)
    fields = film.std.SeparateFields(tff=True).std.SelectEvery(8, [0, 1, 2, 3, 2, 5, 4, 7, 6, 7])
    tape = fields.std.DoubleWeave(tff=True)[::2].std.SetFieldBased(2)
    assert (tape.num_frames, tape.fps) == (50, film.fps * 5 / 4)
    back = ready.progressive(tape, "ivtc", SCRIPT)
    assert (back.num_frames, back.fps) == (40, film.fps)
    assert sum(a == b for a, b in zip(digests(back), digests(film), strict=True)) >= 36


@pytest.mark.parametrize(("how", "plugin"), [("bwdif", "bwdif"), ("ivtc", "vivtc")])
def test_plugins_that_are_missing_are_named(how: str, plugin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare:
        core = object()

    monkeypatch.setattr(ready, "vs", Bare)
    with pytest.raises(AnimupError, match=f"pip install vapoursynth-{plugin}"):
        ready.progressive(inked(length=2), how, SCRIPT)
