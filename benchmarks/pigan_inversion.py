"""Inversion of pi-GAN on held-out toon heads, the official recipe beside ours; and of real faces, shown from the side.

    OMP_NUM_THREADS=1 ANIMEGAN_DATA=... python benchmarks/pigan_inversion.py [--quick] [--seeds 6001 6002 6003]
        [--heads 8]
    OMP_NUM_THREADS=1 python benchmarks/pigan_inversion.py --timing

Writes data/results/pigan_inversion.json, pigan_inversion_views.jpg (toon heads and what was found) and, where
ANIMEGAN_DATA holds anime_faces_256, pigan_inversion_faces.jpg (only what the generator drew). --quick: few steps, two
heads, nothing is written. --timing: our inversion in one batch against the plain loop over images, and against the
official recipe, in turns; ratios. Seconds are processor time of one thread.
"""

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F

from animegan_nb import cameras
from animegan_nb import pigan_inversion as inv
from animegan_nb.cameras import pose, pose_angles
from animegan_nb.core import grid, rng, shipped, write_atomically
from animegan_nb.data import ImageFolder
from animegan_nb.metrics import file_sha256, psnr
from animegan_nb.geometry import rotation_angle
from animegan_nb.pigan import pretrained_pigan, render_rays
from animegan_nb.siren import Condition

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'data' / 'results'
COMMAND = 'OMP_NUM_THREADS=1 python benchmarks/pigan_inversion.py'
OURS, Z = inv.InversionConfig(), inv.InversionConfig(space='z', lr=0.05)
OFFICIAL_PIXELS = 96  # of 1024, at random in each step; all of them would take ten times as long
FRONT = 'mean head'


def part(found, rows):
    return inv.Inversion(
        Condition(*(k[rows] for k in found.condition)), found.yaw[rows], found.pitch[rows], found.history[:, rows]
    )


def some(heads, rows):
    return inv.Heads(
        heads.identity[rows],
        heads.images[rows],
        heads.coverage[rows],
        heads.cam2world[rows],
        [{k: v[rows] for k, v in view.items()} for view in heads.others],
    )


def still(generator, start):
    "The mean head with the cameras of the start: what is known before the search."
    n = len(start[0])
    return inv.Inversion(
        Condition(*(m.expand(n, -1, -1).clone() for m in generator.mean_condition())), *start, torch.zeros(1, n)
    )


def scores_of(generator, found, heads, own=False):
    s = inv.scores(generator, found.condition, found.cam2world, heads)
    return s | (
        dict(novel_own=inv.scores(generator, found.condition, found.cam2world, heads, own=True)['novel']) if own else {}
    )


def tuned_scores(generator, found, heads, distance, steps):
    "Each head with a generator tuned on it alone; the mean of their scores, and the generators."
    tuned, table = [], []
    for i in range(len(heads.images)):
        rows = slice(i, i + 1)
        one = some(heads, rows)
        tuned.append(inv.pivotal_tuning(generator, one.images, part(found, rows), steps, distance=distance, seed=i))
        table.append(scores_of(tuned[-1], part(found, rows), one))
    return tuned, {k: sum(t[k] for t in table) / len(table) for k in table[0]}


def starts_of(generator, heads, reader, codes):
    read = reader(heads.images).unbind(1)
    zero = torch.zeros(len(heads.images))
    return {
        'frontal': (zero, zero),
        'grid, mean head': inv.grid_start(generator, heads.images),
        f'grid, {len(codes)} heads': inv.grid_start(generator, heads.images, codes),
        'regressor': tuple(read),
    }


def images_of(generator, condition, cam2world):
    return generator.render_views(condition, cam2world)['image']


def own_heads(generator, seed, n, others):
    "Heads of the generator itself: the truth can be reached."
    source = rng(seed)
    conditions = generator.condition(torch.randn(n, generator.z_dim, generator=source))
    cams = [inv.toon.sample_camera(n, source)['cam2world'] for _ in range(1 + others)]
    views = [generator.render_views(conditions, c, normal=True) for c in cams]
    return conditions, inv.Heads(
        torch.zeros(n, 1), views[0]['image'].clamp(-1, 1), views[0]['opacity'], cams[0], views[1:]
    )


def real_faces(generator, distance, reader, n, tuning):
    "Eight real faces: what the generator makes of them, from three sides, before and after tuning."
    folder = os.environ.get('ANIMEGAN_DATA')
    if not folder or not (Path(folder) / 'anime_faces_256').is_dir():
        print('real faces: set ANIMEGAN_DATA to the folder that holds anime_faces_256')
        return None, None
    images = ImageFolder(Path(folder) / 'anime_faces_256', 64, progress=False).batch(range(7, 600, 600 // n))['image'][
        :n
    ]
    faces = F.avg_pool2d(images.float(), 2) / 127.5 - 1
    found = inv.invert(generator, faces, tuple(reader(faces).clamp(-0.6, 0.6).unbind(1)), OURS, distance=distance)
    sides = [pose(found.yaw - 0.45, found.pitch), found.cam2world, pose(found.yaw + 0.45, found.pitch)]
    rows = [images_of(generator, found.condition, c) for c in sides]
    tuned = [
        inv.pivotal_tuning(generator, faces[i : i + 1], part(found, slice(i, i + 1)), tuning, distance=distance, seed=i)
        for i in range(n)
    ]
    for c in sides:
        rows.append(
            torch.cat([images_of(g, part(found, slice(i, i + 1)).condition, c[i : i + 1]) for i, g in enumerate(tuned)])
        )
    with torch.no_grad():
        features = distance(rows[1], faces)
    numbers = dict(
        given=psnr(rows[1], faces),
        tuned=psnr(rows[4], faces),
        prior=inv.condition_distance(found.condition, inv.condition_statistics(generator)),
        features=features,
    )
    # without the fourth: tuned and from the found camera, it is nearly the drawing
    return {k: round(v.mean().item(), 4) for k, v in numbers.items()} | dict(count=n), torch.cat([*rows[:4], rows[5]])


def rounded(s):
    return {k: round(v, 5) for k, v in s.items()}


def experiment(seeds, n, others, quick):
    generator, distance, reader = pretrained_pigan()[0], inv.perceptual_distance(), inv.toon_pose_reader()
    official_steps, tuning = (20, 3) if quick else (700, 24)
    config = replace(OURS, stages=((2, 6), (1, 2))) if quick else OURS
    latent = replace(Z, stages=config.stages)
    codes, clock = torch.randn(2 if quick else 12, generator.z_dim, generator=rng(99)), {}
    out = dict(
        command=COMMAND,
        what='pi-GAN inversion: one number for each set of held-out heads',
        seeds=list(seeds),
        sets=len(seeds),
        heads=n,
        others=others,
        size=generator.size,
        stages=config.stages,
        official_steps=official_steps,
        official_pixels=OFFICIAL_PIXELS,
        tuning_steps=tuning,
        machine='one thread of a shared CPU, processor time',
        generator_sha256=file_sha256(shipped('pretrained/pigan_toon_32.safetensors'))[:16],
        methods={},
        starts={},
        official={},
        sweep={},
        own={},
        seconds={},
    )
    begun = time.process_time()

    def timed(name, make):
        t = time.process_time()
        made = make()
        clock[name] = clock.get(name, 0.0) + time.process_time() - t
        return made

    def note(name, s):
        for k, v in s.items():
            out['methods'].setdefault(name, {}).setdefault(k, []).append(round(v, 5))
        print(
            f'{time.process_time() - begun:6.0f} s  {name:24s}',
            {k: round(v, 4 if k == 'depth' else 2) for k, v in s.items()},
            flush=True,
        )

    for which, seed in enumerate(seeds):
        heads = inv.held_out_heads(seed, n, others, generator.size)
        starts = starts_of(generator, heads, reader, codes)
        for name, s in starts.items():
            out['starts'].setdefault(name, []).append(
                round(rotation_angle(pose(*s), heads.cam2world).rad2deg().mean().item(), 3)
            )
        read, true = starts['regressor'], angles_of(heads.cam2world)
        run = lambda start, c: inv.invert(generator, heads.images, start, c, distance=distance)
        found = {FRONT: still(generator, read)}
        found['official recipe'] = timed(
            'official recipe',
            lambda: inv.official_recipe(generator, heads.images, official_steps, OFFICIAL_PIXELS, seed=seed),
        )
        found['z only'] = timed('z only', lambda: run(read, latent))
        found['joint, MSE'] = timed('joint, MSE', lambda: run(read, replace(config, perceptual=0.0)))
        found['joint, MSE + features'] = timed('joint, MSE + features', lambda: run(read, config))
        for name, f in found.items():
            note(name, scores_of(generator, f, heads, own=name in ('official recipe', 'joint, MSE + features')))
        best = found['joint, MSE + features']
        tuned, s = timed('joint + tuning', lambda: tuned_scores(generator, best, heads, distance, tuning))
        note('joint + tuning', s)
        exact = timed('joint, true camera', lambda: run(true, replace(config, pose_lr=0.0)))
        note('joint, true camera', scores_of(generator, exact, heads))
        o = found['official recipe']
        with torch.no_grad():
            one_look = (
                2
                * render_rays(
                    generator.field,
                    o.condition,
                    cameras.rays(o.cam2world, generator.view.fov, generator.size),
                    inv.official_settings(generator),
                ).rgb.mT.unflatten(2, (generator.size,) * 2)
                - 1
            )
        for name, x in (
            ('one look', one_look),
            ('own renderer', images_of(generator, o.condition, o.cam2world)),
            ('two looks, twice the points', inv.official_image(generator, o.condition, o.cam2world, last_back=False)),
            ('final renderer', inv.official_image(generator, o.condition, o.cam2world)),
        ):
            out['official'].setdefault(name, []).append(round(psnr(x, heads.images).mean().item(), 4))
        if which == 0:
            with torch.no_grad():
                out['features_toon'] = (
                    distance(images_of(generator, best.condition, best.cam2world), heads.images).mean().item()
                )
            changes = {
                'no prior': dict(prior=0.0),
                f'prior {config.prior:g}, as above': None,
                'prior 1': dict(prior=1.0),
                'no noise': dict(noise=0.0),
                'no pose prior, no waiting': dict(pose_prior=0.0, hold=0.0),
                'with coverage': dict(),
            }
            rows = slice(0, max(1, n // 2))
            few, near = some(heads, rows), tuple(a[rows] for a in read)
            for name, change in changes.items():
                f = (
                    part(best, rows)
                    if change is None
                    else inv.invert(
                        generator,
                        few.images,
                        near,
                        replace(config, **change),
                        few.coverage if name == 'with coverage' else None,
                        distance,
                    )
                )
                out['sweep'][name] = rounded(inv.scores(generator, f.condition, f.cam2world, few))
                print(' ' * 10, name, out['sweep'][name], flush=True)
            views(generator, heads, best)
    conditions, own = own_heads(generator, 71, max(2, n // 2), others)
    own_read = tuple(reader(own.images).unbind(1))
    true = angles_of(own.cam2world)
    for name, start, c in (
        ('mean head, camera read', own_read, None),
        ('joint, camera read', own_read, config),
        ('joint, true camera', true, replace(config, pose_lr=0.0)),
        ('z only, true camera', true, replace(latent, pose_lr=0.0)),
    ):
        f = still(generator, start) if c is None else inv.invert(generator, own.images, start, c, distance=distance)
        out['own'][name] = rounded(inv.scores(generator, f.condition, f.cam2world, own))
        print(' ' * 10, 'own', name, out['own'][name], flush=True)
    numbers, sheet = real_faces(generator, distance, reader, 2 if quick else 8, tuning)
    if numbers:
        out['real'] = numbers | dict(features_toon=round(out.pop('features_toon'), 4))
        print('real', out['real'])
    clock['joint + tuning'] += clock['joint, MSE + features']
    out['seconds'] = {k: round(v / (n * len(seeds)), 2) for k, v in clock.items()}
    out['total_seconds'] = round(time.process_time() - begun)
    return out, sheet


def angles_of(cam2world):
    return tuple(pose_angles(cam2world)[:2])


SHEETS = {}


def views(generator, heads, found, rows=5):
    "Given, found, and three times true and found from a true camera, for the first heads of a set."
    pieces = [heads.images, images_of(generator, found.condition, found.cam2world)]
    for v in heads.others[:3]:
        pieces += [v['image'], images_of(generator, found.condition, v['cam2world'])]
    SHEETS['views'] = torch.stack([p[:rows] for p in pieces], 1).flatten(0, 1)


def save(sheet, columns, name):
    for quality in (95, 92, 88, 84, 78):
        grid(sheet.clamp(-1, 1), columns).save(RESULTS / name, quality=quality, subsampling=0, optimize=True)
        if (RESULTS / name).stat().st_size <= 40_000:
            return


def timing(repeats=3, n=4):
    "Processor seconds for each image: in one batch, one at a time, and by the official recipe; in turns."
    generator, distance, heads, usual = (
        pretrained_pigan()[0],
        inv.perceptual_distance(),
        inv.held_out_heads(5001, n, 1),
        {},
    )
    start = (torch.zeros(n), torch.zeros(n))
    config, steps = replace(OURS, stages=((2, 16), (1, 4))), sum(s for _, s in OURS.stages)
    plain = replace(config, stages=((1, 20),))  # all steps at full size
    kinds = {
        'batch': lambda: inv.invert(generator, heads.images, start, config, distance=distance),
        'one at a time': lambda: [
            inv.invert(generator, heads.images[i : i + 1], (start[0][:1], start[1][:1]), config, distance=distance)
            for i in range(n)
        ],
        'one at a time, full size': lambda: [
            inv.invert(generator, heads.images[i : i + 1], (start[0][:1], start[1][:1]), plain, distance=distance)
            for i in range(n)
        ],
        'official, one at a time, 4 steps': lambda: [
            inv.official_recipe(generator, heads.images[i : i + 1], 4) for i in range(n)
        ],
    }
    for _ in range(repeats):
        for name, make in kinds.items():
            t = time.process_time()
            make()
            usual.setdefault(name, []).append((time.process_time() - t) / n)
    best = {k: min(v) for k, v in usual.items()}
    ours, official = best['batch'] / 20 * steps, best['official, one at a time, 4 steps'] / 4 * 700
    print({k: round(v, 3) for k, v in best.items()}, 'seconds for each image, the best of', repeats)
    print(
        f"one batch against one image at a time: {best['one at a time'] / best['batch']:.2f}×; against one at a time"
        f" with all steps at full size: {best['one at a time, full size'] / best['batch']:.2f}×"
    )
    print(
        f'{steps} of our steps: {ours:.1f} s for each image; 700 official steps with all pixels: {official:.1f} s;'
        f' ratio {official / ours:.1f}×'
    )


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--timing', action='store_true')
    parser.add_argument('--seeds', type=int, nargs='+', default=[6001, 6002, 6003])
    parser.add_argument('--heads', type=int, default=8)
    parser.add_argument('--others', type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.timing:
        timing()
        raise SystemExit
    out, sheet = experiment(
        args.seeds[:2] if args.quick else args.seeds, 2 if args.quick else args.heads, args.others, args.quick
    )
    if args.quick:
        print({k: out[k] for k in ('starts', 'official', 'seconds', 'total_seconds')})
        raise SystemExit
    target = RESULTS / 'pigan_inversion.json'
    if 'real' not in out and target.exists():
        out['real'] = json.loads(target.read_text()).get('real')
    write_atomically(target, json.dumps(out, indent=1) + '\n')
    save(SHEETS['views'], 8, 'pigan_inversion_views.jpg')
    if sheet is not None:
        save(sheet, 8, 'pigan_inversion_faces.jpg')
    print(out['seconds'], out['total_seconds'], 's in all')
