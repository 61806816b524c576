"""Ray marching and field evaluation: ratios of processor time against named baselines, measured in the same run.

    OMP_NUM_THREADS=1 python benchmarks/render.py [--points 24576] [--hidden 256] [--batches 1 2 4] [--repeats 5]
        [--images]

Baseline "official": the pi-GAN field as it is published (marcoamonteiro/pi-GAN, SPATIALSIRENBASELINE), written with its
own operations; it is checked to give the same numbers. "straight" is the library's literal form, "chunked" what it uses
on a CPU: frequencies folded into the weights, cache-sized chunks, sines in C, kept as far as they fit. "nothing kept"
computes all sines again for the backward pass, "mixed" rounds the hidden products to bfloat16 where the processor has
them. Beside each time stands what waits for the gradient. Processor time, not wall time, so that other programs on the
machine disturb less; runs are interleaved, ratios are medians of pairs. "bound" is the time of the matrix products
alone, which no form in float32 can go below.
"""

import argparse
import statistics

import torch
import torch.nn.functional as F
from turns import in_turns
from animegan_nb import siren
from animegan_nb.cameras import pose, rays
from animegan_nb.core import rng
from animegan_nb.pigan import saved_bytes
from animegan_nb.raymarch import composite, march, sample_bins
from animegan_nb.siren import CHUNK, FieldConfig, PiganField, sine, sine_library


def report(title: str, calls: dict, repeats: int, points: int, flop: float | None = None, memory: dict | None = None):
    "Times and ratios to the first call: the median of the pairs, and their quartiles."
    seconds = in_turns(calls, repeats)
    base = next(iter(seconds.values()))
    print(f'\n{title} (baseline: {next(iter(seconds))})')
    for name, found in seconds.items():
        low, middle, high = quartiles([b / s for b, s in zip(base, found)])
        best = min(found)
        speed = f'  {flop * points / best / 1e9:6.1f} GFLOP/s' if flop else ''
        kept = f'  {memory[name] / 2**20:7.0f} MiB kept' if memory and name in memory else ''
        line = f'{1e6 * best / points:8.3f} µs a point  {middle:5.2f}× [{low:.2f} to {high:.2f}]'
        print(f'  {name:<22} {line}{speed}{kept}', flush=True)


def quartiles(values: list[float]) -> list[float]:
    return statistics.quantiles(values, n=4) if len(values) > 1 else values * 3


def official(field: PiganField, points, condition, directions):
    "The published forward pass: FiLM layer by layer, frequencies and phases expanded over the points."
    c = field.config
    frequencies, phases = condition
    frequencies = c.frequency_scale * frequencies + c.frequency_shift

    def layer(linear, x, k):
        x = linear(x)
        frequency = frequencies[:, k].unsqueeze(1).expand_as(x)
        phase = phases[:, k].unsqueeze(1).expand_as(x)
        return torch.sin(frequency * x + phase)

    x = points * (2 / c.box)
    for k, linear in enumerate(field.trunk):
        x = layer(linear, x, k)
    density = c.density_scale * field.density(x).squeeze(-1) + c.density_bias
    return torch.sigmoid(field.rgb(layer(field.colour, torch.cat([directions, x], -1), -1))), density


def printed_sum(rgb, density, t):
    "The sum as it is printed, with products of 1 − α."
    delta = torch.cat([t.diff(dim=-1), torch.full_like(t[..., :1], 1e10)], -1)
    alpha = 1 - torch.exp(-delta * F.relu(density))
    w = alpha * torch.cumprod(torch.cat([torch.ones_like(alpha[..., :1]), 1 - alpha + 1e-10], -1), -1)[..., :-1]
    return (w[..., None] * rgb).sum(-2), (w * t).sum(-1), w


def scene(hidden: int, batch: int, points: int):
    "A field, and points, directions and codes for it."
    torch.manual_seed(0)
    field, g = PiganField(FieldConfig(hidden=hidden)), rng(0)
    places = (torch.rand(batch, points, 3, generator=g) - 0.5) * field.config.box
    ways = F.normalize(torch.randn(batch, points, 3, generator=g), dim=-1)
    return field, places, ways, torch.randn(batch, field.config.z_dim, generator=g)


def forward(a, flop: float):
    field, points, ways, z = scene(a.hidden, 1, a.points)
    with torch.no_grad():
        condition, scale = field.condition(z), field.config.density_scale
        exact = official(field, points, condition, ways)
        for method in ('straight', 'chunked', 'mixed'):
            found = field(points, condition, ways, method)
            gaps = [(x - y).abs().max() / s for x, y, s in zip(exact, found, (1, scale))]
            print(f'{method} against official: colour {gaps[0]:.1e}, raw density {gaps[1]:.1e} at most')
        methods = {m: lambda m=m: field(points, condition, ways, m) for m in ('straight', 'folded', 'chunked', 'mixed')}
        calls = {'official': lambda: official(field, points, condition, ways)} | methods
        calls['density only'] = lambda: field.density_only(points, condition)
        report('field, forward', calls, a.repeats, a.points, flop)


def backward(a, flop: float, batch: int):
    field, points, ways, z = scene(a.hidden, batch, a.points)
    kept = siren.KEPT

    def step(evaluate):
        field.zero_grad()
        rgb, density = evaluate()
        (rgb.mean() + density.mean() / field.config.density_scale).backward()

    def nothing_kept():
        siren.KEPT = 0
        try:
            step(forms['chunked'])
        finally:
            siren.KEPT = kept

    forms = {'official': lambda: official(field, points, field.condition(z), ways)}
    forms |= {m: lambda m=m: field(points, z, ways, m) for m in ('chunked', 'mixed')}
    memory = {name: saved_bytes(form) for name, form in forms.items()}
    calls = {name: lambda form=form: step(form) for name, form in forms.items()} | {'nothing kept': nothing_kept}
    title = f'field, forward and backward, batch {batch}'
    report(title, calls, a.repeats, batch * a.points, 3 * flop, memory)


def images(a):
    o, d = rays(pose(0.2, 0.1), 12.0, 64)
    field, _, _, z = scene(a.hidden, 1, 1)
    g = rng(1)
    with torch.no_grad():
        condition = field.condition(z)
        t = sample_bins(0.88, 1.12, 24, 1, 4096)
        rgb, density = torch.rand(1, 4096, 24, 3, generator=g), 50 * torch.randn(1, 4096, 24, generator=g)
        sums = {
            'printed product': lambda: printed_sum(rgb, density, t),
            'composite': lambda: composite(rgb, density, t, last='inf'),
        }
        report('compositing 64² × 24', sums, 2 * a.repeats, 4096 * 24)
        forms = {
            f'{m}, 12 + 12': lambda m=m: march(field.at(condition, m), o, d, 0.88, 1.12, 12, 12)
            for m in ('straight', 'chunked', 'mixed')
        }
        report('image of 64², per sample', forms, a.repeats, 4096 * 24)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument(
        '--points', type=int, default=24_576, help='of each code; 64² pixels × 24 samples are 98,304'
    )
    arguments.add_argument('--hidden', type=int, default=256)
    arguments.add_argument('--batches', type=int, nargs='+', default=[1, 2, 4])
    arguments.add_argument('--repeats', type=int, default=5)
    arguments.add_argument('--images', action='store_true', help='also compositing and whole images')
    a = arguments.parse_args()
    h = a.hidden
    flop = 2.0 * (3 * h + 7 * h * h + h + (h + 3) * h + 3 * h)
    m, w = torch.randn(CHUNK, h), torch.randn(h, h)
    product = min(in_turns({'x': lambda: [siren._linear(m, w) for _ in range(200)]}, 3)['x'])
    x = 30 * torch.randn(CHUNK, h)
    sines = min(in_turns({'x': lambda: [sine(x) for _ in range(200)]}, 3)['x'])
    rate = 200 * 2 * CHUNK * h * h / product
    print(
        f'torch {torch.__version__}, {torch.get_num_threads()} thread(s), {a.points} points, hidden {h}; matrix product'
        f' {CHUNK}×{h}×{h}: {rate / 1e9:.1f} GFLOP/s (bound: {1e6 * flop / rate:.3f} µs a point); a sine'
        f' {sines / 200 / x.numel() * 1e9:.2f} ns, {"in C" if sine_library() else "of PyTorch"}'
    )
    forward(a, flop)
    for batch in a.batches:
        backward(a, flop, batch)
    if a.images:
        images(a)


if __name__ == '__main__':
    main()
