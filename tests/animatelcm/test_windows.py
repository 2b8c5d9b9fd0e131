"""Windows of drawings: every frame is made of one window or two, on a grid."""

from collections.abc import Callable
from typing import Any

import numpy as np
import vapoursynth as vs
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.clips import core, moving
from vsanimup.networks.animatelcm.interpolation import enlarge
from vsanimup.networks.animatelcm.windows import BLOCK, LEAD, OVERLAP, WINDOW, Sequence, sequence, shares
from vsanimup.video.rgb import COEFFICIENTS, to_rgb, to_yuv

KINDS = st.lists(st.sampled_from("ssssdddc"), min_size=1, max_size=100)
"""A clip: each frame shows the drawing before it, another one, or starts a scene."""


def answers(kinds: list[str]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """``same`` and ``cut`` of such a clip, which refuse to look beyond the clip."""
    drawing = np.cumsum([kind != "s" for kind in kinds])

    def same(a: int, b: int) -> bool:
        assert 0 <= a < b < len(kinds)
        return bool(drawing[a] == drawing[b])

    def cut(n: int) -> bool:
        assert 0 < n < len(kinds)
        return kinds[n] == "c"

    return same, cut


@given(KINDS)
def test_every_frame_of_a_block_has_a_drawing_and_windows_hold_them_all(kinds: list[str]) -> None:
    same, cut = answers(kinds)
    for block in range(-(-len(kinds) // BLOCK)):
        found = sequence(block, len(kinds), same, cut)
        start, end = block * BLOCK, min((block + 1) * BLOCK, len(kinds))
        assert found.lead <= OVERLAP and found.drawings[0].first >= start - LEAD
        for n in range(start, end):
            drawing = found.drawings[found.of(n)]
            assert all(same(drawing.first, m) for m in range(drawing.first + 1, drawing.last + 1))
            assert not any(cut(m) for m in range(drawing.first + 1, drawing.last + 1))
        scenes = [drawing.scene for drawing in found.drawings]
        for a, b, one, other in zip(found.drawings, found.drawings[1:], scenes, scenes[1:], strict=False):
            assert b.first == a.last + 1 and (other != one) == cut(b.first)
        windows = found.windows()
        assert windows[0][0] == 0 and windows[-1][1] == len(found.drawings)
        assert all(0 < end - first <= WINDOW for first, end in windows)
        assert len(windows) == 1 or windows[0][1] - windows[1][0] == OVERLAP


@given(KINDS)
def test_shares_add_up_and_point_at_the_frame(kinds: list[str]) -> None:
    same, cut = answers(kinds)
    count = len(kinds)
    for n in range(count):
        asked: set[int] = set()

        def of_block(block: int, asked: set[int] = asked) -> Sequence:
            asked.add(block)
            return sequence(block, count, same, cut)

        parts = shares(n, count, of_block)
        assert 1 <= len(parts) <= 2 and asked <= {n // BLOCK, n // BLOCK + 1}
        assert abs(sum(part.weight for part in parts) - 1) < 1e-9 and all(part.weight > 0 for part in parts)
        for part in parts:
            whole = of_block(part.block)
            drawing = whole.drawings[whole.windows()[part.window][0] + part.position]
            assert drawing.first <= n <= drawing.last or same(*sorted((n, drawing.last)))
        if n + 1 < count and (n + 1) % BLOCK and same(n, n + 1) and not cut(n + 1):
            assert shares(n + 1, count, of_block) == parts


def test_weights_rise_in_steps_over_what_windows_share() -> None:
    """Each drawing of a pan on ones weighs a fifth more than the last where windows meet."""
    count, never = 100, lambda *_: False
    of_block = lambda block: sequence(block, count, never, never)  # noqa: E731
    weights = [shares(n, count, of_block)[-1].weight for n in range(count)]
    shared = [n for n, weight in enumerate(weights) if weight < 1]
    assert shared[:8] == [10, 11, 12, 13, 20, 21, 22, 23]
    assert np.allclose([weights[n] for n in shared[4:8]], [0.2, 0.4, 0.6, 0.8])


def test_enlarging_is_what_resizers_of_video_do() -> None:
    clip = moving(vs.GRAYS, width=40, height=24, length=1)
    plane = np.array(clip.get_frame(0)[0])
    for scale in (2, 3, 4):
        wanted = clip.resize.Bicubic(40 * scale, 24 * scale, filter_param_a=0, filter_param_b=0.5).get_frame(0)
        off = np.abs(enlarge(plane, scale) - np.array(wanted[0]))
        inner = 2 * scale  # edges are continued differently
        assert off[inner:-inner, inner:-inner].max() < 2e-6


def test_rgb_and_back() -> None:
    clip = core.std.BlankClip(format=vs.YUV444PS, width=16, height=16, length=1, color=[0.4, 0.1, -0.2])
    yuv = np.stack([np.array(clip.get_frame(0)[i]) for i in range(3)])
    for matrix in COEFFICIENTS:
        rgb = to_rgb(yuv, matrix)
        wanted = clip.std.SetFrameProps(_Matrix=matrix).resize.Point(format=vs.RGBS).get_frame(0)
        assert np.abs(rgb - np.stack([np.array(wanted[i]) for i in range(3)])).max() < 1e-5
        assert np.abs(to_yuv(rgb, matrix) - yuv).max() < 1e-6
