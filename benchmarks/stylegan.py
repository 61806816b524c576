"""StyleGAN2 on this machine: a full lazy iteration in float32 and in bfloat16 against plain reference-like operators,
its fraction of the measured convolution peak, its memory, and what each choice of `animegan_nb.style_layers` is worth.
All variants have the same weights and are checked to draw the same images and to have the same gradients; then they
take turns, and the ratios are those of neighbouring turns. Run with OMP_NUM_THREADS=1 for quiet numbers.

    python benchmarks/stylegan.py [size] [batch] [repeats] [choices: 1, or 0 to leave the rows of the choices out]
"""

import statistics
import sys
import time
from contextlib import contextmanager
from unittest import mock

import torch
import torch.nn.functional as F

from animegan_nb import style_layers as sl
from animegan_nb import stylegan as sg
from animegan_nb.losses import discriminator_loss, generator_loss
from animegan_nb.penalties import r1_of_logits, r1_penalty
from animegan_nb.training import count_flops, Draws, PeakMemory

SIZE, BATCH, REPEATS, EACH = (int(v) for v in (sys.argv[1:] + ['64', '8', '5', '1'][len(sys.argv) - 1 :]))


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
CHOICES = [
    *PATCHES,
    'adjoint filters',
    'folded gains',
    'colours by a product',
    'channels last',
    "R1 on the loss's own pass",
]


def patches(name):
    "What replaces one choice of the library by reference-like operators."
    if name == 'adjoint filters':
        return [mock.patch.object(sl.LinearMap, 'apply', lambda x, function, adjoint: function(x))]
    if name == 'folded gains':
        return [
            mock.patch.object(sl.ModulatedLayer, 'forward', naive_layer),
            mock.patch.object(sl.EqualConv2d, 'forward', naive_conv),
        ]
    if name == 'colours by a product':
        plain = lambda self, x, s: sl.modulated_conv2d(x, self.weight, s, demodulate=False)
        return [mock.patch.object(sl.ToRGB, 'product', plain)]
    return [
        mock.patch.object(module, attribute, function)
        for attribute, function in PATCHES.get(name, [])
        for module in (sl, sg)
        if hasattr(module, attribute)
    ]


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


class Variant:
    "The same weights with some choices of the library taken back, in one precision."

    def __init__(self, *without, precision=torch.float32, form='scaled'):
        torch.manual_seed(0)
        self.pair, self.real = sg.StyleGANPair(CONFIG), torch.rand(BATCH, 3, SIZE, SIZE) * 2 - 1
        self.draws, self.without, self.precision = Draws(0), without, precision
        if 'channels last' in without:
            self.pair.to(memory_format=torch.contiguous_format)
        for m in self.pair.modules():
            if isinstance(m, sl.ModulatedLayer):
                m.form = form

    @contextmanager
    def active(self):
        running = [p for name in self.without for p in patches(name)]
        for p in running:
            p.start()
        try:
            yield
        finally:
            for p in running:
                p.stop()

    def forward(self):
        return torch.autocast('cpu', torch.bfloat16, enabled=self.precision == torch.bfloat16)

    def train(self, role):
        for name in ('generator', 'discriminator'):
            getattr(self.pair, name).requires_grad_(name == role)

    def fakes(self):
        G = self.pair.generator
        return G.synthesis(self.pair.styles(BATCH, self.draws)[1], sg.draw_noise(G, BATCH, self.draws))

    def generator(self):
        self.train('generator')
        with self.forward():
            loss = generator_loss(self.pair.discriminator(self.fakes()))
        loss.backward()

    def discriminator(self, r1=False):
        self.train('discriminator')
        one_pass, D = "R1 on the loss's own pass" not in self.without, self.pair.discriminator
        real = self.real.detach().requires_grad_(r1 and one_pass)
        with self.forward():
            with torch.no_grad():
                fake = self.fakes()
            logits = D(real)
            loss = discriminator_loss(logits, D(fake))
            if r1:
                loss = loss + 16 * (r1_of_logits(logits, real, 10.0) if one_pass else r1_penalty(D, real, 10.0))
        loss.backward()

    def path(self):
        self.train('generator')
        with self.forward():
            penalty = self.pair.path_penalty(BATCH // 2, self.draws)[0]
        penalty.backward()

    def draw(self):
        with torch.no_grad(), self.forward():
            G = self.pair.generator
            return G.synthesis(G.mapping(Draws(1).normal(BATCH, CONFIG.z_dim)), 'constant')

    def pieces(self):
        return {
            'infer': self.draw,
            'G': self.generator,
            'D': self.discriminator,
            'D with R1': lambda: self.discriminator(r1=True),
            'path': self.path,
        }

    def gradients(self):
        "Of the discriminator's penalised step, with fresh draws."
        self.pair.zero_grad()
        self.draws = Draws(0)
        self.discriminator(r1=True)
        found = torch.cat([p.grad.flatten() for p in self.pair.discriminator.parameters()])
        self.pair.zero_grad()
        return found


def megabytes(function):
    with PeakMemory() as peak:
        function()
    return peak.most / 2**20


def clock():
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def seconds(function):
    start = clock()
    function()
    return clock() - start


def measure(variants, repeats):
    "Seconds of every piece of every variant, taking turns: {variant: {piece: [seconds]}}."
    times = {name: {piece: [] for piece in v.pieces()} for name, v in variants.items()}
    for turn in range(repeats + 1):
        for name, v in variants.items() if turn % 2 else reversed(variants.items()):
            with v.active():
                for piece, function in v.pieces().items():
                    spent = seconds(function)
                    if turn:  # the first turn warms up
                        times[name][piece].append(spent)
    return times


def lazy(t):
    "One iteration: R1 acts in every sixteenth step, path length in every fourth."
    return t['G'] + t['D'] * 15 / 16 + t['D with R1'] / 16 + t['path'] / 4


def peak():
    "The best FLOP/s of a 3×3 convolution here, forward and backward."
    best = 0.0
    for c, size in ((128, 32), (128, 64), (256, 32)):
        x, w = torch.randn(8, c, size, size, requires_grad=True), torch.randn(c, c, 3, 3, requires_grad=True)
        run = lambda: F.conv2d(x, w, padding=1).sum().backward()  # noqa: B023
        best = max(best, 3 * 2 * 8 * c * c * 9 * size * size / min(seconds(run) for _ in range(5)))
    return best


def report(variants, times, base):
    "A row for each variant: times, ratios of neighbouring turns (their middle half), memory."
    turns = lambda t: [{piece: values[i] for piece, values in t.items()} for i in range(len(t['G']))]
    for name, v in variants.items():
        mine, theirs = turns(times[name]), turns(times[base])
        ratios = sorted(lazy(b) / lazy(a) for a, b in zip(mine, theirs))
        draws = statistics.median(b['infer'] / a['infer'] for a, b in zip(mine, theirs))
        quarter = len(ratios) // 4
        with v.active():
            memory = {piece: megabytes(f) for piece, f in v.pieces().items() if piece != 'infer'}
        print(
            f'{name:36s} {1000 * statistics.median(t["infer"] for t in mine):7.0f}'
            f' {1000 * statistics.median(lazy(t) for t in mine):7.0f} {draws:9.2f} {statistics.median(ratios):7.2f}'
            f' [{ratios[quarter]:.2f}–{ratios[-1 - quarter]:.2f}]   '
            + ', '.join(f'{piece} {value:.0f}' for piece, value in memory.items()),
            flush=True,
        )


def main():
    base = 'reference-like operators'
    variants = {
        base: Variant(*CHOICES),
        'this library': Variant(),
        'this library, bfloat16': Variant(precision=torch.bfloat16),
    }
    G, D = variants[base].pair.generator, variants[base].pair.discriminator
    print(
        f'{SIZE} px, batch {BATCH}, {torch.get_num_threads()} thread(s), torch {torch.__version__}; G'
        f' {sg.count_parameters(G):,}, D {sg.count_parameters(D):,} parameters; {REPEATS} turns'
    )
    others = {f'  without {choice}': Variant(choice) for choice in CHOICES}
    others |= {f'  modulation {form}': Variant(form=form) for form in ('grouped', 'per_sample')}
    others = others if EACH else {}
    with variants[base].active():
        expected, gradients = variants[base].draw(), variants[base].gradients()
    for name, v in {**variants, **others}.items():
        with v.active():
            picture, gradient = v.draw(), v.gradients()
        error = ((picture - expected).norm() / expected.norm()).item()
        off = ((gradient - gradients).norm() / gradients.norm()).item()
        if v.precision == torch.float32:
            assert error < 1e-4 and off < 1e-3, (name, error, off)
        else:
            print(f'{name}: images differ by {error:.1e}, gradients of a penalised step by {off:.1e}')
    print(f'{"":36s} {"infer":>7s} {"lazy":>7s} {"× infer":>9s} {"× lazy":>7s}   (ms; × against {base}; MB)')
    times = measure(variants, REPEATS)
    report(variants, times, base)
    some = {base: variants[base], 'this library': variants['this library'], **others}
    if EACH:
        report(others, measure(some, max(2, REPEATS // 2)), base)
    ours = variants['this library']
    work = lazy({piece: count_flops(f) for piece, f in ours.pieces().items()})
    spent = lazy({piece: statistics.median(values) for piece, values in times['this library'].items()})
    best = peak()
    print(
        f'one lazy iteration: {BATCH / spent:.2f} images/s, {work / 1e9:.1f} GFLOP, {work / spent / 1e9:.1f}'
        f' GFLOP/s = {work / spent / best:.0%} of the convolution peak ({best / 1e9:.1f} GFLOP/s)'
    )
    for name in variants:
        print(f'{name}: ' + ', '.join(f'{p} {1000 * statistics.median(v):.0f} ms' for p, v in times[name].items()))


if __name__ == '__main__':
    main()
