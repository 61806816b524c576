"""A StyleGAN2 at 64 px on real anime faces: a few hundred images, adaptive augmentation, one CPU thread, two hours.

    python benchmarks/stylegan_faces.py train --data anime_faces_native --run runs/native --minutes 60
        # the same line resumes
    python benchmarks/stylegan_faces.py train --data anime_faces_native --run runs/native --minutes 10
        --silent # on, without noise maps
    python benchmarks/stylegan_faces.py train --data anime_faces_256 --run runs/faces --start runs/native --minutes 45
    python benchmarks/stylegan_faces.py score --data anime_faces_256 --run runs/faces
        # data/results/stylegan_anime_faces_256.*

`--data` is a folder in ANIMEGAN_DATA, or a path. `--start` begins with the networks of another run instead of random
ones (transfer), and goes on counting its steps. `score`, which can be called before and after --silent and then keeps
both distances, writes numbers with their floor, the log, samples of the averaged generator and the same latents over
time; only images drawn by the generator are written.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from dcgan_faces import nearest_ratio
from PIL import Image
from train_stylegan_toon import Silent, begin_with, sittings, thinned

from animegan_nb.augment import Augmentation
from animegan_nb.core import grid, rng, seed_everything, tiles, to_uint8
from animegan_nb.data import ImageFolder
from animegan_nb.metrics import evaluate, extract
from animegan_nb.stylegan import STYLEGAN_CPU_32, StyleGANConfig, StyleGANPair
from animegan_nb.callbacks import Checkpoints, Clock, JSONLog, Samples, read_log
from animegan_nb.training import Trainer, checkpoints, load_run

ROOT = Path(__file__).resolve().parents[1]
NETWORK = StyleGANConfig(
    64, z_dim=64, w_dim=64, mapping_layers=4, channel_base=768, channel_max=64, r1_gamma=0.2, path_weight=0.0
)
TRAINING = replace(STYLEGAN_CPU_32.training, batch_size=8, mirror=True, ema_half_life=5_000)


def folder(name: str) -> Path:
    "A folder of images, by its path or by its name in ANIMEGAN_DATA."
    for path in (Path(name), Path(os.environ.get('ANIMEGAN_DATA') or '.') / name):
        if path.is_dir():
            return path
    sys.exit(f'There is no folder {name}: give a path, or set ANIMEGAN_DATA to the folder that holds it.')


def train(args):
    run, data = Path(args.run), folder(args.data)
    run.mkdir(parents=True, exist_ok=True)
    seed_everything(args.seed)
    clock = Clock(args.minutes)
    callbacks = [
        Augmentation('ada', target=0.6, kimg=args.kimg),
        Checkpoints(run, 500),
        JSONLog(run / 'log.jsonl'),
        Samples(500, 64, folder=run / 'samples'),
        clock,
        *([Silent()] if args.silent else []),
    ]
    trainer = Trainer(
        StyleGANPair(NETWORK),
        ImageFolder(data, NETWORK.size),
        replace(TRAINING, seed=args.seed),
        callbacks,
        'cpu',
        recipe={'model': 'stylegan', 'network': asdict(NETWORK)},
    )
    if args.start and not checkpoints(run):
        begin_with(trainer, clock, args.start, run)
    trainer.resume(run).fit(until=args.steps, progress=False)


@torch.no_grad()
def score(args):
    """Distances to the real faces for three sets of latents, at one forward pass each;
    what the curves and the images were."""
    run, data, name = Path(args.run), folder(args.data), f'stylegan_{folder(args.data).name}'
    pair, generator, info = load_run(run)
    faces = ImageFolder(data, info['network']['size'])
    log = read_log(run / 'log.jsonl')
    silent_from = next((r['step'] for r in log if 'noise' in r), None)
    if silent_from:
        Silent().quiet(generator)  # the average still remembers some of it
    draw = lambda n, seed: torch.cat(
        [generator(z, noise='constant') for z in torch.randn(n, pair.config.z_dim, generator=rng(seed)).split(100)]
    ).clamp(-1, 1)
    n, results, ratios = len(faces) // 2, {}, {}
    for extractor in args.extractors:
        real = extract(faces, extractor)
        results[extractor] = [
            evaluate(extract(draw(n, seed), extractor), real, extractor, n=n, seed=seed).to_dict()
            for seed in range(args.seeds)
        ]
        ratios[extractor] = [
            nearest_ratio(extract(draw(n, seed), extractor).features.float(), real.features.float())
            for seed in range(args.seeds)
        ]
    start = json.loads((run / 'start.json').read_text()) if (run / 'start.json').exists() else None
    steps = sorted(int(p.stem[5:]) for p in (run / 'samples').glob('step-*.png'))
    shown = [steps[round(i)] for i in np.linspace(0, len(steps) - 1, 6)]
    facts = dict(
        data=data.name,
        pictures=len(faces),
        step=info['step'],
        images=info['images'],
        network=info['network'],
        training=info['config'],
        seed=args.seed,
        augmentation=f'ADA, r_t = 0.6, {args.kimg:g} kimg from 0 to 1',
        start=start,
        noise_off_from=silent_from,
        sittings=sittings(run, data.name),
        steps_shown=shown,
        nearest_ratio=ratios,
        n=n,
        evaluations=results,
        log=thinned(log),
        machine='one thread of a shared two-core CPU',
        torch=torch.__version__,
        command=f'python benchmarks/stylegan_faces.py train --data {data.name}' + (' --start RUN' if start else ''),
    )
    out = ROOT / 'data' / 'results' / name
    before = json.loads(out.with_suffix('.json').read_text()) if out.with_suffix('.json').exists() else {}
    if silent_from:
        facts['with_noise'] = (
            before.get('with_noise')
            or dict(
                step=before['step'],
                images=before['images'],
                frechet={
                    e: [next(v['value'] for v in f['numbers'].values() if v['metric'] == 'frechet') for f in found]
                    for e, found in before['evaluations'].items()
                },
            )
            if before
            else None
        )
    out.with_suffix('.json').write_text(json.dumps(facts, indent=1) + '\n')
    grid(to_uint8(draw(40, 0)), 10).save(out.with_suffix('.jpg'), quality=88)
    rows = [tiles(Image.open(run / 'samples' / f'step-{step:08d}.png'), NETWORK.size, 10) for step in shown]
    grid(torch.cat(rows), 10).save(out.with_name(f'{name}_steps.jpg'), quality=85)
    for extractor, found in results.items():
        print(
            extractor,
            [{k: round(v['value'], 3) for k, v in f['numbers'].items()} for f in found],
            'nearest',
            ratios[extractor],
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('what', choices=['train', 'score'])
    add('--data', required=True, help='a folder of images, or its name in ANIMEGAN_DATA')
    add('--run', required=True, help='checkpoints, samples, log')
    add('--start', help='a run whose networks to begin with')
    add('--silent', action='store_true', help='switch the noise maps off, from here on')
    add('--minutes', type=float, default=60)
    add('--steps', type=int, default=1_000_000)
    add('--kimg', type=float, default=60, help="thousands of images in which ADA's p could go from 0 to 1")
    add('--seed', type=int, default=0)
    add('--seeds', type=int, default=3, help='sets of latents that are scored')
    add('--extractors', nargs='+', default=['squeezenet', 'pixels'])
    args = parser.parse_args()
    torch.set_num_threads(1)
    {'train': train, 'score': score}[args.what](args)


if __name__ == '__main__':
    main()
