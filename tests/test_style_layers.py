"StyleGAN's layers: reference values, equal forms, invariances, bad input."

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from animegan_nb import style_layers as sl

KERNEL = sl.resample_kernel()
sizes = st.integers(1, 6)


@pytest.fixture(scope='module')
def op(reference_dir):
    with np.load(reference_dir / 'stylegan2_reference.npz', allow_pickle=False) as file:
        return {name[3:]: torch.from_numpy(file[name]) for name in file.files if name.startswith('op/')}


def close(a, b, tolerance=1e-4):
    return a.shape == b.shape and torch.allclose(a, b, atol=tolerance, rtol=tolerance)


def test_reference_filters(op):
    assert close(KERNEL, op['filter'])
    assert close(sl.upsample2d(op['x'], KERNEL), op['upsample2d'])
    assert close(sl.upsample_bilinear(op['x']), op['upsample2d'])
    assert close(sl.downsample2d(op['x'], KERNEL), op['downsample2d'])
    assert close(sl.filter2d(op['x'], KERNEL), op['filter2d'])


@pytest.mark.parametrize('form', sl.FORMS)
def test_reference_modulated_convolution(op, form):
    x, weight, styles = op['x'], op['weight'], op['styles']
    assert close(sl.modulated_conv2d(x, weight, styles, form=form), op['modconv'])
    assert close(sl.modulated_conv2d(x, weight, styles, demodulate=False, form=form), op['modconv_nodemod'])
    assert close(sl.modulated_conv2d(x, weight, styles, kernel=KERNEL, form=form), op['modconv_up2'])


def test_reference_minibatch_std(op):
    assert close(sl.minibatch_std(op['mbstd_in'], 3), op['mbstd_group3_out'])


@settings(max_examples=40, deadline=None)
@given(
    taps=st.sampled_from([(1, 2, 1), (1, 3, 3, 1), (1, 1), (1, 2, 3, 2, 1)]),
    height=st.integers(5, 9),
    width=st.integers(5, 9),
    before=st.integers(0, 2),
    after=st.integers(0, 2),
    stride=st.integers(1, 2),
    last=st.booleans(),
)
def test_the_derivative_of_a_filter_is_its_adjoint(taps, height, width, before, after, stride, last):
    "⟨Fx, y⟩ = ⟨x, F'y⟩ for every size, padding, stride and memory layout, and so for derivatives of any order."
    torch.manual_seed(0)
    kernel, x = sl.resample_kernel(taps).double(), torch.randn(2, 3, height, width, dtype=torch.double)
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    out = sl.filter2d(x, kernel, (before, after), stride)
    plain = F.conv2d(F.pad(x, (before, after) * 2), kernel.expand(3, 1, -1, -1), stride=stride, groups=3)
    assert torch.allclose(out, plain)
    y = torch.randn_like(out).requires_grad_()
    (back,) = torch.autograd.grad(out, x, y, create_graph=True)
    assert back.shape == x.shape and torch.allclose((out * y).sum(), (x * back).sum())
    probe = torch.randn_like(x)
    (again,) = torch.autograd.grad((back * probe).sum(), y)
    assert torch.allclose(again, sl.filter2d(probe, kernel, (before, after), stride))


@pytest.mark.parametrize('stride', [1, 2])
def test_filters_and_their_derivatives_in_half_precision(stride):
    "The result has the precision of its input, inside and outside autocast."
    torch.manual_seed(0)
    x = torch.randn(2, 8, 16, 16)
    for dtype in (torch.float32, torch.bfloat16):
        leaf = x.to(dtype).requires_grad_()
        with torch.autocast('cpu', torch.bfloat16):
            y = sl.filter2d(leaf, KERNEL, (1, 1), stride)
        (gradient,) = torch.autograd.grad(y.square().sum(), leaf)
        exact = x.clone().requires_grad_()
        (expected,) = torch.autograd.grad(sl.filter2d(exact, KERNEL, (1, 1), stride).square().sum(), exact)
        assert y.dtype == gradient.dtype == dtype
        assert (gradient.float() - expected).norm() < (0.01 if dtype == torch.bfloat16 else 1e-5) * expected.norm()


class Convolutions(TorchDispatchMode):
    "Counts them."

    count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.count += 'convolution' in str(operation)
        return operation(*args, **(kwargs or {}))


def test_a_fixed_kernel_costs_no_gradient_of_its_own():
    "The second derivative runs as many convolutions for 32 channels as for 2, not one for each channel."

    def convolutions(channels):
        layer = sl.EqualConv2d(channels, channels, 3, down=True)
        x = torch.randn(2, channels, 8, 8, requires_grad=True)
        with Convolutions() as ran:
            (gradient,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
            gradient.square().sum().backward()
        return ran.count

    assert convolutions(2) == convolutions(32)


@pytest.mark.parametrize('up', [False, True])
def test_float16_never_leaves_its_range(up):
    "Large styles and inputs overflow without the two scales; with them the layer is that of float32, clamped."
    torch.manual_seed(0)
    layer = sl.ModulatedLayer(512, 16, 32, 16, up)
    x, w = 50 * torch.randn(2, 512, 8 if up else 16, 8 if up else 16), 40 * torch.randn(2, 32)
    style = layer.affine(w)
    with torch.autocast('cpu', torch.float16):
        found = layer(x, w, 'none')
        plain = sl.modulated_conv2d(x, layer.weight, style, demodulate=False, kernel=layer.kernel)
        scaled = sl.modulated_conv2d(x, layer.weight, style, kernel=layer.kernel)
    assert found.dtype == torch.float16 and found.isfinite().all() and not plain.isfinite().all()
    expected = layer(x, w, 'none')
    clamped = expected.clamp(-sl.LARGEST, sl.LARGEST)
    assert (found - clamped).norm() < 0.01 * clamped.norm()
    exact = sl.modulated_conv2d(x, layer.weight, style, kernel=layer.kernel)
    assert (scaled - exact).norm() < 0.01 * exact.norm()


def test_the_two_scales_of_float16_change_nothing_in_exact_arithmetic():
    torch.manual_seed(0)
    x, w, s = (torch.randn(*shape).double() for shape in ((2, 5, 6, 6), (4, 5, 3, 3), (2, 5)))
    weight, style = sl.within_one(1e4 * w, 300 * s)
    assert close(sl.modulated_conv2d(x, weight, style, eps=0.0), sl.modulated_conv2d(x, w, s, eps=0.0), 1e-12)
    assert style.abs().max() == 1 and (weight.abs().amax((1, 2, 3)) * 45**0.5 - 1).abs().max() < 1e-12
    assert all(t.isfinite().all() for t in sl.within_one(0 * w, 0 * s))


def test_memory_layout_changes_no_number():
    "Channels last or not: equal results, and the gradients lie in memory as the maps do."
    torch.manual_seed(0)
    layer, to_rgb, down = sl.ModulatedLayer(16, 16, 8, 16), sl.ToRGB(16, 8), sl.EqualConv2d(16, 16, 3, down=True)
    x, w = torch.randn(2, 16, 16, 16), torch.randn(2, 8)
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        leaf = x.clone(memory_format=layout).requires_grad_()
        maps = layer.to(memory_format=layout)(leaf, w, 'none')
        out = to_rgb(maps, w).sum() + down.to(memory_format=layout)(maps).square().sum()
        (gradient,) = torch.autograd.grad(out, leaf)
        assert maps.is_contiguous(memory_format=layout) and gradient.is_contiguous(memory_format=layout)
        found.append((out, gradient))
    assert close(found[0][0], found[1][0], 1e-4) and close(found[0][1], found[1][1], 1e-4)


@settings(max_examples=25, deadline=None)
@given(
    n=sizes,
    i=sizes,
    o=sizes,
    size=st.integers(3, 9),
    demodulate=st.booleans(),
    up=st.booleans(),
    seed=st.integers(0, 99),
)
def test_all_forms_are_one_function(n, i, o, size, demodulate, up, seed):
    torch.manual_seed(seed)
    x, w, s = torch.randn(n, i, size, size), torch.randn(o, i, 3, 3), torch.randn(n, i) + 1
    results = [sl.modulated_conv2d(x, w, s, demodulate, KERNEL if up else None, form) for form in sl.FORMS]
    assert results[0].shape == (n, o, size * (1 + up), size * (1 + up))
    for other in results[1:]:
        assert close(other, results[0], 1e-3)


def test_second_derivatives_of_the_layers():
    torch.manual_seed(0)
    x, w, s = (
        t.double().requires_grad_(True)
        for t in (torch.randn(2, 2, 4, 4), torch.randn(2, 2, 3, 3), torch.randn(2, 2) + 1)
    )
    k = KERNEL.double()
    assert torch.autograd.gradgradcheck(lambda x, w, s: sl.modulated_conv2d(x, w, s, kernel=k), (x, w, s))
    assert torch.autograd.gradgradcheck(lambda x: sl.downsample2d(sl.upsample_bilinear(x) ** 2, k), (x,))
    assert torch.autograd.gradgradcheck(lambda x: sl.minibatch_std(x, 2) ** 2, (x,))


@settings(max_examples=25, deadline=None)
@given(
    n=sizes, c=sizes, size=st.integers(2, 9), factor=st.floats(0.5, 10), shift=st.floats(-5, 5), seed=st.integers(0, 99)
)
def test_adain_statistics_and_invariance(n, c, size, factor, shift, seed):
    torch.manual_seed(seed)
    x, s, b = torch.randn(n, c, size, size), torch.randn(n, c), torch.randn(n, c)
    y = sl.adain(x, s, b)
    assert close(y.mean((2, 3)), b, 1e-3) and close(y.std((2, 3), correction=0), s.abs(), 1e-3)
    assert close(sl.adain(factor * x + shift, s, b), y, 1e-2)
    assert close(sl.adain(x[:1], s[:1], b[:1]), y[:1], 1e-5)


def test_adain_of_a_constant_map_is_its_bias():
    assert torch.isfinite(sl.adain(torch.ones(1, 2, 4, 4), torch.ones(1, 2), torch.ones(1, 2))).all()


@pytest.mark.parametrize('size', [0.0, 1.0, 300.0, 6e4])
def test_norms_of_float16_are_those_of_float32(size):
    torch.manual_seed(0)
    noise = torch.cat([torch.zeros(1, 3, 6, 6), torch.rand(1, 3, 6, 6) * 2 - 1])  # one constant map
    x = (size * noise).half()
    s, b = torch.randn(2, 3), torch.randn(2, 3)
    for norm in (sl.pixel_norm, sl.instance_norm, lambda x: sl.adain(x, s.to(x.dtype), b.to(x.dtype))):
        y = norm(x)
        assert y.dtype == torch.float16 and close(y.float(), norm(x.float()), 0.02)
    assert sl.pixel_norm(x.float()).dtype == torch.float32
    assert sl.instance_norm(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize('n', range(1, 14))
@pytest.mark.parametrize('group', [1, 3, 4])
def test_minibatch_std_takes_any_batch(n, group):
    x = torch.randn(n, 3, 4, 4)
    assert sl.minibatch_std(x, group).shape == (n, 4, 4, 4)
    assert torch.isfinite(sl.minibatch_std(x, group)).all()


@pytest.mark.parametrize('size', [4, 5, 8, 9])
def test_bilinear_doubling_is_the_filter(size):
    x = torch.randn(2, 3, size, size)
    assert close(sl.upsample_bilinear(x), sl.upsample2d(x, KERNEL), 1e-6)


@pytest.mark.parametrize('taps', [(1, 2, 1), (1, 3, 3, 1), (1, 4, 6, 4, 1)])
def test_filters_keep_constants_and_sizes(taps):
    kernel, one = sl.resample_kernel(taps), torch.ones(1, 1, 24, 24)
    assert sl.filter2d(one, kernel).shape == one.shape
    assert close(sl.upsample2d(one, kernel)[..., 4:-4, 4:-4], torch.ones(1, 1, 40, 40), 1e-5)
    assert close(sl.downsample2d(one, kernel)[..., 3:-3, 3:-3], torch.ones(1, 1, 6, 6), 1e-5)


@pytest.mark.parametrize('taps', [(1, 1), (1, 2, 1), (1, 3, 3, 1), (1, 4, 6, 4, 1), (1, 5, 10, 10, 5, 1)])
@pytest.mark.parametrize('form', sl.FORMS)
def test_a_doubling_convolution_that_copies_is_upsampling(taps, form):
    x, w, kernel = torch.randn(2, 3, 8, 7), torch.zeros(3, 3, 3, 3), sl.resample_kernel(taps)
    w[range(3), range(3), 1, 1] = 1
    y = sl.modulated_conv2d(x, w, torch.ones(2, 3), False, kernel, form)
    assert y.shape == (2, 3, 16, 14) and close(y, sl.upsample2d(x, kernel), 1e-5)
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)  # up, then down: in its place again
    back = sl.downsample2d(sl.conv_up(ramp, w[:1, :1], kernel), kernel)
    assert back.shape == ramp.shape and close(back[..., 3:-3, 3:-3], ramp[..., 3:-3, 3:-3], 1e-5)


def test_a_gentle_signal_survives_up_and_down():
    t = torch.linspace(0, 6, 64)
    wave = torch.sin(t)[None, None, :, None] + torch.cos(t)[None, None, None]
    back = sl.downsample2d(sl.upsample2d(wave, KERNEL), KERNEL)
    energy = back[..., 4:-4, 4:-4].square().mean() / wave[..., 4:-4, 4:-4].square().mean()
    assert 0.97 < energy < 1


def test_halving_convolution_is_blur_then_stride():
    x, w = torch.randn(2, 3, 12, 12), torch.randn(4, 3, 3, 3)
    assert close(sl.conv_down(x, w, KERNEL), F.conv2d(sl.filter2d(x, KERNEL, (2, 2)), w, stride=2), 1e-5)
    assert sl.conv_down(x, w[..., :1, :1], KERNEL).shape == (2, 4, 6, 6)


@pytest.mark.parametrize('lr_multiplier', [1.0, 0.1, 0.01])
def test_unit_variance_and_multiplier(lr_multiplier):
    torch.manual_seed(0)
    layer = sl.EqualLinear(400, 300, lr_multiplier=lr_multiplier, bias_init=1.0)
    y = layer(torch.randn(200, 400))
    assert abs(y.std().item() - 1) < 0.05 and abs(y.mean().item() - 1) < 0.05
    torch.manual_seed(0)
    same = sl.EqualLinear(400, 300, bias_init=1.0)
    x = torch.randn(3, 400)
    assert close(layer(x), same(x))


def test_deep_mapping_keeps_its_spread():
    torch.manual_seed(0)
    w = sl.MappingNetwork(64, 256, 8)(torch.randn(64, 64))
    assert 0.2 < w.square().mean().sqrt() < 3


def test_w_average_follows_the_batch_mean():
    mapping = sl.MappingNetwork(4, 8, 1)
    for _ in range(2000):
        mapping.track(torch.stack([torch.ones(8), 3 * torch.ones(8)]))
    assert close(mapping.w_avg, torch.full((8,), 2.0), 1e-3)


def test_noise_is_private_and_repeatable():
    layer = sl.Noise(8)
    layer.strength.data.fill_(1.0)
    x = torch.zeros(2, 3, 8, 8)
    before = torch.random.get_rng_state()
    a, b = (layer(x, 'random', torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(a, b) and torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(layer(x, 'none'), x) and torch.equal(layer(x, torch.ones(2, 1, 8, 8)), x + 1)
    # one map for all channels, another for each image
    assert not torch.equal(a[0], a[1]) and torch.equal(a[:, 0], a[:, 1])


@pytest.mark.parametrize('form', ['grouped', 'per_sample'])
def test_layer_folds_its_gains_exactly(form):
    torch.manual_seed(0)
    layer = sl.ModulatedLayer(5, 4, 6, size=16, up=True)
    layer.noise.strength.data.fill_(0.5)
    layer.bias.data.normal_()
    x, w = torch.randn(3, 5, 8, 8), torch.randn(3, 6)
    fast = layer(x, w, 'constant')
    y = sl.modulated_conv2d(x, layer.weight, layer.affine(w), True, layer.kernel, form)
    by_the_book = sl.leaky_relu(layer.noise(y, 'constant') + layer.bias[:, None, None])
    assert close(fast, by_the_book, 1e-5)
    layer.form = form
    assert close(layer(x, w, 'constant'), fast, 1e-5)


def test_bad_input_is_named_in_one_sentence():
    x, w = torch.randn(2, 3, 8, 8), torch.randn(4, 3, 3, 3)
    with pytest.raises(ValueError, match=r'style must be \[batch, inputs\] = \[2, 3\]'):
        sl.modulated_conv2d(x, w, torch.ones(2, 4))
    with pytest.raises(ValueError, match='has the forms'):
        sl.modulated_conv2d(x, w, torch.ones(2, 3), form='fused')
    for form in sl.FORMS:
        with pytest.raises(ValueError, match='has a weight of 3×3, not 1×1'):
            sl.modulated_conv2d(x, w[..., :1, :1], torch.ones(2, 3), kernel=KERNEL, form=form)
    with pytest.raises(ValueError, match='of 1×1 or 3×3, not 5×5'):
        sl.conv_down(x, torch.randn(4, 3, 5, 5), KERNEL)
    with pytest.raises(ValueError, match=r'z is \[batch, 8\]'):
        sl.MappingNetwork(8, 8, 1)(torch.ones(2, 9))
    with pytest.raises(ValueError, match='symmetric'):
        sl.resample_kernel((1, 2, 3))
    for form in sl.FORMS:
        with pytest.raises(ValueError, match='of 1 inputs do not fit the 3 maps'):
            sl.modulated_conv2d(torch.ones(2, 3, 4, 4), torch.ones(5, 1, 3, 3), torch.ones(2, 3), form=form)
    with pytest.raises(ValueError, match=r'\[b, 1, 8, 8\], not a list'):
        sl.Noise(8)(torch.ones(1, 2, 8, 8), [torch.ones(1, 1, 8, 8)])
    with pytest.raises(ValueError, match="noise is 'none'.* for a layer"):
        sl.Noise(8)(x, 'noisy')


def test_scale_is_the_inverse_root_of_fan_in():
    assert sl.equalized_scale(9 * 16) == pytest.approx(1 / 12) and sl.equalized_scale(
        4, math.sqrt(2), 0.5
    ) == pytest.approx(math.sqrt(2) / 4)
