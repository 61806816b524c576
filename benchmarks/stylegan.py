"""StyleGAN2 on this machine: a full lazy iteration, its fraction of the measured convolution peak, and what each choice
of `animegan_nb.style_layers` is worth against plain reference-like operators. All variants have the same weights and
are checked to draw the same pictures before they are timed. Prints ratios; run with OMP_NUM_THREADS=1 for quiet
numbers.

    python benchmarks/stylegan.py [size] [batch] [repeats]
"""

import sys
import time
from contextlib import contextmanager
from unittest import mock

import torch
import torch.nn.functional as F

from animegan_nb import style_layers as sl
from animegan_nb import stylegan as sg
from animegan_nb.losses import discriminator_loss, generator_loss
from animegan_nb.penalties import r1_penalty
from animegan_nb.training import count_flops, Draws

SIZE, BATCH, REPEATS = (int(v) for v in (sys.argv[1:] + ['64', '8', '5'][len(sys.argv) - 1 :]))


# ---- reference-like operators: what the formulas say, one pass each -------------------------------------------------
def naive_fir(x, kernel, up=1, down=1, padding=(0, 0), gain=1.0):
    "Zeros between the pixels, zeros around, a dense filter, then every `down`-th pixel."
    n, c, h, w = x.shape
    x = F.pad(x.reshape(n, c, h, 1, w, 1), (0, up - 1, 0, 0, 0, up - 1)).reshape(n, c, h * up, w * up)
    x = F.conv2d(F.pad(x, (padding[0], padding[1]) * 2), (kernel * gain).expand(c, 1, -1, -1), groups=c)
    return x[..., ::down, ::down]


def naive_filter(x, kernel, padding=None, stride=1):
    k = len(kernel)
    return naive_fir(x, kernel, 1, stride, padding or (k // 2, (k - 1) // 2))


def naive_down(x, kernel):
    return naive_fir(x, kernel, 1, 2, ((len(kernel) - 1) // 2, (len(kernel) - 2) // 2))


def naive_up(x):
    return naive_fir(x, sl.resample_kernel(), 2, 1, (2, 1), 4.0)


def naive_demodulation(weight, style, eps=1e-8):
    return torch.rsqrt((weight[None] * style[:, None, :, None, None]).square().sum((2, 3, 4)) + eps)


def naive_layer(self, x, w, noise='random', rng=None):
    "Convolution, noise, bias, activation and gain one after the other."
    y = sl.modulated_conv2d(x, self.weight, self.affine(w), True, self.kernel, 'scaled')
    extra = self.noise.map(x, noise, rng)
    if extra is not None:
        y = y + extra
    return F.leaky_relu(y + self.bias[:, None, None], 0.2) * sl.SQRT2


def naive_conv(self, x):
    gain = self.gain / (sl.SQRT2 if self.activation else 1)
    weight = self.weight * (self.scale / self.gain)
    y = sl.conv_down(x, weight, self.kernel) if self.down else F.conv2d(x, weight, padding=self.padding)
    if self.bias is not None:
        y = y + self.bias[:, None, None]
    return F.leaky_relu(y, 0.2) * sl.SQRT2 * gain if self.activation else y * gain


PATCHES = {
    'strided filters': [('filter2d', naive_filter), ('downsample2d', naive_down)],
    'bilinear doubling': [('upsample_bilinear', naive_up)],
    'demodulation by a product': [('demodulation', naive_demodulation)],
}


@contextmanager
def without(*names):
    "The library with some of its choices replaced by reference-like operators."
    patches = []
    for name in names:
        if name == 'folded gains':
            patches += [
                mock.patch.object(sl.ModulatedLayer, 'forward', naive_layer),
                mock.patch.object(sl.EqualConv2d, 'forward', naive_conv),
            ]
        elif name == 'colours by a product':
            patches += [
                mock.patch.object(
                    sl.ToRGB, 'product', lambda self, x, s: sl.modulated_conv2d(x, self.weight, s, demodulate=False)
                )
            ]
        else:
            for attribute, function in PATCHES[name]:
                patches += [
                    mock.patch.object(module, attribute, function) for module in (sl, sg) if hasattr(module, attribute)
                ]
    for p in patches:
        p.start()
    try:
        yield
    finally:
        for p in patches:
            p.stop()


CHOICES = [*PATCHES, 'folded gains', 'colours by a product']


# ---- what is timed --------------------------------------------------------------------------------------------------
CONFIG = sg.StyleGANConfig(
    SIZE,
    z_dim=128,
    w_dim=128,
    mapping_layers=8,
    channel_base=64 * 64 if SIZE <= 64 else 32 * 128,
    channel_max=128,
    mixing=0.0,
)


def steps(pair, real, draws):
    "The four pieces of a lazy iteration, as functions that run forward and backward."

    def parts(role):
        for name in ('generator', 'discriminator'):
            getattr(pair, name).requires_grad_(name == role)

    def fakes():
        return pair.generator.synthesis(pair.styles(BATCH, draws)[1], sg.draw_noise(pair.generator, BATCH, draws))

    def g():
        parts('generator')
        generator_loss(pair.discriminator(fakes())).backward()

    def d():
        parts('discriminator')
        with torch.no_grad():
            fake = fakes()
        discriminator_loss(pair.discriminator(real), pair.discriminator(fake)).backward()

    def r1():
        parts('discriminator')
        r1_penalty(pair.discriminator, real, 10.0).backward()

    def path():
        parts('generator')
        pair.path_penalty(BATCH // 2, draws)[0].backward()

    def infer():
        with torch.no_grad():
            pair.generator.synthesis(pair.generator.mapping(draws.normal(BATCH, CONFIG.z_dim)), 'constant')

    return dict(G=g, D=d, R1=r1, path=path, infer=infer)


def seconds(function, repeats=REPEATS):
    function()
    times = []
    for _ in range(repeats):
        start = time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()
        function()
        times.append((time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()) - start)
    return sorted(times)[len(times) // 2]


def lazy(t):
    return t['G'] + t['D'] + t['R1'] / 16 + t['path'] / 4


def measure(pair, real, repeats=REPEATS):
    return {name: seconds(f, repeats) for name, f in steps(pair, real, Draws(0)).items()}


def peak():
    "The best FLOP/s of a 3×3 convolution here, forward and backward."
    best = 0.0
    for c, size in ((128, 32), (128, 64), (256, 32)):
        x, w = torch.randn(8, c, size, size, requires_grad=True), torch.randn(c, c, 3, 3, requires_grad=True)
        run = lambda: F.conv2d(x, w, padding=1).sum().backward()  # noqa: B023
        best = max(best, 3 * 2 * 8 * c * c * 9 * size * size / seconds(run, 3))
    return best


def row(name, t, base):
    print(
        f'{name:34s} {1000 * t["infer"]:8.0f} {1000 * lazy(t):10.0f} {base["infer"] / t["infer"]:14.2f}'
        f' {lazy(base) / lazy(t):12.2f}',
        flush=True,
    )


def main():
    torch.manual_seed(0)
    pair, real = sg.StyleGANPair(CONFIG), torch.randn(BATCH, 3, SIZE, SIZE)
    ws = pair.generator.mapping(torch.randn(BATCH, CONFIG.z_dim))
    print(
        f'{SIZE} px, batch {BATCH}, {torch.get_num_threads()} thread(s), torch {torch.__version__}; G'
        f' {sg.count_parameters(pair.generator):,}, D {sg.count_parameters(pair.discriminator):,} parameters; median of'
        f' {REPEATS}'
    )
    expected, logits = pair.generator.synthesis(ws, 'constant').detach(), pair.discriminator(real).detach()

    def same():
        assert torch.allclose(
            pair.generator.synthesis(ws, 'constant'), expected, atol=1e-4, rtol=1e-4
        ) and torch.allclose(pair.discriminator(real), logits, atol=1e-4)

    with without(*CHOICES):
        same()
        naive = measure(pair, real)
    print(
        f'{"":34s} {"infer ms":>8s} {"lazy it ms":>10s} {"infer ×":>14s} {"lazy it ×":>12s}   (× against reference-like'
        ' operators)'
    )
    row('reference-like operators', naive, naive)
    ours = measure(pair, real)
    row('this library', ours, naive)
    for choice in CHOICES:
        with without(choice):
            same()
            row(f'  without {choice}', measure(pair, real, max(2, REPEATS // 2)), naive)
    for form in ('grouped', 'per_sample'):
        for m in pair.modules():
            if isinstance(m, sl.ModulatedLayer):
                m.form = form
        same()
        row(f'  modulation {form}', measure(pair, real, max(2, REPEATS // 2)), naive)
    for m in pair.modules():
        if isinstance(m, sl.ModulatedLayer):
            m.form = 'scaled'
    row(
        '  channels last',
        measure(
            pair.to(memory_format=torch.channels_last),
            real.contiguous(memory_format=torch.channels_last),
            max(2, REPEATS // 2),
        ),
        naive,
    )
    pair.to(memory_format=torch.contiguous_format)
    works = {name: count_flops(f) for name, f in steps(pair, real, Draws(0)).items()}
    rate, best = lazy(works) / lazy(ours), peak()
    print(
        f'one lazy iteration: {BATCH / lazy(ours):.2f} images/s, {lazy(works) / 1e9:.1f} GFLOP, {rate / 1e9:.1f}'
        f' GFLOP/s = {rate / best:.0%} of the convolution peak ({best / 1e9:.1f} GFLOP/s)'
    )
    print('milliseconds: ' + ', '.join(f'{name} {1000 * value:.0f}' for name, value in ours.items()))


if __name__ == '__main__':
    main()
