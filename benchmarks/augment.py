"""Does augmentation help a GAN that has 600 faces? Distances to faces that nobody trained on, with and without it.

    python benchmarks/augment.py
        # 600 of the faces in ANIMEGAN_DATA/anime_faces_native, 32 px, 3 seeds; prints the table
    python benchmarks/augment.py --preset gpu
        # 64 px, Liu's width, ten times the images seen
    python benchmarks/augment.py
        --pilot # which GAN it is: batch norm, or R1 with γ = 0.1 or 1, by one run each of another seed
    python benchmarks/augment.py
        --table # print what is stored, train nothing

Each seed draws its own 600 training faces; the others are held out: the generator is measured against them, and the
discriminator's logits at both kinds of images show how much it has learnt by heart. A stopped command goes on where
it was. Stored: numbers, and images drawn by the generators.
"""

import argparse
import json
import os
import statistics
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from wgan import training_seconds

from animegan_nb import metrics
from animegan_nb.augment import Augmentation
from animegan_nb.core import grid, rng, seed_everything, to_uint8, write_atomically
from animegan_nb.data import ImageFolder
from animegan_nb.dcgan import DCGANConfig
from animegan_nb.metrics import interval
from animegan_nb.training import Callback, Trainer, TrainingConfig, build_pair
from animegan_nb.callbacks import Checkpoints, Clock

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Preset:
    network: DCGANConfig
    training: TrainingConfig
    few: int  # training images
    looks: tuple[int, ...]  # steps at which the distance is measured
    ada_kimg: float  # thousands of images in which ADA's p could go from 0 to 1


_TRAINING = TrainingConfig(batch_size=32, generator_lr=5e-4, discriminator_lr=5e-4, ema_half_life=2_000)
PRESETS = {
    # batch norm: the pilot's choice
    'cpu': Preset(DCGANConfig(32, channels=64), _TRAINING, 600, (1000, 2500, 5000), 50),
    'tiny': Preset(DCGANConfig(16, channels=8), replace(_TRAINING, batch_size=8), 60, (4, 8), 1),
    'gpu': Preset(
        DCGANConfig(64, channels=512),
        replace(_TRAINING, batch_size=64, generator_lr=2e-4, discriminator_lr=2e-4),
        600,
        (5_000, 10_000, 20_000),
        100,
    ),
}
WAYS = {
    'none': lambda p, seed: [],
    'diffaugment': lambda p, seed: [Augmentation('diffaugment', p=1.0, target=None, seed=seed)],
    'ada': lambda p, seed: [Augmentation('ada', p=0.0, target=0.6, kimg=p.ada_kimg, seed=seed)],
}
NAMES = {'none': 'none', 'diffaugment': 'DiffAugment', 'ada': 'ADA'}


class Looks(Callback):
    "Mean logits at training and held-out images, and at some steps the distance to the held-out ones."

    order = 5

    def __init__(self, steps, training, held_out, clock, every):
        self.steps, self.training, self.held_out, self.clock, self.every, self.found, self.logits = (
            steps,
            training,
            held_out,
            clock,
            every,
            {},
            [],
        )
        self.seen = {e: (metrics.extract(training, e), metrics.extract(held_out, e)) for e in ('squeezenet', 'pixels')}

    def on_step(self, trainer, record):
        if trainer.step % self.every == 0:
            self.logits.append(self.gap(trainer) | {'p': record.get('augment_p', 0.0)})
        if trainer.step in self.steps:
            self.found[str(trainer.step)] = self.look(trainer)
        self.clock.restart()

    def gap(self, trainer):
        network = trainer.pair.discriminator.eval()
        with torch.no_grad():
            logits = [
                torch.cat([network(b.to(trainer.device).float() / 127.5 - 1) for b in p.split(100)])
                for p in (self.training, self.held_out)
            ]
        network.train()
        return {
            'step': trainer.step,
            'training': logits[0].mean().item(),
            'held_out': logits[1].mean().item(),
            'surer': (logits[0] > logits[1].median()).float().mean().item(),
        }

    def look(self, trainer):
        drawn = to_uint8(trainer.sample(len(self.training), seed=77))
        fakes = {e: metrics.extract(drawn, e) for e in self.seen}
        return {
            'step': trainer.step,
            'seconds': training_seconds(self.clock, trainer.device),
            'shown': drawn[:16],
            'held_out': {e: metrics.measure(self.seen[e][1], fakes[e]) for e in self.seen},
            'training': {e: metrics.measure(self.seen[e][0], fakes[e]) for e in self.seen},
            'memorisation': metrics.memorisation(fakes['squeezenet'], *self.seen['squeezenet']),
        }

    def state(self):
        return {'found': self.found, 'logits': self.logits}

    def load(self, state):
        self.found, self.logits = state['found'], state['logits']


def split(faces, few: int, seed: int):
    "`few` training images and all others, drawn with the seed."
    order = torch.randperm(len(faces), generator=rng(seed)).numpy()
    return faces.subset(order[:few]), faces.batch(order[:few])['image'], faces.batch(order[few:])['image']


def run(way: str, seed: int, faces, preset: Preset, folder: Path, device) -> dict:
    done = folder / f'{way}-{seed}.json'
    if done.exists():
        return json.loads(done.read_text())
    seed_everything(seed)
    subset, training, held_out = split(faces, preset.few, seed)
    clock = Clock()
    looks = Looks(preset.looks, training, held_out, clock, max(1, preset.looks[-1] // 40))
    trainer = Trainer(
        build_pair('dcgan', preset.network),
        subset,
        replace(preset.training, seed=seed),
        [
            clock,
            *WAYS[way](preset, seed),
            looks,
            Checkpoints(folder / f'{way}-{seed}', every=max(100, preset.looks[-1] // 8), keep=1),
        ],
        device=device,
    )
    trainer.resume(folder / f'{way}-{seed}').fit(until=preset.looks[-1], progress=sys.stderr.isatty())
    found = list(looks.found.values())
    for look in found:
        grid(look.pop('shown'), 16).save(folder / f'{way}-{seed}-{look["step"]}.png')
    floor = {e: metrics.measure(b, a) for e, (a, b) in looks.seen.items()}
    result = dict(
        way=way, seed=seed, looks=found, logits=looks.logits, floor=floor, counts=[len(training), len(held_out)]
    )
    write_atomically(done, json.dumps(result))
    print(
        f'{way}-{seed}: {found[-1]["seconds"]:.0f} s, '
        + ', '.join(f'{k["step"]}: {k["held_out"]["squeezenet"]["frechet"]:.0f}' for k in found),
        flush=True,
    )
    return result


def pilot(faces, preset: Preset, folder: Path, out: Path, device, seed: int = 9, steps: int = 2000):
    "The same network without augmentation, with batch norm and with R1; a seed that the table does not use."
    rows = []
    for gamma in (0.0, 0.1, 1.0):
        (place := folder / f'pilot-{gamma:g}').mkdir(parents=True, exist_ok=True)
        result = run(
            'none',
            seed,
            faces,
            replace(preset, network=replace(preset.network, r1_gamma=gamma), looks=(steps,)),
            place,
            device,
        )
        rows.append(
            dict(
                r1_gamma=gamma,
                step=steps,
                seconds=result['looks'][-1]['seconds'],
                **{e: v['frechet'] for e, v in result['looks'][-1]['held_out'].items()},
                logits=result['logits'][-1],
            )
        )
        print(rows[-1], flush=True)
    out.write_text(
        json.dumps(
            {
                'command': 'python benchmarks/augment.py --pilot',
                'seed': seed,
                'network': asdict(preset.network),
                'training': asdict(preset.training),
                'rows': rows,
            },
            indent=1,
        )
        + '\n'
    )


def verdict(results: list[dict], pick=lambda looks: looks[-1], extractor: str = 'squeezenet') -> dict:
    """For each way the distances of all seeds to held-out faces, and the share by which they are lower than without
    augmentation (paired by seed)."""
    value = {(r['way'], r['seed']): pick(r['looks'])['held_out'][extractor]['frechet'] for r in results}
    seeds = sorted({seed for _, seed in value})
    return {
        way: {
            'distances': [value[way, s] for s in seeds],
            'lower_by': [1 - value[way, s] / value['none', s] for s in seeds],
        }
        for way in dict.fromkeys(w for w, _ in value)
    }


def print_table(stored: dict):
    best = lambda looks: min(looks, key=lambda k: k['held_out']['squeezenet']['frechet'])
    floor = statistics.mean(r['floor']['squeezenet']['frechet'] for r in stored['results'])
    print(stored['protocol'] + f'\nthe training faces themselves: {floor:.4g}\n')
    for title, pick in (('at the end', lambda looks: looks[-1]), ('at the best look of each run', best)):
        print(f'{title:32}{"distance":>10}{"± 95 %":>9}{"lower by":>10}{"± 95 %":>9}   logit gap')
        for way, v in verdict(stored['results'], pick).items():
            mean, half = interval(v['distances'])
            less, error = interval(v['lower_by'])
            gap = statistics.mean(
                r['logits'][-1]['training'] - r['logits'][-1]['held_out'] for r in stored['results'] if r['way'] == way
            )
            print(f'{NAMES[way]:32}{mean:10.4g}{half:9.3g}{100 * less:9.1f}%{100 * error:8.1f}%   {gap:.2f}')


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--preset', default='cpu', choices=PRESETS)
    p.add_argument('--seeds', type=int, default=3)
    p.add_argument('--ways', default=','.join(WAYS))
    p.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    p.add_argument('--runs', type=Path, default=ROOT / '_out' / 'augment')
    p.add_argument('--out', type=Path, default=ROOT / 'data' / 'results' / 'augment_faces.json')
    p.add_argument('--table', action='store_true')
    p.add_argument('--pilot', action='store_true')
    a = p.parse_args()
    if a.table:
        return print_table(json.loads(a.out.read_text()))
    base = Path(os.environ.get('ANIMEGAN_DATA') or '.') / 'anime_faces_native'
    if not base.is_dir():
        sys.exit('The real faces are not here: set ANIMEGAN_DATA to the folder that holds anime_faces_native.')
    if a.device == 'cpu':
        torch.set_num_threads(int(os.environ.get('OMP_NUM_THREADS', 1)))
    preset, folder = PRESETS[a.preset], a.runs / a.preset
    folder.mkdir(parents=True, exist_ok=True)
    faces = ImageFolder(base, preset.network.size, progress=False)
    if a.pilot:
        return pilot(faces, preset, folder, a.out.with_name('augment_pilot.json'), a.device)
    results = [run(way, seed, faces, preset, folder, a.device) for seed in range(a.seeds) for way in a.ways.split(',')]
    few, held = results[0]['counts']
    size = preset.network.size
    stored = {
        'command': f'python benchmarks/augment.py --preset {a.preset} --seeds {a.seeds} --ways {a.ways}',
        'network': asdict(preset.network),
        'training': asdict(preset.training),
        'ada_kimg': preset.ada_kimg,
        'protocol': (
            f'{few} training faces of {len(faces)} ({base.name}, {size} px); Fréchet distance on SqueezeNet between'
            f' {few} drawn and {held} held-out faces; {a.seeds} seeds, each with its own split; DCGAN, batch norm,'
            ' averaged generator, mirrored images'
        ),
        'squeezenet_sha256': metrics.find_extractor('squeezenet').weights,
        'torch': torch.__version__,
        'results': results,
    }
    short = json.loads(json.dumps(stored), parse_float=lambda s: float(f'{float(s):.5g}'))
    write_atomically(a.out, json.dumps(short) + '\n')
    rows = [
        np.asarray(Image.open(folder / f'{way}-0-{preset.looks[-1]}.png').convert('RGB')) for way in a.ways.split(',')
    ]
    gap = np.full((4, rows[0].shape[1], 3), 255, np.uint8)
    Image.fromarray(np.concatenate([part for row in rows for part in (row, gap)][:-1])).save(
        a.out.with_suffix('.jpg'), quality=90
    )
    print_table(stored)


if __name__ == '__main__':
    main()
