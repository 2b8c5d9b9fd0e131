"""The denoiser with memory: what its motion modules see, what it keeps, and that nothing else changed."""

from typing import Any

import pytest
import torch

from tests.helpers.lcm_runs import SMALL
from vsanimup.architectures.animatelcm import graphs
from vsanimup.architectures.animatelcm.layers import paid
from vsanimup.architectures.animatelcm.memory import Memory
from vsanimup.architectures.lcm_tiny import MovingDenoiser, Tiny, TinyConfig

HEIGHT, WIDTH = 8, 16
FAR = -10000.0


@pytest.fixture(scope="module")
def nets() -> tuple[MovingDenoiser, graphs.Remembering]:
    """A denoiser whose motion modules do something, and the same with memory, both without positions."""
    torch.manual_seed(0)
    plain = Tiny(TinyConfig(**SMALL)).requires_grad_(False).eval().denoiser
    for name, parameter in plain.motion.named_parameters():
        if ".proj_out." in name:
            parameter.normal_(0, 0.3)
    remembering = graphs.Remembering(plain.unet, plain.motion, 1)
    for net in (plain, remembering):
        for name, table in net.named_buffers():
            if name.startswith("positions"):
                table.zero_()
    return plain, remembering


def inputs(frames: int) -> dict[str, torch.Tensor]:
    given = graphs.example_of_denoise((16,) * 4, 8, frames, HEIGHT, WIDTH, False, channels=4, layers=1)
    return given | {"mask": torch.zeros(frames, frames)}


def with_memory(
    given: dict[str, torch.Tensor],
    mask: torch.Tensor,
    slots: torch.Tensor,
    frames: torch.Tensor,
    kept: dict[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Those of the denoiser with memory; ``kept`` by name."""
    names = list(given)
    behind = names.index("mask") + 1
    more = {"memory_mask": mask, "slot_order": slots, "frame_order": frames}
    return {n: given[n] for n in names[:behind]} | more | {n: given[n] for n in names[behind:]} | kept


def nothing(layout: list[tuple[int, int]], slots: int) -> dict[str, torch.Tensor]:
    kept = graphs.example_of_memory(layout, inputs(1), slots)
    return {name: torch.zeros_like(kept[name]) for name in kept if name.split("_")[0] in graphs.MEMORY}


def run(net: graphs.Remembering, given: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    layout = net.motion_layout
    found = dict(zip(graphs.memory_outputs(layout), net(*given.values()), strict=True))
    kept = {name.removeprefix("next_"): value for name, value in found.items() if name != "next_latents"}
    return found["next_latents"], kept


def test_an_empty_memory_changes_nothing(nets: tuple[MovingDenoiser, graphs.Remembering]) -> None:
    plain, remembering = nets
    given = inputs(3)
    kept = nothing(plain.motion_layout, 4)
    found, _ = run(
        remembering, with_memory(given, torch.full((3, 4), FAR), torch.full((4,), -1e6), torch.zeros(3), kept)
    )
    torch.testing.assert_close(found, plain(*given.values()), atol=1e-5, rtol=1e-5)


def test_two_windows_are_one_whose_second_half_sees_the_first(nets: tuple[MovingDenoiser, graphs.Remembering]) -> None:
    """Keys and values of a window are all that a later one needs of it."""
    plain, remembering = nets
    given = inputs(5)
    causal = torch.zeros(5, 5)
    causal[:2, 2:] = FAR
    wanted = plain(*(given | {"mask": causal}).values())

    def part(frames: slice) -> dict[str, torch.Tensor]:
        cut = {name: value[frames] if name in ("latents", "noise") else value for name, value in given.items()}
        count = len(cut["latents"])
        return cut | {"mask": torch.zeros(count, count)}

    slots = 3
    first, kept = run(
        remembering,
        with_memory(
            part(slice(0, 2)),
            torch.full((2, slots), FAR),
            torch.full((slots,), -1e6),
            torch.tensor([1e6, 1e6 + 1]),
            nothing(plain.motion_layout, slots),
        ),
    )
    mask = torch.tensor([0.0, 0.0, FAR]).expand(3, slots)
    second, _ = run(remembering, with_memory(part(slice(2, 5)), mask, torch.zeros(slots), torch.zeros(3), kept))
    torch.testing.assert_close(torch.cat([first, second]), wanted, atol=1e-5, rtol=1e-5)


def test_scores_choose_the_same_slots_of_keys_and_values(nets: tuple[MovingDenoiser, graphs.Remembering]) -> None:
    _, remembering = nets
    layout = remembering.motion_layout
    slots, frames = 4, 3
    torch.manual_seed(1)
    example = graphs.example_of_memory(layout, inputs(frames), slots)
    kept = {name: value for name, value in example.items() if name.split("_")[0] in graphs.MEMORY}
    slot_order, frame_order = torch.tensor([0.0, 0, 0, -1e6]), torch.tensor([0.0, 1e6, 0])
    given = with_memory(inputs(frames), torch.zeros(frames, slots), slot_order, frame_order, kept)
    _, found = run(remembering, given)
    for i, (channels, _) in enumerate(layout):
        before, after = kept[f"scores_{i}"], found[f"scores_{i}"]
        assert (after[..., 1:3].diff(dim=-1) <= 0).all()  # the recent one, then by falling score
        places = [(0, 0), (after.shape[0] - 1, after.shape[1] - 1)]
        for y, x in places:
            for slot in range(1, slots):
                # what was in the memory came along with the keys and the values of its place
                (old,) = torch.nonzero(before[y, x] == after[y, x, slot], as_tuple=True)
                for name in ("keys", "values") if len(old) else ():
                    assert torch.equal(kept[f"{name}_{i}"][y, x, old[0]], found[f"{name}_{i}"][y, x, slot])
            assert 3 not in [int(n) for s in after[y, x] for n in torch.nonzero(before[y, x] == s)]
        assert found[f"keys_{i}"].shape[-1] == 2 * channels


def test_what_a_text_pays(nets: tuple[MovingDenoiser, graphs.Remembering]) -> None:
    """Softmax over the places of all frames of a scene, mean over tokens and heads; other scenes do not matter."""
    torch.manual_seed(2)
    query, key = torch.randn(3, 6, 8), torch.randn(1, 5, 8)
    mask = torch.tensor([[0, 0, FAR], [0, 0, FAR], [FAR, FAR, 0]])
    found = paid(query, key, 2, mask)
    for scene in ([0, 1], [2]):
        q = query[scene].reshape(-1, 2, 4)
        scores = torch.einsum("phc,thc->hpt", q, key[0].reshape(-1, 2, 4)) / 2
        wanted = scores.softmax(1).mean((0, 2)) * len(q)
        torch.testing.assert_close(found[scene].flatten(), wanted)
    query[2] += 1
    torch.testing.assert_close(paid(query, key, 2, mask)[:2], found[:2])
    assert found[:2].mean() == pytest.approx(1, abs=1e-5)


def test_layers_without_text_go_by_the_middle_block(nets: tuple[MovingDenoiser, graphs.Remembering]) -> None:
    """In the small model all but one: its scores, enlarged."""
    plain, remembering = nets
    given = inputs(2)
    heard = []
    listen = Memory.listen

    def listening(self: Any, x: torch.Tensor, seen: tuple[torch.Tensor, torch.Tensor, int]) -> None:
        listen(self, x, seen)
        heard.append(self._middle)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Memory, "listen", listening)
        order = torch.tensor([1e6 + 1, 1e6])
        _, kept = run(
            remembering,
            with_memory(given, torch.full((2, 2), FAR), torch.full((2,), -1e6), order, nothing(plain.motion_layout, 2)),
        )
    small = heard[0].permute(1, 2, 0)
    for i, (_, divide) in enumerate(plain.motion_layout):
        times = 8 // divide
        wide = small.repeat_interleave(times, 0).repeat_interleave(times, 1)
        torch.testing.assert_close(kept[f"scores_{i}"], wide)
