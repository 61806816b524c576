"""Store the result of a DCGAN trained on a folder of real faces: images it drew, numbers with their floor, and how
they were made.

    animegan train dcgan-cpu --data DIR --out RUN
    python benchmarks/dcgan_faces.py --run RUN --data DIR --out data/results/dcgan_NAME

Writes OUT.jpg (samples), OUT_steps.jpg (the same latents over time) and OUT.json. Only images drawn by the generator
are written.

    python benchmarks/dcgan_faces.py --collapse

trains a small DCGAN on the human faces of ANIMEGAN_DATA in health and in four bad ways, several seeds each, under the
collapse alarm, and stores what it said in data/results/dcgan_collapse.json, with images of one run each.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from animegan_nb.core import grid, seed_everything, to_float, to_uint8
from animegan_nb.data import ImageFolder
from animegan_nb.dcgan import CollapseAlarm, DCGANConfig, DCGANPair
from animegan_nb.metrics import evaluate, extract
from animegan_nb.training import Callback, Draws, Trainer, TrainingConfig, build_pair, load_run
from animegan_nb.callbacks import Health


def over_time(samples: Path, steps: list[int], columns: int = 10) -> Image.Image:
    "One row of the same latents for each of the steps, cut out of the sample sheets of the run."
    rows = [np.asarray(Image.open(samples / f'step-{step:08d}.png'))[:64, : columns * 66 - 2] for step in steps]
    gap = np.full((2, rows[0].shape[1], 3), 255, np.uint8)
    return Image.fromarray(np.concatenate([part for row in rows for part in (row, gap)][:-1]))


def nearest_ratio(fake: torch.Tensor, real: torch.Tensor, mirrored: torch.Tensor | None = None) -> float:
    """Median distance from a generated image to its nearest real or mirrored real one, over that from a real image to
    its nearest other one."""
    among = torch.cdist(real, real).fill_diagonal_(float('inf'))
    known = real if mirrored is None else torch.cat([real, mirrored])
    nearest = torch.cdist(fake, known).min(1).values
    return (nearest.median() / among.min(1).values.median()).item()


def seconds_per_step(info: dict, faces, steps: int = 12) -> float:
    "Processor time of a step on one thread: what the clock would say on a machine that does nothing else."
    config = TrainingConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in info['config'].items()})
    trainer = Trainer(build_pair(info['model'], info['network']), faces, config, device='cpu').fit(2, progress=False)
    start = time.process_time()
    trainer.fit(steps, progress=False)
    return (time.process_time() - start) / steps


class ExtraSteps(Callback):
    "So many more generator steps after each step of the trainer."

    def __init__(self, extra):
        self.extra = extra

    def on_step(self, trainer, record):
        for _ in range(self.extra):
            trainer.update('generator')


# way: training, extra generator steps, images (None: all), steps
WAYS = {
    'healthy': ({}, 0, None, 400),
    'rates 2e-2 and 1e-4': (dict(generator_lr=2e-2, discriminator_lr=1e-4), 0, None, 400),
    'a discriminator 50 times slower': (dict(discriminator_lr=1e-5), 0, None, 400),
    'ten generator steps for one': ({}, 9, None, 300),
    'eight training images': ({}, 0, 8, 400),
}


def collapse(out: Path, healthy: int, broken: int, size: int = 32, channels: int = 24):
    "The alarm on `healthy` seeds of the healthy way and `broken` seeds of each other."
    folder = Path(os.environ.get('ANIMEGAN_DATA') or '.') / 'human_faces_89x109'
    if not folder.is_dir():
        sys.exit('The real faces are not here: set ANIMEGAN_DATA to the folder that holds human_faces_89x109.')
    faces, runs, strips = ImageFolder(folder, size, progress=False), [], []
    real = to_float(faces.batch(torch.arange(64))['image'])
    for way, (training, extra, few, steps) in WAYS.items():
        for seed in range(healthy if way == 'healthy' else broken):
            seed_everything(seed)
            settings = dict(batch_size=32, generator_lr=5e-4, discriminator_lr=5e-4, seed=seed) | training
            trainer = Trainer(
                DCGANPair(DCGANConfig(size, channels=channels)),
                faces.subset(range(few)) if few else faces,
                TrainingConfig(**settings),
                [alarm := CollapseAlarm(real), health := Health(), ExtraSteps(extra)],
                device='cpu',
            ).fit(steps, progress=False)
            late = [share for step, share in alarm.shares.items() if int(step) > steps / 2]
            runs.append(
                dict(
                    way=way,
                    seed=seed,
                    steps=steps,
                    raised=alarm.raised,
                    late=float(np.median(late)),
                    health=health.status,
                    spread=float(np.mean(health.spread)),
                    shares=[round(s, 4) for s in alarm.shares.values()],
                )
            )
            print({k: v for k, v in runs[-1].items() if k != 'shares'}, flush=True)
            if seed == 1:
                strips.append(np.asarray(grid(to_uint8(trainer.sample(12)), 12)))
    gap = np.full((2, strips[0].shape[1], 3), 255, np.uint8)
    Image.fromarray(np.concatenate([part for strip in strips for part in (strip, gap)][:-1])).save(
        out.with_suffix('.jpg'), quality=82
    )
    out.with_suffix('.json').write_text(
        json.dumps(
            {
                'command': f'python benchmarks/dcgan_faces.py --collapse --seeds {broken}',
                'data': f'{len(faces)} faces of {folder.name}, {size} px',
                'channels': channels,
                'ways': list(WAYS),
                'runs': runs,
                'alarm': {k: getattr(alarm, k) for k in ('every', 'n', 'least', 'patience', 'first')},
                'torch': torch.__version__,
            },
            indent=1,
        )
        + '\n'
    )


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ('run', 'data', 'out'):
        p.add_argument(f'--{name}')
    p.add_argument('--extractor', default='squeezenet')
    p.add_argument('--seeds', type=int, default=3)
    p.add_argument('--collapse', action='store_true')
    a = p.parse_args()
    torch.set_num_threads(1)
    if a.collapse:
        return collapse(Path(a.out or 'data/results/dcgan_collapse'), a.seeds + 2, a.seeds)
    if not (a.run and a.data and a.out):
        p.error('--run, --data and --out are needed, or --collapse')
    run, out = Path(a.run), Path(a.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    pair, generator, info = load_run(run)
    faces = ImageFolder(a.data, info['network']['size'])
    draw = lambda n, seed: torch.cat(
        [pair.generate(generator, pair.latents(50, Draws(1000 * seed + i))) for i in range(-(-n // 50))]
    )[:n]
    real = extract(faces, a.extractor)
    n = len(faces) // 2
    with torch.no_grad():
        results = [evaluate(draw(n, seed), real, a.extractor, n=n, seed=seed) for seed in range(a.seeds)]
    key = next(name for name in results[0].numbers if 'frechet' in name.lower() or name.startswith('FID'))
    values = [r[key].value for r in results]
    blur = torch.nn.functional.avg_pool2d(
        torch.nn.functional.pad(faces.batch(torch.arange(len(faces)))['image'].float(), (1, 1, 1, 1), mode='replicate'),
        3,
        1,
    )
    blurred = evaluate(blur.round().to(torch.uint8)[:n], real, a.extractor, n=n)[key].value
    with torch.no_grad():
        drawn = draw(n, 0)
    shown = [s for s in (0, 500, 1000, 2000, info['step']) if (run / 'samples' / f'step-{s:08d}.png').exists()]
    facts = {
        'name': Path(a.data).name,
        'training_pictures': len(faces),
        'step': info['step'],
        'network': info['network'],
        'training': info['config'],
        'minutes': round(info['step'] * seconds_per_step(info, faces) / 60, 1),
        'metric': f'{key} distance on {a.extractor}',
        'distance': float(np.mean(values)),
        'distance_spread': [float(min(values)), float(max(values))],
        'floor': results[0][key].floor,
        'blurred': blurred,
        'nearest_ratio': nearest_ratio(
            extract(drawn, a.extractor).features.float(),
            real.features.float(),
            extract(faces.batch(torch.arange(len(faces)))['image'].flip(-1), a.extractor).features.float(),
        ),
        'steps_shown': shown,
        'protocol': (
            f'{key} distance on {a.extractor} features: {n} drawn against {n} real, {a.seeds} sets of latents'
            f' (mean; {min(values):.4g} to {max(values):.4g}); floor: halves of the real set'
        ),
        'evaluation': results[0].to_dict(),
        'command': (
            f'animegan train dcgan-cpu --data {Path(a.data).name} --out RUN; python benchmarks/dcgan_faces.py --run RUN'
            f' --data {Path(a.data).name} --out {out}'
        ),
    }
    grid(to_uint8(drawn[:30]), 10).save(out.with_suffix('.jpg'), quality=90)
    over_time(run / 'samples', shown).save(out.with_name(out.name + '_steps.jpg'), quality=90)
    out.with_suffix('.json').write_text(json.dumps(facts, indent=1))
    print(json.dumps({k: v for k, v in facts.items() if k not in ('evaluation', 'network', 'training')}, indent=1))


if __name__ == '__main__':
    main()
