"""Ray marching and field evaluation: ratios of processor time against a named baseline, measured in the same run.

    OMP_NUM_THREADS=1 python benchmarks/render.py [--points 98304] [--hidden 256] [--repeats 3]

Baseline "straight": the pi-GAN field line by line as the paper writes it, all points at once (98,304 = 64 × 64 pixels ×
24 samples). "chunked" is what the library uses on a CPU: frequencies folded into the weights, cache-sized chunks,
recomputed backward pass. Processor time, not wall time, so that other programs on the machine disturb less; runs are
interleaved and the best of each counts.
"""

import argparse
import time

import torch
import torch.nn.functional as F
from animegan_nb.cameras import pose, rays
from animegan_nb.core import rng
from animegan_nb.raymarch import composite, march, sample_bins
from animegan_nb.siren import CHUNK, FieldConfig, PiganField


def best_of(calls: dict, repeats: int) -> dict[str, float]:
    "Least processor seconds of each call, the calls interleaved."
    best = {}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.process_time()
            call()
            best[name] = min(best.get(name, 1e9), time.process_time() - start)
    return best


def report(title: str, seconds: dict[str, float], points: int, flop: float | None = None):
    base = next(iter(seconds))
    print(f'\n{title} (baseline: {base})')
    for name, s in seconds.items():
        speed = f'  {flop * points / s / 1e9:7.1f} GFLOP/s' if flop else ''
        print(f'  {name:<22} {1e6 * s / points:8.3f} µs a point  {seconds[base] / s:5.2f}×{speed}')


def printed_sum(rgb, density, t):
    "The sum as it is printed, with products of 1 − α."
    delta = torch.cat([t.diff(dim=-1), torch.full_like(t[..., :1], 1e10)], -1)
    alpha = 1 - torch.exp(-delta * F.relu(density))
    w = alpha * torch.cumprod(torch.cat([torch.ones_like(alpha[..., :1]), 1 - alpha + 1e-10], -1), -1)[..., :-1]
    return (w[..., None] * rgb).sum(-2), (w * t).sum(-1), w


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument('--points', type=int, default=98_304)
    arguments.add_argument('--hidden', type=int, default=256)
    arguments.add_argument('--repeats', type=int, default=3)
    a = arguments.parse_args()
    torch.manual_seed(0)
    n, h, g = a.points, a.hidden, rng(0)
    field = PiganField(FieldConfig(hidden=h))
    points, ways = (
        (torch.rand(1, n, 3, generator=g) - 0.5) * 0.24,
        F.normalize(torch.randn(1, n, 3, generator=g), dim=-1),
    )
    z = torch.randn(1, 256, generator=g)
    flop = 2.0 * (3 * h + 7 * h * h + h + (h + 3) * h + 3 * h)

    m = torch.randn(CHUNK, h)
    w = torch.randn(h, h)
    rate = best_of({'product': lambda: [m @ w for _ in range(200)]}, 3)['product']
    print(
        f'torch {torch.__version__}, {torch.get_num_threads()} thread(s), {n} points, hidden {h}; matrix product'
        f' {CHUNK}×{h}×{h}: {200 * 2 * CHUNK * h * h / rate / 1e9:.1f} GFLOP/s'
    )

    methods = ('straight', 'folded', 'chunked')
    with torch.no_grad():
        condition = field.condition(z)
        exact, fast = field(points, condition, ways, 'straight'), field(points, condition, ways, 'chunked')
        scale = field.config.density_scale
        print(
            f'largest difference between straight and chunked: colour {(exact[0] - fast[0]).abs().max():.1e}, raw'
            f' density {((exact[1] - fast[1]) / scale).abs().max():.1e}'
        )
        calls = {m: lambda m=m: field(points, condition, ways, m) for m in methods}
        calls['chunked, density only'] = lambda: field.density_only(points, condition)
        report('field, forward', best_of(calls, a.repeats), n, flop)

    def step(method):
        field.zero_grad()
        rgb, density = field(points, z, ways, method)
        (rgb.mean() + density.mean() / scale).backward()

    report('field, forward and backward', best_of({m: lambda m=m: step(m) for m in methods}, a.repeats), n, 3 * flop)

    o, d = rays(pose(0.2, 0.1), 12.0, 64)
    with torch.no_grad():
        t = sample_bins(0.88, 1.12, 24, 1, 4096)
        rgb, density = torch.rand(1, 4096, 24, 3, generator=g), 50 * torch.randn(1, 4096, 24, generator=g)
        report(
            'compositing 64² × 24',
            best_of(
                {
                    'printed product': lambda: printed_sum(rgb, density, t),
                    'composite': lambda: composite(rgb, density, t, last='inf'),
                },
                10,
            ),
            4096 * 24,
        )
        images = {
            f'{m}, 12 + 12': lambda m=m: march(field.at(condition, m), o, d, 0.88, 1.12, 12, 12)
            for m in ('straight', 'chunked')
        }
        report('picture of 64², per sample', best_of(images, a.repeats), 4096 * 24)


if __name__ == '__main__':
    main()
