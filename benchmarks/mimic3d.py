"""What each step from a tri-plane GAN to Mimic3D does to images, geometry and consistency, on toon heads.

    OMP_NUM_THREADS=1 ANIMEGAN_WEIGHTS=… python benchmarks/mimic3d.py [--variants NAME …] [--seeds 0 1 2]
        [--images 48000] [--work FOLDER] [--out data/results/mimic3d.json]

Every run is trained by its recipe in a folder of its own and goes on where it was stopped; as soon as it ends, an entry
with variant and seed is stored, and an entry that is there is not made again.

Protocol: 2,400 of the library's heads over white with their cameras to train, the other 600 held out; 64 px; the same
number of real images for every variant, two thirds of them in the first stage where there are two; one thread. "pigan"
is `pigan-toon-32` for as much processor time as "aware, by role" took with the same seed.

Measured, with the averaged generator and its own cameras drawn from the pose prior: Fréchet distances, precision and
recall on SqueezeNet's and on ToonNet's features, 300 generated against 300 held-out images, each with its floor (who
imitates by the features of one extractor is to be judged by the other one); of 32 heads from the front: depth against
the mean depth of toon heads (correlation, relief, missing middle, and mean error in world units and of the normals in
degrees where both are solid); between the views from ±0.25 rad: the consistency of each branch, of the same images on
the network's own billboard and on an ellipsoid, and the gap between the branches; processor milliseconds a view.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F

from animegan_nb import toon
from animegan_nb.callbacks import Checkpoints, Health, JSONLog
from animegan_nb.cameras import distance_to_depth, pose, PRIORS, rays
from animegan_nb.core import cache_dir, rng, write_atomically
from animegan_nb.data import ImageSet
from animegan_nb.geometry import surface_errors, view_consistency
from animegan_nb.metrics import evaluate
from animegan_nb.mimic3d import MIMIC3D_CPU, two_stages
from animegan_nb.pigan_anime import shape_numbers
from animegan_nb.pigan_training import toon_shape
from animegan_nb.training import recipes

ROOT = Path(__file__).resolve().parents[1]
FOV, YAW, HEADS, TRAINED = 12.0, 0.25, 32, 2400
VARIANTS = {
    'direct': dict(imitation='', super_resolution=False, mixing='none'),
    'super-resolution': dict(imitation='', mixing='none'),
    'imitation': dict(mixing='none'),
    'aware, published order': dict(mixing='published'),
    'aware, by role': dict(mixing='role'),
    'by role, target squeezenet': dict(imitation='squeezenet'),
    'by role, target discriminator': dict(imitation='discriminator'),
    'by role, target l1': dict(imitation='l1'),
    'pigan': None,
}


def heads():
    "Real images to train with, and those held out."
    ready = toon.ready_heads('white')
    rows = lambda part: ImageSet({name: ready.arrays[name][part] for name in ('image', 'cam2world', 'coverage')})
    return rows(slice(TRAINED)), rows(slice(TRAINED, None))


def recipe_of(variant, images):
    "The preset with the changes of a variant, for so many real images."
    if variant == 'pigan':
        return recipes['pigan-toon-32']
    network = replace(MIMIC3D_CPU.network, **VARIANTS[variant])
    steps = images // MIMIC3D_CPU.training.batch_size
    stages = two_stages(network, 2 * steps // 3, steps - 2 * steps // 3) if network.imitation else ()
    return replace(MIMIC3D_CPU, network=network, steps=steps, stages=stages)


def trained(variant, seed, images, seconds, run, data):
    "A trainer at the end of its run, and the processor seconds of all its sessions."
    recipe, clock = recipe_of(variant, images), run / 'seconds.json'
    spent = json.loads(clock.read_text()) if clock.exists() else 0.0
    callbacks = [Health(), Checkpoints(run, 250), JSONLog(run / 'log.jsonl')]
    trainer = recipe.trainer(data, callbacks, 'cpu', seed).resume(run)
    # pi-GAN stops by its time, the others by their steps
    while spent < seconds if seconds else trainer.step < recipe.steps:
        start = time.process_time()
        trainer.fit(until=min(trainer.step + 250, 10**9 if seconds else recipe.steps), progress=False)
        spent += time.process_time() - start
        write_atomically(clock, json.dumps(spent))
    return trainer, spent


def on_ellipsoid(view, axes=(0.085, 0.1, 0.09)):
    "The same images on an ellipsoid around the origin, where rays meet it."
    h, w = view['image'].shape[2:]
    lines, a = rays(view['cam2world'], FOV, (h, w)), torch.tensor(axes)
    o, d = lines.origins / a, lines.directions / a
    p, q = (o * d).sum(-1) / d.square().sum(-1), (o.square().sum(-1) - 1) / d.square().sum(-1)
    t = torch.where(p**2 > q, -p - (p**2 - q).clamp(min=0).sqrt(), -p)
    depth = distance_to_depth(t, lines.directions, view['cam2world'])
    return view | dict(distance=t.view(-1, 1, h, w), depth=depth.view(-1, 1, h, w))


def depth_normals(depth):
    "Normals of a depth map [b, 1, n, n] in camera axes, [b, 3, n, n]; orthographic, for both sides alike."
    scale = depth.shape[-1] / (2 * torch.tan(torch.deg2rad(torch.tensor(FOV / 2))))
    pad = F.pad(depth, (1, 1, 1, 1), mode='replicate')
    dx, dy = (pad[..., 1:-1, 2:] - pad[..., 1:-1, :-2]) / 2, (pad[..., 2:, 1:-1] - pad[..., :-2, 1:-1]) / 2
    return F.normalize(torch.cat([dx * scale, -dy * scale, torch.ones_like(dx)], 1), dim=1)


@torch.no_grad()
def geometry_of(look, shape):
    "The numbers of one branch: `look(yaw)` gives its views."
    left, front, right = look(-YAW), look(0.0), look(YAW)
    numbers = shape_numbers(left, front, right, shape, FOV)
    numbers['ellipsoid'] = view_consistency(on_ellipsoid(left), on_ellipsoid(right), FOV)[0]
    both = ((front['opacity'] > 0.9) & shape.depth.isfinite())[:, 0]
    mean = shape.depth.nan_to_num(posinf=1.0).expand_as(front['depth'])
    errors = surface_errors(both, front['depth'][:, 0], mean[:, 0], depth_normals(front['depth']), depth_normals(mean))
    return numbers | {f'{k}_error': v for k, v in errors.items()}


def branches_of(generator, variant, z):
    "name → function of the yaw that gives views at 64 px."
    cams = lambda yaw: pose(torch.full((len(z),), yaw))
    if variant == 'pigan':
        return {'3D': lambda yaw: generator.render_views(z, cams(yaw), 64, samples=16, fine=16)}
    names = {'3D': True} if generator.direct else {'2D': False}
    if generator.config.imitation:
        names = {'2D': False, '3D': True}
    return {name: lambda yaw, d=d: generator.render_views(z, cams(yaw), direct=d) for name, d in names.items()}


@torch.no_grad()
def measured(generator, variant, held_out, shape):
    "All numbers of a trained generator."
    source = rng(1000)
    z = torch.randn(300, generator.z_dim, generator=source)
    cams = pose(*PRIORS['celeba'].sample(300, source))
    size = dict(size=64) if variant == 'pigan' else {}
    draw = lambda z, cams: generator.render(z, cams, **size)
    fakes = torch.cat([draw(*rows) for rows in zip(z.split(25), cams.split(25))]).clamp(-1, 1)
    found = {name: evaluate(fakes, held_out, name, n=300).to_dict()['numbers'] for name in ('squeezenet', 'toon')}
    looks = branches_of(generator, variant, z[:HEADS])
    found['branches'] = {name: geometry_of(look, shape) for name, look in looks.items()}
    if len(looks) == 2:
        both = [found['branches'][name]['consistency'] for name in ('3D', '2D')]
        found['gap'] = both[0] - both[1]
    draw(z[:1], cams[:1])
    start = time.process_time()
    for k in range(5):
        draw(z[k : k + 1], cams[k : k + 1])
    return found | dict(ms_a_view=200 * (time.process_time() - start))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--variants', nargs='+', default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--images', type=int, default=48_000)
    parser.add_argument('--work', type=Path, default=None)
    parser.add_argument('--out', type=Path, default=ROOT / 'data' / 'results' / 'mimic3d.json')
    args = parser.parse_args()
    torch.set_num_threads(1)
    work = args.work or cache_dir('mimic3d')
    rows = json.loads(args.out.read_text(encoding='utf-8')) if args.out.exists() else []
    data, held_out = heads()
    shape = toon_shape(64, 64, seed=123)
    for variant in args.variants:
        for seed in args.seeds:
            known = {(row['variant'], row['seed'], row['images']): row for row in rows}
            if (variant, seed, args.images) in known:
                continue
            equal = known.get(('aware, by role', seed, args.images))
            if variant == 'pigan' and equal is None:
                print(f'pigan, seed {seed}: waits for "aware, by role", whose time it gets')
                continue
            run = work / f'{variant.replace(", ", "_").replace(" ", "-")}_{args.images}_{seed}'
            run.mkdir(parents=True, exist_ok=True)
            seconds = equal['seconds'] if variant == 'pigan' else 0
            trainer, spent = trained(variant, seed, args.images, seconds, run, data)
            numbers = measured(trainer.average.eval(), variant, held_out, shape)
            facts = dict(variant=variant, seed=seed, images=args.images, steps=trainer.step, seconds=spent)
            rows.append(facts | dict(measured=numbers))
            write_atomically(args.out, json.dumps(rows, indent=1) + '\n')
            print(variant, seed, json.dumps(numbers['branches']), flush=True)


if __name__ == '__main__':
    main()
