"""What a y4m pipe does not carry, told to each encoder."""

from __future__ import annotations

import shlex

import pytest

from vsanimup.encoding.video_flags import ENCODERS, Look, Mastering, flags, look_of, losses
from vsanimup.errors import AnimupError

DVD = look_of({"_Matrix": 6, "_Transfer": 6, "_Primaries": 6, "_Range": 0, "_SARNum": 32, "_SARDen": 27}, "YUV420P8")
JPEG = look_of({"_Matrix": 5, "_Range": 1, "_ChromaLocation": 1}, "YUV420P8")
MASTERING = Mastering(
    red=(0.68, 0.32), green=(0.265, 0.69), blue=(0.15, 0.06), white=(0.3127, 0.329), least=0.005, most=1000
)
HDR10 = look_of(
    {
        "_Matrix": 9,
        "_Transfer": 16,
        "_Primaries": 9,
        "_Range": 0,
        "_ChromaLocation": 2,
        "ContentLightLevelMax": 1000,
        "ContentLightLevelAverage": 400,
        "MasteringDisplayPrimariesX": [0.68, 0.265, 0.15],
        "MasteringDisplayPrimariesY": [0.32, 0.69, 0.06],
        "MasteringDisplayWhitePointX": 0.3127,
        "MasteringDisplayWhitePointY": 0.329,
        "MasteringDisplayMinLuminance": 0.005,
        "MasteringDisplayMaxLuminance": 1000,
    },
    "YUV420P10",
)


def test_properties_become_a_look() -> None:
    assert Look(matrix=6, transfer=6, primaries=6, sar=(32, 27)) == DVD
    assert Look(matrix=5, full_range=True, chroma=1) == JPEG
    assert (
        Look(matrix=9, transfer=16, primaries=9, chroma=2, format="YUV420P10", mastering=MASTERING, light=(1000, 400))
        == HDR10
    )
    assert look_of({}, "GRAY16") == Look(format="GRAY16")
    assert look_of({"_SARNum": 64, "_SARDen": 48, "_FieldBased": 2}, "YUV420P8") == Look(sar=(4, 3), fields="tff")
    assert look_of({"_SARNum": 0, "_SARDen": 0, "_ChromaLocation": 17}, "YUV420P8") == Look()
    assert look_of({"MasteringDisplayPrimariesX": [0.6], "MasteringDisplayPrimariesY": 0.3}, "YUV420P8") == Look()


@pytest.mark.parametrize(
    ("encoder", "look", "wanted"),
    [
        (
            "x264",
            DVD,
            "--colormatrix smpte170m --transfer smpte170m --colorprim smpte170m --range tv --input-range tv "
            "--chromaloc 0 --sar 32:27 --output-csp i420 --output-depth 8",
        ),
        (
            "x264",
            JPEG,
            "--colormatrix bt470bg --range pc --input-range pc --chromaloc 1 --output-csp i420 --output-depth 8",
        ),
        (
            "x264",
            HDR10,
            "--colormatrix bt2020nc --transfer smpte2084 --colorprim bt2020 --range tv --input-range tv "
            "--chromaloc 2 --output-csp i420 --output-depth 10 --mastering-display "
            "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50) --cll 1000,400",
        ),
        (
            "x265",
            DVD,
            "--colormatrix smpte170m --transfer smpte170m --colorprim smpte170m --range limited "
            "--chromaloc 0 --sar 32:27 --output-depth 8",
        ),
        (
            "x265",
            HDR10,
            "--colormatrix bt2020nc --transfer smpte2084 --colorprim bt2020 --range limited --chromaloc 2 "
            "--output-depth 10 --master-display G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50) "
            "--max-cll 1000,400",
        ),
        (
            "svtav1",
            DVD,
            "--color-primaries 6 --transfer-characteristics 6 --matrix-coefficients 6 --color-range 0 "
            "--chroma-sample-position left",
        ),
        ("svtav1", JPEG, "--matrix-coefficients 5 --color-range 1"),
        (
            "svtav1",
            HDR10,
            "--color-primaries 9 --transfer-characteristics 16 --matrix-coefficients 9 --color-range 0 "
            "--chroma-sample-position topleft --mastering-display "
            "G(0.265,0.69)B(0.15,0.06)R(0.68,0.32)WP(0.3127,0.329)L(1000,0.005) --content-light 1000,400",
        ),
        (
            "ffmpeg",
            DVD,
            "-vf setparams=range=tv:colorspace=smpte170m:color_trc=smpte170m:color_primaries=smpte170m,"
            "setsar=32/27 -chroma_sample_location left",
        ),
        ("ffmpeg", JPEG, "-vf setparams=range=pc:colorspace=bt470bg,setsar=1/1 -chroma_sample_location center"),
    ],
)
def test_flags(encoder: str, look: Look, wanted: str) -> None:
    assert " ".join(flags(encoder, look)) == wanted


def test_fields_and_layouts() -> None:
    interlaced = Look(fields="bff", format="YUV422P10")
    assert "--bff" in flags("x264", interlaced) and "i422" in flags("x264", interlaced)
    assert "--chromaloc" not in flags("x264", interlaced)
    assert flags("x265", interlaced)[-2:] == ["--interlace", "bff"]
    assert flags("ffmpeg", interlaced) == [
        "-vf",
        "setparams=range=tv:field_mode=bff,setsar=1/1",
        "-flags",
        "+ildct+ilme",
    ]
    assert any("interlaced" in said for said in losses("svtav1", interlaced))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_shell_takes_the_flags_as_they_are(encoder: str) -> None:
    for look in (DVD, JPEG, HDR10, Look(matrix=8, fields="tff")):
        assert all(set(flag).isdisjoint(" \t\n*?[]{}$`'\"\\|&;<>!#~") for flag in flags(encoder, look))
        assert shlex.join(flags(encoder, look)).replace("'", "").split() == flags(encoder, look)


def test_x264_has_spellings_of_its_own() -> None:
    for matrix, theirs, others in ((0, "GBR", "gbr"), (8, "YCgCo", "ycgco"), (14, "ICtCp", "ictcp")):
        look = Look(matrix=matrix, format="YUV444P8")
        assert (flags("x264", look)[1], flags("x265", look)[1]) == (theirs, others)


@pytest.mark.parametrize(
    ("encoder", "look", "words"),
    [
        ("svtav1", DVD, "--aspect-ratio-factor 0:32/27"),
        ("svtav1", JPEG, "chroma location center"),
        ("svtav1", Look(format="YUV444P16"), "the script gives YUV444P16"),
        (
            "ffmpeg",
            HDR10,
            "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll",
        ),
        ("x264", Look(primaries=22), "no name for _Primaries=22"),
        ("x265", Look(format="YUV410P8"), "from 4:1:0 into 4:2:0"),
        ("x265", look_of({"DolbyVisionRPU": "x"}, "YUV420P10"), "Dolby Vision metadata cannot be handed on"),
    ],
)
def test_what_is_lost_is_said(encoder: str, look: Look, words: str) -> None:
    assert any(words in said for said in losses(encoder, look))


def test_nothing_is_lost_of_ordinary_sources() -> None:
    assert all(not losses(encoder, DVD) for encoder in ("x264", "x265", "ffmpeg"))
    assert all(not losses(encoder, HDR10) for encoder in ("x264", "x265", "svtav1"))


def test_unknown_encoder() -> None:
    with pytest.raises(AnimupError, match="one of x264, x265, svtav1, ffmpeg, got 'xvid'"):
        flags("xvid", Look())
