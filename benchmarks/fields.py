"""Three fields on two scenes: SIREN, ReLU with positional encoding, tri-plane; at equal steps and at equal processor
time.

    OMP_NUM_THREADS=1 ANIMEGAN_DATA=... python benchmarks/fields.py [--steps 500] [--seeds 3] [--scenes toon
        lego] [--work FOLDER] [--head]

Every run is stored in data/results/fields.json as soon as it ends, and a run that is there is not repeated; a run that
was cut off goes on from its last checkpoint in the work folder. At the end: an image of held-out views (of the fields,
and of the toon renderer; never of the photographs), data/results/fields_views.jpg. With --head only the small field
that the library ships is fitted: data/pretrained/fields_head.safetensors, with its image
data/results/fields_head.jpg.

Protocol: toon: 40 views of 64×64 pixels to fit, 12 others to measure; lego: 100 views of 100×100 pixels to fit, 9
(every third of the 25 test views) to measure. 512 rays in a step, 12 + 12 points on each, a random background for every
ray; one thread; seconds are processor time of the steps alone. The learning rate of each kind is the best of three by
the PSNR of the last 20 batches of a whole fit of the toon head with seed 0 ("rates"; "rates_100": more of them after
100 steps, where faster ones look better). "triplane, equal time" has as many steps as fit into the time of SIREN's, by
a calibration in which the kinds take turns. "triplane, white" is fitted over white images. Depth and chamfer distance
are in % of the cube's side.
"""

import argparse, json, os, platform, shutil, sys, time
from dataclasses import asdict
from pathlib import Path
import numpy as np
import torch
from animegan_nb.core import cache_dir, grid, to_uint8, write_atomically
from animegan_nb.fields import (
    RATES,
    Fit,
    FitConfig,
    Views,
    chamfer,
    lego_views,
    make_field,
    measure_field,
    over_background,
    render_views,
    resume_fit,
    save_fit,
    save_field,
    seen_points,
    toon_mesh,
    toon_views,
)
from animegan_nb.toon import encode

ROOT = Path(__file__).resolve().parents[1]
RESULTS, IMAGE, WEIGHTS = (
    ROOT / 'data/results/fields.json',
    ROOT / 'data/results/fields_views.jpg',
    ROOT / 'data/pretrained/fields_head.safetensors',
)
HEAD_IMAGE = ROOT / 'data/results/fields_head.jpg'
HEAD = dict(
    hair_style='twin tails', hair_colour='blue', fringe='full', outfit='sailor', cloth_colour='navy', accessory='none'
)
CHOICES = {'siren': (1e-3, 2e-3, 4e-3), 'encoded': (6e-3, 1.2e-2, 2.4e-2), 'triplane': (2e-2, 4e-2, 8e-2)}
LONG, WHITE = 'triplane, equal time', 'triplane, white'
COMMAND = 'OMP_NUM_THREADS=1 python benchmarks/fields.py'


def kept(path: Path, make) -> Views:
    "Views from a file, or made and kept there."
    if not path.exists():
        np.savez(path, **{k: v for k, v in vars(make()).items() if v is not None})
    with np.load(path) as file:
        return Views(**{k: torch.from_numpy(file[k]) if file[k].ndim else float(file[k]) for k in file})


def scene(name: str, work: Path):
    "Training views and held-out views."
    if name == 'toon':
        return (
            kept(work / 'toon_train.npz', lambda: toon_views(encode(**HEAD), 40)),
            kept(work / 'toon_test.npz', lambda: toon_views(encode(**HEAD), 12, seed=1)),
        )
    path = Path(os.environ.get('ANIMEGAN_DATA', '.')) / 'lego_100.npz'
    if not path.exists():
        print('lego: set ANIMEGAN_DATA to the folder of lego_100.npz', file=sys.stderr)
        return None
    return lego_views(path), lego_views(path, test=True)[::3]


def store(results: dict):
    write_atomically(RESULTS, json.dumps(results, indent=1) + '\n')


def fitted(kind: str, views, config: FitConfig, work: Path, every: int = 100) -> Fit:
    "A whole fit, resumed from its checkpoint if there is one."
    fit = resume_fit(Fit(make_field(kind, views.side, config.seed), views, config), work)
    while fit.step < config.steps:
        fit.run(min(every, config.steps - fit.step), progress=False)
        if fit.stopping.is_set():
            sys.exit(1)
        save_fit(fit, work)
    return fit


def calibrate(views, steps: int = 8) -> dict[str, float]:
    "Processor seconds of a step of each kind, in turns."
    fits = {kind: Fit(make_field(kind, views.side), views, FitConfig(steps=100, lr=RATES[kind])) for kind in RATES}
    for _ in range(3):
        for fit in fits.values():
            fit.run(steps, progress=False)
    return {kind: round(fit.seconds / fit.step, 5) for kind, fit in fits.items()}


def rates(results: dict, views, steps: int, work: Path) -> dict[str, float]:
    """The learning rates that were tried: PSNR of the last 20 training batches, seed 0 of the toon head;
    the best of each kind."""
    tried = results.setdefault('rates', {'steps': steps, 'training_psnr': {}})['training_psnr']
    for kind, choices in CHOICES.items():
        for lr in choices:
            if f'{kind} {lr:g}' in tried:
                continue
            try:
                fit = fitted(kind, views, FitConfig(steps=steps, lr=lr), work / f'rate-{kind}-{lr:g}')
                tried[f'{kind} {lr:g}'] = round(float(np.mean(fit.history[-20:])), 2)
            except ValueError:
                tried[f'{kind} {lr:g}'] = None  # diverged
            store(results)
            print('rates', kind, lr, tried[f'{kind} {lr:g}'], flush=True)
    return {kind: max(choices, key=lambda lr: tried[f'{kind} {lr:g}'] or 0) for kind, choices in CHOICES.items()}


def one_run(name: str, kind: str, config: FitConfig, train, test, work: Path, mesh) -> dict:
    short = f'{name}-{kind}-{config.seed}'.replace(', ', '-').replace(' ', '-')
    fit = fitted(kind.split(',')[0], train, config, work / short)
    scores = measure_field(fit.field, test, mesh=mesh)
    if config.seed == 0:
        out = render_views(fit.field, test.cam2world[:9:4], test.fov, test.size, 32, 32, with_normals=True)
        np.savez_compressed(work / f'{name}-{kind}.npz', **{k: v.numpy() for k, v in out.items()})
    shutil.rmtree(work / short, ignore_errors=True)
    return dict(
        steps=config.steps,
        lr=config.lr,
        seconds=round(fit.seconds, 1),
        parameters=sum(p.numel() for p in fit.field.parameters()),
        **{k: round(v, 4) for k, v in scores.items()},
    )


def ship(fit: Fit, test, scores: dict, command: str):
    "The small field that comes with the library, its numbers, and an image of it beside the truth."
    save_field(fit.field, WEIGHTS, half=True)
    about = dict(
        what='Tri-plane of one toon head, half precision',
        command=command,
        seed=fit.config.seed,
        head=HEAD,
        training=asdict(fit.config),
        scores={k: round(v, 4) for k, v in scores.items()},
    )
    WEIGHTS.with_suffix('.json').write_text(json.dumps(about, indent=1) + '\n')
    rows = [0, 2, 5, 9]
    out = render_views(fit.field, test.cam2world[rows], test.fov, test.size, 32, 32, with_normals=True)
    alpha = test.rgba[rows, 3:]
    shots = [
        over_background(test.rgba[rows]) * 2 - 1,
        out['image'],
        alpha * test.normal[rows] + 1 - alpha,
        out['opacity'] * out['normal'] + 1 - out['opacity'],
    ]
    grid(to_uint8(torch.cat(shots).clamp(-1, 1).repeat_interleave(2, -1).repeat_interleave(2, -2)), columns=4).save(
        HEAD_IMAGE, quality=88, optimize=True
    )


def image(work: Path, names: list[str]):
    "Held-out views: rows are kinds; of each scene two views and the normals of the first."
    rows = []
    for kind in ('truth', 'siren', 'encoded', 'triplane', LONG):
        for name in names:
            if kind == 'truth' and name != 'toon':
                rows += [torch.ones(3, 100, 100)] * 3
                continue  # the given images are not shown
            if kind == 'truth':
                test = scene('toon', work)[1]
                shots, normal, there = over_background(test.rgba[:9:4]) * 2 - 1, test.normal[:9:4], test.rgba[:9:4, 3:]
            else:
                with np.load(work / f'{name}-{kind}.npz') as file:
                    shots, normal, there = (torch.from_numpy(file[k]) for k in ('image', 'normal', 'opacity'))
            pad = (100 - shots.shape[-1]) // 2
            rows += [
                torch.nn.functional.pad(x, (pad,) * 4, value=1.0)
                for x in (shots[0], shots[1], there[0] * normal[0] + 1 - there[0])
            ]
    grid(to_uint8(torch.stack(rows).clamp(-1, 1)), columns=3 * len(names)).save(IMAGE, quality=86, optimize=True)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument('--steps', type=int, default=500)
    arguments.add_argument('--seeds', type=int, default=3)
    arguments.add_argument('--scenes', nargs='+', default=['toon', 'lego'])
    arguments.add_argument('--work', type=Path, default=None)
    arguments.add_argument('--head', action='store_true', help='only fit and ship the head: one tri-plane, in seconds')
    a = arguments.parse_args()
    torch.set_num_threads(1)
    work = a.work or cache_dir('fields_benchmark')
    work.mkdir(parents=True, exist_ok=True)
    if a.head:
        train, test = scene('toon', work)
        fit = fitted('triplane', train, FitConfig(steps=a.steps, lr=RATES['triplane']), work / 'head')
        return ship(fit, test, measure_field(fit.field, test) | dict(seconds=fit.seconds), COMMAND + ' --head')
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results |= dict(
        command=COMMAND,
        protocol=' '.join(__doc__.split('Protocol: ')[1].split()),
        torch=torch.__version__.split('+')[0],
        python=platform.python_version(),
        seeds=list(range(a.seeds)),
        head=HEAD,
    )
    data = {name: views for name in a.scenes if (views := scene(name, work))}
    runs = results.setdefault('runs', {})
    mesh = toon_mesh(encode(**HEAD)) if 'toon' in data else None
    best = rates(results, data['toon'][0], a.steps, work) if 'toon' in data else RATES
    if mesh is not None:
        test = data['toon'][1]
        clouds = [
            seen_points(mesh, test.cam2world, test.fov, test.depth, 0.02 * test.side, seed=seed) for seed in (0, 1)
        ]
        results['chamfer_floor'] = round(chamfer(*clouds).chamfer * 100 / test.side, 4)
    for name, (train, _) in data.items():
        if f'{name} seconds per step' not in results:
            results[f'{name} seconds per step'] = calibrate(train)
            store(results)
    for seed in range(a.seeds):
        for name, (train, test) in data.items():
            pace = results[f'{name} seconds per step']
            for kind in ('siren', 'encoded', 'triplane', LONG, *([WHITE] if name == 'toon' else [])):
                if f'{name}/{kind}/{seed}' in runs:
                    continue
                begin, base = time.process_time(), kind.split(',')[0]
                steps = round(a.steps * pace['siren'] / pace['triplane']) if kind == LONG else a.steps
                config = FitConfig(
                    steps=steps, lr=best[base], seed=seed, background='white' if kind == WHITE else 'random'
                )
                runs[f'{name}/{kind}/{seed}'] = one_run(
                    name, kind, config, train, test, work, mesh if name == 'toon' else None
                )
                store(results)
                print(
                    name,
                    kind,
                    seed,
                    runs[f'{name}/{kind}/{seed}'],
                    f'{time.process_time() - begin:.0f} s in all',
                    flush=True,
                )
    image(work, list(data))


if __name__ == '__main__':
    main()
