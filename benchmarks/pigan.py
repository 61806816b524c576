"""pi-GAN on this machine: a full step against a plain implementation of the same recipe, the fast recipe against the
official one, both also in bfloat16, and how many images a second the shipped network draws. Prints ratios of
processor time (medians of interleaved pairs) and the most memory that the tensors of a step take up.

    OMP_NUM_THREADS=1 python benchmarks/pigan.py [--size 64] [--batch 1] [--hidden 256] [--repeats 2]
        [--parts recipes,orbit,step] [--write]
    OMP_NUM_THREADS=1 python benchmarks/pigan.py --parts summary
        # trains 3 × 3 small networks; started again, it goes on with the next one

With --write the numbers also go to data/results/pigan_cpu.json.

"plain" is pi-GAN as the paper writes it, in a few lines: every FiLM layer over all points at once, the sum with
products of 1 − α, both looks with their graphs, R1 in every step, fakes drawn anew for both players. "official" is the
same recipe in this library, "fast" its other recipe. Plain and official start from the same weights and are checked to
give the same image. "summary" trains what a machine-made summary of the paper describes (a patch network multiplied
with the discriminator, then a reconstruction loss too) against the same recipe without, at 16 px, and writes
data/results/pigan_summary.json after each network.
"""

import argparse
import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from render import quartiles
from turns import best_of, in_turns

from animegan_nb import pigan_training
from animegan_nb import siren
from animegan_nb import pigan, toon
from animegan_nb.cameras import pose, rays, turntable
from animegan_nb.core import rng, seed_everything
from animegan_nb.metrics import extract, frechet_distance
from animegan_nb.geometry import view_consistency
from animegan_nb.training import Draws, PeakMemory, Trainer, TrainingConfig

ROOT = Path(__file__).resolve().parents[1]

ADAM = dict(lr=6e-5, betas=(0.0, 0.9))


# ---- the plain implementation
# ------------------------------------------------------------------------------------------
def plain_field(field, condition, origins, directions, t):
    b, r, s = t.shape
    points = (origins[:, :, None] + t[..., None] * directions[:, :, None]).reshape(b, r * s, 3)
    ways = directions[:, :, None].expand(b, r, s, 3).reshape(b, r * s, 3)
    rgb, density = field.straight(points, condition, ways)
    return rgb.view(b, r, s, 3), density.view(b, r, s)


def plain_weights(density, t):
    delta = torch.cat([t.diff(dim=-1), torch.full_like(t[..., :1], 1e10)], -1)
    alpha = 1 - torch.exp(-delta * F.relu(density))
    return alpha * torch.cumprod(torch.cat([torch.ones_like(alpha[..., :1]), 1 - alpha + 1e-10], -1), -1)[..., :-1]


def plain_render(G, z, cam2world, size, g=None):
    v, condition = G.view, G.field.condition(z)
    o, d = rays(cam2world, v.fov, size, 'border')
    b, r = d.shape[:2]
    t = torch.linspace(v.near, v.far, v.samples).expand(b, r, -1)
    if g is not None:
        t = t + (torch.rand(t.shape, generator=g) - 0.5) * (v.far - v.near) / (v.samples - 1)
    rgb, density = plain_field(G.field, condition, o, d, t)
    with torch.no_grad():
        w = plain_weights(density, t)[..., 1:-1] + 2e-5
        cdf = F.pad((w / w.sum(-1, keepdim=True)).cumsum(-1), (1, 0))
        u = torch.rand(b, r, v.fine, generator=g) if g is not None else torch.linspace(0, 1, v.fine).expand(b, r, -1)
        edges = (t[..., 1:] + t[..., :-1]) / 2
        k = torch.searchsorted(cdf, u.contiguous(), right=True).clamp(1, cdf.shape[-1] - 1)
        low, high = cdf.gather(-1, k - 1), cdf.gather(-1, k)
        fine = edges.gather(-1, k - 1) + ((u - low) / (high - low).clamp(min=1e-12)).clamp(0, 1) * (
            edges.gather(-1, k) - edges.gather(-1, k - 1)
        )
    rgb2, density2 = plain_field(G.field, condition, o, d, fine)
    t, order = torch.cat([t, fine], -1).sort(-1)
    rgb, density = (
        torch.cat([rgb, rgb2], 2).gather(2, order[..., None].expand(-1, -1, -1, 3)),
        torch.cat([density, density2], 2).gather(2, order),
    )
    return 2 * (plain_weights(density, t)[..., None] * rgb).sum(2).mT.reshape(b, 3, size, size) - 1


def plain_step(pair, optimizers, real, g):
    n, size, G, D = len(real), real.shape[-1], pair.generator, pair.discriminator
    latents = lambda: (
        torch.randn(n, G.z_dim, generator=g),
        pose(0.3 * torch.randn(n, generator=g), 0.155 * torch.randn(n, generator=g)),
    )
    with torch.no_grad():
        fake = plain_render(G, *latents(), size, g)
    x = real.clone().requires_grad_(True)
    logits = D(x)
    (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    loss = F.softplus(D(fake)).mean() + F.softplus(-logits).mean() + 0.1 * slope.square().sum((1, 2, 3)).mean()
    optimizers[1].zero_grad()
    loss.backward()
    optimizers[1].step()
    loss = F.softplus(-D(plain_render(G, *latents(), size, g))).mean()
    optimizers[0].zero_grad()
    loss.backward()
    optimizers[0].step()


# ---- this library
# -------------------------------------------------------------------------------------------------------
def library_step(pair, optimizers, real, draws, half=False):
    G, D = pair.generator, pair.discriminator
    for role, other, step, optimizer in (
        (D, G, pair.discriminator_step, optimizers[1]),
        (G, D, pair.generator_step, optimizers[0]),
    ):
        other.requires_grad_(False)
        role.requires_grad_(True)
        with torch.autocast('cpu', torch.bfloat16, enabled=half):
            loss = step({'image': real}, draws)['loss']
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    other.requires_grad_(True)


def make(config, seed=0):
    torch.manual_seed(seed)
    pair = pigan_training.PiganPair(config)
    return pair, [
        torch.optim.Adam(net.parameters(), fused=True, **ADAM) for net in (pair.generator, pair.discriminator)
    ]


def contenders(a) -> dict:
    "Steps by name: a pair, its optimisers, its source of random numbers, and the function that makes one."
    config = replace(
        pigan_training.PIGAN_POSTER.network,
        size=a.size,
        field=replace(siren.PIGAN_FIELD_OFFICIAL, hidden=a.hidden),
        pose_weight=0.0,
        top_k_floor=1.0,
        noise=0.0,
    )
    fast = pigan_training.fast_recipe(config)

    in_bf16 = partial(library_step, half=True)

    return {
        'plain': (*make(config), rng(0), plain_step),
        'official': (*make(config), Draws(0), library_step),
        'official, bf16': (*make(config), Draws(0), in_bf16),
        'fast': (*make(fast), Draws(0), library_step),
        'fast, bf16': (*make(fast), Draws(0), in_bf16),
    }


def check_picture(pair) -> float:
    "The largest difference between the plain and the library's image of the same weights."
    G, z = pair.generator, torch.randn(1, 256, generator=rng(2))
    with torch.no_grad():
        gap = (plain_render(G, z, pose(0.2), 32) - G.render(z, pose(0.2), size=32, official=True)).abs().max().item()
    assert gap < 1e-3, gap
    return gap


def steps(a):
    real = torch.rand(a.batch, 3, a.size, a.size, generator=rng(1)) * 2 - 1
    found = contenders(a)
    gap = check_picture(found['official'][0])
    calls, memory = {}, {}
    for name, (pair, optimizers, source, step) in found.items():

        def call(penalty, pair=pair, optimizers=optimizers, source=source, step=step):
            pair.steps['discriminator'] = 0 if penalty else 1  # a lazy penalty comes in every 16th step
            step(pair, optimizers, real, source)

        calls[name] = lambda call=call: call(True)
        if name.startswith('fast'):
            calls[f'{name}, no penalty'] = lambda call=call: call(False)
        with PeakMemory() as peak:
            call(True)
        memory[name] = peak.most
    print(
        f'full step, {a.size} px, batch {a.batch}, hidden {a.hidden}, 12+12 points (plain and official differ by'
        f' {gap:.1e} in an image)',
        flush=True,
    )
    seconds = in_turns(calls, a.repeats)
    for name in [n for n in found if n.startswith('fast')]:  # the mean over a cycle of 16 steps
        without = seconds.pop(f'{name}, no penalty')
        seconds[name] = [(x + 15 * y) / 16 for x, y in zip(seconds[name], without)]
    ratios = {n: quartiles([b / s for b, s in zip(seconds['plain'], found)]) for n, found in seconds.items()}
    for name, (low, middle, high) in ratios.items():
        print(
            f'  {name:<16} {min(seconds[name]):7.2f} s  {middle:5.2f}× plain [{low:.2f} to {high:.2f}]'
            f'  {memory[name] / 2**20:6.0f} MiB at most',
            flush=True,
        )
    best = {name: min(found) for name, found in seconds.items()}
    facts = dict(
        seconds={name: s for name, s in best.items() if 'bf16' not in name},
        seconds_bf16={name: s for name, s in best.items() if 'bf16' in name},
        ratio={name: r[1] for name, r in ratios.items()},
        peak_bytes=memory,
    )
    return dict(size=a.size, batch=a.batch, hidden=a.hidden, points='12+12', picture_gap=gap, **facts)


def recipes(a):
    print('operations of a step, TFLOP (64 px, batch 14)')
    out = {}
    for points in (12, 24):
        base = replace(
            pigan_training.PIGAN_POSTER.network,
            view=replace(pigan_training.PIGAN_POSTER.network.view, samples=points, fine=points),
        )
        work = {
            name: pigan_training.pigan_flops(config, 14)
            for name, config in (('official', base), ('fast', pigan_training.fast_recipe(base)))
        }
        for name, w in work.items():
            print(
                f'  {points}+{points} {name:<9} field {w["field"] / 1e12:6.2f}  discriminator'
                f' {w["discriminator"] / 1e12:5.2f}'
            )
        out[f'{points}+{points}'] = sum(work['official'].values()) / sum(work['fast'].values())
        print(f'  {points}+{points} ratio {out[f"{points}+{points}"]:.2f}')
    return out


def orbit(a):
    try:
        generator, _ = pigan.pretrained_pigan()
    except FileNotFoundError:
        generator = pigan.PiganGenerator(pigan_training.TOON_FIELD, pigan_training.TOON_VIEW, 32)
    z, cams = torch.randn(1, generator.z_dim, generator=rng(0)), turntable(8, swing=0.5)
    knobs = generator.condition(z)
    print('orbit: images a second, one at a time')
    out = {}
    for size in (32, 64):
        for name, options in (
            ('as trained', {}),
            ('12+12 points', dict(samples=12, fine=12)),
            ('coarse, 8 points', dict(samples=8, fine=0)),
        ):
            best = best_of(
                {
                    k: (lambda cam=cam: generator.render_views(knobs, cam[None], size=size, **options))  # noqa: B023
                    for k, cam in enumerate(cams)
                },
                a.repeats,
            )
            out[f'{size} px, {name}'] = len(best) / sum(best.values())
            print(f'  {size} px, {name:<17} {out[f"{size} px, {name}"]:6.1f} (processor time)')
    return out


def variants():
    base = replace(
        pigan_training.PIGAN_TOON_32.network,
        size=16,
        field=replace(pigan_training.TOON_FIELD, hidden=48, layers=3),
        channel_base=512,
        channel_max=64,
    )
    product = replace(base, discriminator='product')
    return {
        'as in the chapter': base,
        'times a patch network': product,
        'and a reconstruction loss': replace(product, reconstruction=5.0),
    }


def judged(generator, shape, real, seed):
    "Geometry from the front, consistency between ±0.25 rad, and the Fréchet distance of the extractor `pixels`."
    z, source = torch.randn(256, generator.z_dim, generator=rng(900 + seed)), rng(950 + seed)
    see = lambda yaw, n: generator.render_views(z[:n], pose(torch.full((n,), yaw)), size=32, samples=16, fine=16)
    found = pigan_training.alarms(see(0.0, 32), shape)
    consistency, share = view_consistency(see(-0.25, 32), see(0.25, 32), 12.0)
    fakes = generator.render_views(
        z, pose(0.3 * torch.randn(256, generator=source), 0.155 * torch.randn(256, generator=source)), size=16
    )['image'].clamp(-1, 1)
    return {k: float(found[k]) for k in ('missing', 'relief', 'correlation')} | dict(
        consistency=consistency,
        share=share,
        frechet_pixels=float(frechet_distance(extract(real, 'pixels').features, extract(fakes, 'pixels').features)),
    )


def summary(a):
    path = ROOT / 'data' / 'results' / 'pigan_summary.json'
    heads, shape = toon.ready_heads('white'), pigan_training.toon_shape(64, 32)
    small = F.avg_pool2d(heads.batch(range(1024))['image'] / 127.5 - 1, 4)
    floor = float(frechet_distance(extract(small[512:768], 'pixels').features, extract(small[:256], 'pixels').features))
    facts = dict(
        command=f'python benchmarks/pigan.py --parts summary --steps {a.steps}',
        steps=a.steps,
        batch=8,
        size=16,
        floor=floor,
        runs={name: [] for name in variants()},
        protocol=(
            '3 seeds; averaged generator; 32 heads for the geometry, 256 images on each side for the Fréchet distance'
            ' of the extractor pixels; floor: 256 real against 256 other real ones; seconds: processor time of the'
            ' training'
        ),
    )
    if path.exists() and (stored := json.loads(path.read_text()))['command'] == facts['command']:
        facts['runs'] = stored['runs']
    for seed in range(3):
        for name, config in variants().items():
            if any(run['seed'] == seed for run in facts['runs'][name]):
                continue
            seed_everything(seed)
            start = time.process_time()
            training = TrainingConfig(
                8, 8e-4, 8e-4, (0.0, 0.99), (0.0, 0.99), clip_gradient=20.0, ema_half_life=800, seed=seed
            )
            trainer = Trainer(pigan_training.PiganPair(config), heads, training, device='cpu').fit(
                a.steps, progress=False
            )
            seconds = time.process_time() - start
            facts['runs'][name].append(
                judged(trainer.average, shape, small[:256], seed) | dict(seed=seed, seconds=round(seconds))
            )
            print(name, facts['runs'][name][-1], flush=True)
            path.write_text(json.dumps(facts, indent=1) + '\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (('size', 64), ('batch', 1), ('hidden', 256), ('repeats', 2), ('steps', 500)):
        parser.add_argument(f'--{name}', type=int, default=value)
    parser.add_argument('--parts', default='recipes,orbit,step')
    parser.add_argument('--write', action='store_true', help='also write data/results/pigan_cpu.json')
    a = parser.parse_args()
    print(f'torch {torch.__version__}, {torch.get_num_threads()} thread(s)')
    found = {
        part: {'step': steps, 'recipes': recipes, 'orbit': orbit, 'summary': summary}[part](a)
        for part in a.parts.split(',')
    }
    if a.write:
        command = (
            f'OMP_NUM_THREADS=1 python benchmarks/pigan.py --size {a.size} --batch {a.batch} --hidden {a.hidden}'
            f' --repeats {a.repeats} --parts {a.parts} --write'
        )
        facts = dict(
            command=command,
            machine='one thread of a shared two-core CPU, processor time, the best of the repeats',
            torch=torch.__version__,
            **found,
        )
        (ROOT / 'data' / 'results' / 'pigan_cpu.json').write_text(json.dumps(facts, indent=1) + '\n')


if __name__ == '__main__':
    main()
