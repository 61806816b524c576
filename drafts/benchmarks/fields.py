"""Three fields on two scenes: SIREN, ReLU with positional encoding, tri-plane; at equal steps and at equal processor time.

    OMP_NUM_THREADS=1 ANIMEGAN_DATA=... python benchmarks/fields.py [--steps 600] [--seeds 3] [--scenes toon lego] [--work FOLDER]

Every run is stored in data/results/fields.json as soon as it ends, and a run that is there is not repeated; a run that was cut
off goes on from its last checkpoint in the work folder. At the end: a picture of held-out views (of the fields, and of the toon
renderer; never of the photographs), and the longest tri-plane of the toon head as data/pretrained/fields_head.safetensors.

Protocol: 60 (toon, 64 px) or 100 (lego, 100 px) training views, 12 or 9 held out (every third of lego's 25); 256 rays in a step, 24 + 24 points on each,
a random background for every ray; one thread; seconds are processor time of the steps alone. The learning rate of each kind is
the best of three after 150 steps on training pictures of the toon head ("rates"). "triplane, equal time" has as many steps as fit into the time of SIREN's,
by a calibration in the same run in which the kinds take turns.
"""
import argparse, json, os, platform, shutil, sys, time
from dataclasses import replace
from pathlib import Path
import numpy as np
import torch
from animegan_nb.core import cache_dir, grid, to_uint8
from animegan_nb.fields import RATES, Fit, FitConfig, chamfer, lego_views, make_field, measure, over, render_views, save_field, toon_mesh, toon_views
from animegan_nb.mesh import extract
from animegan_nb.toon import encode

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PICTURE, WEIGHTS = ROOT/'data/results/fields.json', ROOT/'data/results/fields_views.jpg', ROOT/'data/pretrained/fields_head.safetensors'
HEAD = dict(hair_style='twin tails', hair_colour='blue', fringe='full', outfit='sailor', cloth_colour='navy', accessory='none')
CHOICES = {'siren': (3e-4, 1e-3, 3e-3), 'encoded': (1e-3, 3e-3, 6e-3), 'triplane': (1e-2, 2e-2, 4e-2)}
LONG = 'triplane, equal time'


def scene(name: str):
    "Training views and held-out views."
    if name == 'toon': return toon_views(encode(**HEAD), 60), toon_views(encode(**HEAD), 12, seed=1)
    folder = os.environ.get('ANIMEGAN_DATA')
    if not folder or not (Path(folder)/'lego_100.npz').exists(): return None
    return lego_views(Path(folder)/'lego_100.npz'), lego_views(Path(folder)/'lego_100.npz', test=True)[::3]


def store(results: dict):
    part = RESULTS.with_suffix('.part'); part.write_text(json.dumps(results, indent=1) + '\n'); part.replace(RESULTS)


def fitted(kind: str, views, config: FitConfig, seed: int, work: Path, every: int = 250) -> Fit:
    "A whole fit, resumed from its checkpoint if there is one."
    fit = Fit(make_field(kind, views.side, seed), views, replace(config, seed=seed))
    if work.exists(): fit.resume(work)
    while fit.step < fit.config.steps:
        fit.run(every, progress=False)
        shutil.rmtree(work, ignore_errors=True); fit.save(work)
    return fit


def calibrate(views, steps: int) -> dict[str, float]:
    "Processor seconds of a step of each kind, in turns."
    fits = {kind: Fit(make_field(kind, views.side), views, FitConfig(steps=100, lr=RATES[kind])) for kind in RATES}
    for _ in range(4):
        for fit in fits.values(): fit.run(steps, progress=False)
    return {kind: fit.seconds/fit.step for kind, fit in fits.items()}


def rates(results: dict, views, steps: int = 150):
    "The learning rates that were tried: PSNR of the last 20 training batches, seed 0 of the toon head."
    tried = results.setdefault('rates', {'steps': steps, 'training_psnr': {}})['training_psnr']
    for kind, choices in CHOICES.items():
        for lr in choices:
            if f'{kind} {lr:g}' in tried: continue
            fit = Fit(make_field(kind, views.side), views, FitConfig(steps=steps, lr=lr))
            try: tried[f'{kind} {lr:g}'] = round(float(np.mean(fit.run(progress=False).history[-20:])), 2)
            except ValueError: tried[f'{kind} {lr:g}'] = None                      # diverged
            store(results); print('rates', kind, lr, tried[f'{kind} {lr:g}'], flush=True)


def one_run(name: str, kind: str, seed: int, steps: int, train, test, work: Path, true_mesh) -> dict:
    base = kind.split(',')[0]
    fit = fitted(base, train, FitConfig(steps=steps, lr=RATES[base]), seed, work/f'{name}-{kind}-{seed}'.replace(', ', '-').replace(' ', '-'))
    scores = measure(fit.field, test, 32, 32)
    if true_mesh is not None:
        d = chamfer(extract(fit.field.forward, train.side, 96), true_mesh)
        scores |= d._asdict() | dict(chamfer=d.chamfer)
    if seed == 0:
        out = render_views(fit.field, test.cam2world[:9:4], test.fov, test.size, test.side, 48, 48)
        np.savez_compressed(work/f'{name}-{kind}.npz', **{k: v.numpy() for k, v in out.items()})
        if name == 'toon' and kind == LONG: save_field(fit.field, WEIGHTS, half=True)
    return dict(steps=steps, seconds=round(fit.seconds, 1), parameters=sum(p.numel() for p in fit.field.parameters()), **{k: round(v, 5) for k, v in scores.items()})


def picture(work: Path, names: list[str]):
    "Held-out views: rows are kinds; two views and the normals of the first."
    rows = []
    for kind in ('truth', 'siren', 'encoded', 'triplane', LONG):
        row = []
        for name in names:
            if kind == 'truth' and name == 'toon':
                test = scene('toon')[1]
                shots, normal, there = over(test.rgba[:9:4])*2 - 1, test.normal[:9:4], test.rgba[:9:4, 3:]
            elif kind == 'truth': shots = None
            else:
                with np.load(work/f'{name}-{kind}.npz') as file: shots, normal, there = (torch.from_numpy(file[k]) for k in ('image', 'normal', 'opacity'))
            if shots is None: row += [torch.ones(3, 100, 100)]*3; continue
            pad = (100 - shots.shape[-1])//2
            row += [torch.nn.functional.pad(x, (pad,)*4, value=1.) for x in (shots[0], shots[1], there[0]*normal[0] + 1 - there[0])]
        rows += row
    grid(to_uint8(torch.stack(rows).clamp(-1, 1)), columns=3*len(names)).save(PICTURE, quality=88, optimize=True)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument('--steps', type=int, default=600)
    arguments.add_argument('--seeds', type=int, default=3)
    arguments.add_argument('--scenes', nargs='+', default=['toon', 'lego'])
    arguments.add_argument('--work', type=Path, default=None)
    a = arguments.parse_args()
    torch.set_num_threads(1)
    work = a.work or cache_dir('fields_benchmark'); work.mkdir(parents=True, exist_ok=True)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results |= dict(command='OMP_NUM_THREADS=1 python benchmarks/fields.py', protocol=__doc__.split('\n\n')[-1].replace('\n', ' ').strip(),
                    torch=torch.__version__.split('+')[0], python=platform.python_version(), seeds=a.seeds, head=HEAD)
    runs, names = results.setdefault('runs', {}), []
    for name in a.scenes:
        data = scene(name)
        if data is None: print(f'{name}: set ANIMEGAN_DATA to the folder of lego_100.npz', file=sys.stderr); continue
        names.append(name); train, test = data
        true_mesh = toon_mesh(encode(**HEAD), train.side, 96) if name == 'toon' else None
        if name == 'toon':
            rates(results, train)
            results['chamfer_floor'] = round(chamfer(true_mesh, true_mesh).chamfer, 5)
        if f'{name} seconds per step' not in results: results[f'{name} seconds per step'] = {k: round(v, 5) for k, v in calibrate(train, 10).items()}; store(results)
        pace = results[f'{name} seconds per step']
        for seed in range(a.seeds):
            for kind in ('siren', 'encoded', 'triplane', LONG):
                if f'{name}/{kind}/{seed}' in runs: continue
                steps = round(a.steps*pace['siren']/pace['triplane']) if kind == LONG else a.steps
                begin = time.perf_counter()
                runs[f'{name}/{kind}/{seed}'] = one_run(name, kind, seed, steps, train, test, work, true_mesh)
                store(results); print(name, kind, seed, runs[f'{name}/{kind}/{seed}'], f'{time.perf_counter() - begin:.0f} s', flush=True)
    picture(work, names)


if __name__ == '__main__': main()
