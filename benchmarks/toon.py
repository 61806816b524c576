"""How fast heads and figures are drawn, whether any is broken, and how near they come to real faces.

    python benchmarks/toon.py [--heads 24] [--processes 2]
        # images a second; the distance function's share; against a naive tracer
    python benchmarks/toon.py --against ../older/checkout [--heads 24]
        # heads a second, of this checkout and of another, in turn; whether the images are the same
    python benchmarks/toon.py --check 500
        # 500 random heads from three sides: floating parts, bald patches
    python benchmarks/toon.py --frechet [--count 1000]
        # SqueezeNet distance to ANIMEGAN_DATA/anime_faces_native -> data/results/toon_frechet.json

Every process has one thread. Ratios are against the naive tracer of the same run: no cones, no compaction, every ray
walking for as many steps.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import torch

from animegan_nb import figures
from animegan_nb import surfaces
from animegan_nb import toon
from animegan_nb.cameras import pose
from animegan_nb.core import rng

OUT = Path(__file__).resolve().parents[1] / 'data' / 'results' / 'toon_frechet.json'


def timed(work):
    start, used = time.perf_counter(), time.process_time()
    out = work()
    return time.perf_counter() - start, time.process_time() - used, out


def naive_trace(scene, cam2world, fov, size, steps=64):
    "All rays walk all steps."
    origins, ways, cosine = surfaces.scene_rays(cam2world, fov, size)
    centre, radius = scene.bounds()
    reach = (cam2world[:, :3, 3].T - centre).norm(dim=0)[:, None]
    t = (reach - radius[:, None]).expand(-1, size * size).clone()
    for _ in range(steps):
        t = t + scene.distance(origins + t * ways).clamp_min(0)
    return torch.where(t < reach + radius[:, None], t, torch.inf), origins, ways, cosine


def rows_of(kind, n):
    rows = (toon.toon_rows if kind == 'heads' else figures.figure_rows)(0, 0, n)
    return rows['identity'], rows['cam2world'], rows['fov']


def draw(kind, n, size, **options):
    return (toon.render if kind == 'heads' else figures.render_figure)(*rows_of(kind, n), size, **options)


def worker(kind, n, size, gate, done):
    "Draw once to warm up, wait for the others, draw n images, and say how long that took."
    torch.set_num_threads(1)
    draw(kind, 1, size, geometry=False)
    gate.wait()
    wall, used, _ = timed(lambda: draw(kind, n, size, geometry=False))
    done.put((wall, used))


def speed(args):
    "Each process draws the same n images; the slowest one counts."
    context = get_context('spawn')
    for kind in ('heads', 'figures'):
        for size, n in ((64, args.heads), (256, max(2, args.heads // 8))):
            gate, done = context.Barrier(args.processes), context.Queue()
            crew = [context.Process(target=worker, args=(kind, n, size, gate, done)) for _ in range(args.processes)]
            for one in crew:
                one.start()
            times = [done.get() for _ in crew]
            for one in crew:
                one.join()
            wall, used = max(t[0] for t in times), sum(t[1] for t in times) / args.processes
            print(
                f'{kind:8s} {size:4d} px, 2×2 samples, {args.processes} processes: {args.processes * n / wall:6.2f} a'
                f' second by the clock, {args.processes * n / used:6.2f} by processor time (a quiet machine)',
                flush=True,
            )


def shares(args):
    "Where the time goes, in one process."
    inside, distance = [0.0], {kind: kind.distance for kind in (toon.HeadScene, figures.FigureScene)}
    for kind, original in distance.items():

        def counted(self, points, original=original):
            start = time.process_time()
            out = original(self, points)
            inside[0] += time.process_time() - start
            return out

        kind.distance = counted
    for kind in ('heads', 'figures'):
        for size, n in ((64, args.heads), (256, max(2, args.heads // 8))):
            inside[0] = 0.0
            _, used, _ = timed(lambda: draw(kind, n, size, geometry=False))
            share = inside[0] / used
            _, rich, _ = timed(lambda: draw(kind, n, size))
            print(
                f'{kind:8s} {size:4d} px: distance function {share:.0%} of the time; with exact geometry'
                f' {rich / used:.2f}× the time',
                flush=True,
            )
    for kind, original in distance.items():
        kind.distance = original


DRAW = """
import sys, time, torch
from animegan_nb import toon
torch.set_num_threads(int(sys.argv[1]))
rows = toon.toon_rows(0, 0, int(sys.argv[2]))
draw = lambda n: toon.render(*(rows[k][:n] for k in ('identity', 'cam2world', 'fov')), 64, geometry=False)['image']
draw(2)
start = time.process_time()
images = draw(None)
print(time.process_time() - start)
torch.save(((images + 1) * 127.5).round(), sys.argv[3])
"""


def against(other, n, rounds=3):
    "This checkout and another draw the same heads in turn, by processor time; then here with two threads."
    here = Path(__file__).resolve().parents[1]
    contenders = {'other': (other, 1), 'this': (here, 1), 'this, two threads': (here, 2)}
    seconds, images = {name: [] for name in contenders}, {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for name, (root, threads) in contenders.items():
                command = [sys.executable, '-c', DRAW, str(threads), str(n), f'{folder}/images.pt']
                answer = subprocess.run(
                    command,
                    cwd=root,
                    env={**os.environ, 'PYTHONPATH': str(root)},
                    check=True,
                    capture_output=True,
                    text=True,
                )
                seconds[name].append(float(answer.stdout.split()[-1]))
                images[name] = torch.load(f'{folder}/images.pt')
    for name, times in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(seconds['other'], times))
        apart = (images[name] - images['other']).abs().amax(1)
        print(
            f'{name:18s} {n / min(times):6.2f} heads a second, {ratio:.2f} times as fast; pixels that differ:'
            f' {int((apart > 0).sum())} of {apart.numel()}, by at most {int(apart.max())} grey levels'
        )


def against_naive():
    people, views, fov = rows_of('heads', 4)
    scene = toon.HeadScene(people)
    _, fast, a = timed(lambda: surfaces.trace_scene(scene, views, fov, 128))
    _, slow, b = timed(lambda: naive_trace(scene, views, fov, 128))
    both = a[0].isfinite() & b[0].isfinite()
    print(
        f'tracing 128×128 rays: naive/cones+compaction = {slow / fast:.1f}×, same hits'
        f' {float((a[0].isfinite() == b[0].isfinite()).float().mean()):.2%}, median difference'
        f' {float((a[0] - b[0])[both].abs().median()):.1e} world units'
    )


def broken(people, yaw, pitch, size=96):
    "Pixels that hang in the air (gaps of two pixels are bridged) and pixels of skin where hair belongs, for each head."
    n = len(people)
    views, fov = pose(yaw, pitch).expand(n, 4, 4), torch.full((n,), toon.FOV)
    out = toon.render(people, views, fov, size, supersample=1, outline=False)
    masks, grow = out['distance'][:, 0].isfinite(), lambda x: torch.nn.functional.max_pool2d(x[:, None], 3, 1, 1)[:, 0]
    wide = grow(masks.float())
    reached = torch.zeros_like(wide)
    reached[:, size // 2, size // 2] = 1.0
    while not torch.equal(more := grow(reached) * wide, reached):
        reached = more
    origins, ways, _ = surfaces.scene_rays(views, fov, size)
    t = out['distance'].flatten(1)
    x, y, z = (origins + torch.where(t.isfinite(), t, 1.0) * ways) / toon.HEAD
    bald = (out['parts'].flatten(1) == toon.PART['face']) & ((y > 0.60) | ((y > 0.15) & (z < -0.2)))
    return (masks & (reached == 0)).flatten(1).sum(1), bald.sum(1)


def check(n):
    people, total = toon.toon_rows(77, 0, n)['identity'], 0
    for yaw, pitch in ((0.6, 0.1), (1.9, 0.0), (math.pi + 0.4, 0.3)):
        pieces = [broken(people[i : i + 25], yaw, pitch) for i in range(0, n, 25)]
        floating, bald = (torch.cat(p) for p in zip(*pieces))
        total += int((floating > 0).sum()) + int((bald > 2).sum())
        print(
            f'yaw {math.degrees(yaw):4.0f}°, pitch {math.degrees(pitch):3.0f}°: {int((floating > 0).sum())} of {n}'
            f' heads with floating pixels {floating[floating > 0].tolist()} (heads'
            f' {(floating > 0).nonzero()[:, 0].tolist()}), {int((bald > 2).sum())} bald (largest patch'
            f' {int(bald.max())} pixels)',
            flush=True,
        )
    return total


def frechet(count):
    "Distances to real faces, at two sizes that images of 64 pixels are enlarged to."
    from animegan_nb.data import ImageFolder
    from animegan_nb.metrics import SqueezeNet, extract, frechet_distance

    folder = Path(os.environ['ANIMEGAN_DATA'])

    def real(name):
        images = ImageFolder(folder / name, 64)
        order = torch.randperm(len(images), generator=rng(0))[:count]
        return images.batch(order.numpy())['image']

    def heads(fov):
        rows = toon.toon_rows(0, 0, count)
        return torch.cat(
            [
                toon.render(*(rows[k][i : i + 50] for k in ('identity', 'cam2world')), fov, 64, geometry=False)['image']
                for i in range(0, count, 50)
            ]
        )

    sets = {
        'toon heads': toon.ready_heads().batch(range(count))['image'],
        'toon heads, drawn closer (8°)': heads(8.0),
        'tagged anime faces': real('anime_faces_tagged_96'),
        'human faces (CelebA)': real('human_faces_89x109'),
    }
    native = real('anime_faces_native')
    blur = (
        torch.nn.functional.avg_pool2d(torch.nn.functional.pad(native.float(), (1, 1, 1, 1), mode='replicate'), 3, 1)
        .round()
        .to(torch.uint8)
    )
    sets['the set itself behind a 3×3 blur'] = blur
    about = {}
    for size in (227, 128):
        look = SqueezeNet(size)
        base = extract(native, look).features
        half = count // 2
        found = {'the set itself, half against half': frechet_distance(base[:half], base[half : 2 * half])}
        for name, images in sets.items():
            found[name] = frechet_distance(base, extract(images, look).features)
        about[f'{size} px'] = {
            name: round(float(value)) for name, value in sorted(found.items(), key=lambda pair: float(pair[1]))
        }
        print(size, about[f'{size} px'], flush=True)
    counts = {'real': len(native), **{name: len(images) for name, images in sets.items()}, 'halves': half}
    OUT.write_text(
        json.dumps(
            dict(
                what=(
                    'Frechet distance to anime_faces_native on pooled fire9 features of SqueezeNet 1.1 (ImageNet),'
                    ' images of 64 px enlarged to 128 px and to 227 px; not an FID'
                ),
                command=f'python benchmarks/toon.py --frechet --count {count}',
                seed=0,
                counts=counts,
                distance=about['128 px'],
                distance_at_227=about["227 px"],
            ),
            indent=1,
            ensure_ascii=False,
        )
        + '\n'
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--heads', type=int, default=24)
    parser.add_argument('--processes', type=int, default=2)
    parser.add_argument('--against', type=Path, metavar='CHECKOUT')
    parser.add_argument('--check', type=int, metavar='N')
    parser.add_argument('--frechet', action='store_true')
    parser.add_argument('--count', type=int, default=1000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.check:
        raise SystemExit(min(check(args.check), 1))
    if args.frechet:
        return frechet(args.count)
    if args.against:
        return against(args.against.resolve(), args.heads)
    speed(args)
    shares(args)
    against_naive()


if __name__ == '__main__':
    main()
