"""The lite networks' layers as training uses them: rounding, biases of tasks, rectifiers."""

import numpy as np
import pytest
import torch

from tests.helpers.clips import core
from tests.helpers.lite_runs import SMALL
from tests.helpers.modules import as_a, there
from training.data.dataset import mix_vector
from training.lite.loop import DEAD, activity_of, keep_level, revive, rounding_at
from training.muon import orthogonal
from vsanimup.architectures.lite.layers import Conv, Round, free_of
from vsanimup.architectures.lite.network import ALIGN, Head, Lite, LiteConfig, TaskConv, evened_out
from vsanimup.tasks import TASKS
from vsanimup.video.sigma import even_out


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("radius", [0, 1, 2])
def test_network_starts_as_interpolation_and_keeps_shapes(scale: int, radius: int) -> None:
    net = Lite(LiteConfig(scale=scale, radius=radius, heads=1, **SMALL))
    frames = 2 * radius + 1
    y, uv = torch.full((2, frames, ALIGN, 2 * ALIGN), 0.3), torch.full((2, 2 * frames, ALIGN // 2, ALIGN), -0.2)
    out_y, out_uv = net(y, uv)
    assert out_y.shape == (2, 1, ALIGN * scale, 2 * ALIGN * scale)
    assert out_uv.shape == (2, 2, ALIGN * scale // 2, ALIGN * scale)
    torch.testing.assert_close(out_y, torch.full_like(out_y, 0.3))
    torch.testing.assert_close(out_uv, torch.full_like(out_uv, -0.2))


def test_the_heads_change_of_basis_loses_nothing() -> None:
    head = Head(3, 8)
    assert torch.linalg.matrix_rank(head.basis_y.flatten(1)) == 12
    assert torch.linalg.matrix_rank(head.basis_uv.flatten(1)) == 6


def test_steps_of_the_optimizer_are_about_orthogonal() -> None:
    torch.manual_seed(0)
    for shape in ((4, 12, 40), (4, 40, 12)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
        assert values.min() > 0.6 and values.max() < 1.3


def test_rounding_leaves_256_levels_and_zero() -> None:
    layer = Round()
    x = torch.randn(4, 3, 50, 50)
    assert layer(x) is x
    layer.mode = Round.WATCH
    layer(x)
    layer.mode = Round.ROUND
    x.requires_grad_()
    rounded = layer(x)
    assert 100 < len(rounded.unique()) <= 256 and 0 in rounded
    step = float(layer.high - layer.low) / 255
    inside = (x > layer.low + step) & (x < layer.high - step)
    assert float((rounded - x)[inside].abs().max()) <= 0.501 * step
    rounded.sum().backward()
    gradient = there(x.grad)
    assert torch.equal(gradient[inside], torch.ones_like(gradient[inside])), "rounding is left out of the gradient"
    assert 0 in gradient, "but not clipping"


def test_rounding_is_torchs_own() -> None:
    layer = Round()
    layer.low.fill_(-0.7)
    layer.high.fill_(2.1)
    layer.mode = Round.ROUND
    x = torch.randn(5, 1000) * 2
    scale = 2.8 / 255
    torch.testing.assert_close(layer(x), torch.fake_quantize_per_tensor_affine(x, scale, round(0.7 / scale), 0, 255))


def test_clipping_is_rounding_without_levels() -> None:
    layer = Round()
    layer.low.fill_(-0.7)
    layer.high.fill_(2.1)
    x = torch.randn(5, 1000) * 2
    layer.mode = Round.CLIP
    clipped = layer(x)
    assert float(clipped.min()) == pytest.approx(-0.7) and float(clipped.max()) == pytest.approx(2.1)
    layer.mode = Round.ROUND
    assert float((layer(x) - clipped).abs().max()) < 0.6 * 2.8 / 255


def test_a_range_follows_what_is_seen() -> None:
    layer = Round()
    layer.mode = Round.WATCH
    layer(torch.linspace(-10, 30, 1000))
    assert float(layer.high) == pytest.approx(30, abs=0.1)
    for _ in range(300):
        layer(torch.linspace(-1, 3, 1000))
    assert float(layer.low) == pytest.approx(-1, abs=0.1) and float(layer.high) == pytest.approx(3, abs=0.2)


def test_training_evens_out_as_the_filter_does() -> None:
    core.animup.Version()  # hands the native functions over
    y = torch.randn(1, 1, 40, 56).mul(0.02).add(0.5)
    filtered = y[0, 0].numpy().copy()
    even_out(filtered, 8 / 219)
    np.testing.assert_allclose(evened_out(y, 8 / 219)[0, 0].numpy(), filtered, atol=1e-6)


def test_dead_channels_are_found_and_revived() -> None:
    torch.manual_seed(0)
    net = Lite(LiteConfig(radius=0, heads=1, **SMALL))
    window = torch.rand(1, 1, ALIGN, ALIGN), torch.rand(1, 2, ALIGN // 2, ALIGN // 2) - 0.5
    layer = as_a(Conv, net.get_submodule("behind.0.a"))
    with torch.no_grad():
        there(layer.bias)[:5] = -100
    found = activity_of(net, lambda: net(*window))
    assert (found["behind.0.a"] < DEAD).nonzero().flatten().tolist() == [0, 1, 2, 3, 4]
    before = net(*window)
    assert revive(net, found) == sum(int((shares < DEAD).sum()) for shares in found.values())
    for a, b in zip(before, net(*window), strict=True):
        torch.testing.assert_close(a, b, atol=0.02, rtol=0)
    assert float(activity_of(net, lambda: net(*window))["behind.0.a"].min()) > DEAD


def test_gradients_leave_the_level_of_rectifiers_alone() -> None:
    torch.manual_seed(0)
    rectified, plain = Conv(3, 5, 3, relu=True), Conv(5, 2, 3)
    net = torch.nn.Sequential(rectified, plain)
    level = torch.tensor([2.0, -1.0, 0.5])
    net(torch.randn(4, 3, 32, 32) * 0.1 + level[:, None, None]).square().sum().backward()
    mean = there(rectified.mean)
    torch.testing.assert_close(mean, level, atol=0.01, rtol=0)
    gradients = there(rectified.weight.grad), there(plain.weight.grad)
    before = [gradient.clone() for gradient in gradients]
    keep_level(net)
    assert float((before[0].sum((2, 3)) @ level).abs().max()) > 1
    gradients = there(rectified.weight.grad), there(plain.weight.grad)
    assert float((gradients[0].sum((2, 3)) @ mean).abs().max()) < 1e-3
    torch.testing.assert_close(gradients[0], free_of(before[0], mean))
    assert torch.equal(gradients[1], before[1]), "where no rectifier follows nothing is taken out"


def test_rounding_begins_after_watching_and_watches_on() -> None:
    modes = [rounding_at(step, 2000, 1000) for step in range(2000)]
    assert set(modes[:1000]) == {Round.OFF} and set(modes[1000:1200]) == {Round.WATCH}
    assert modes[1200:1700].count(Round.WATCH) == 50 and modes[1200:1700].count(Round.ROUND) == 450
    assert set(modes[1700:]) == {Round.ROUND}, "ranges stay in the end"


def test_a_mix_of_tasks_is_the_sum_of_their_biases() -> None:
    layer = TaskConv(4, 6, 3, len(TASKS), 2)
    torch.nn.init.normal_(there(layer.task_b))
    torch.nn.init.normal_(there(layer.task_c))
    x = torch.randn(1, 4, 9, 9)
    plain = layer(x)
    layer.mix = torch.stack([mix_vector(m) for m in ({"denoise": 1}, {"dehaze": 0.5}, {"denoise": 1, "dehaze": 0.5})])
    one, other, both = layer(x.expand(3, -1, -1, -1)) - plain
    torch.testing.assert_close(one + other, both, atol=1e-4, rtol=1e-4)
    assert float(one.abs().mean()) > 0.1
