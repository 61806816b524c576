"""What buys variety at equal processor time? One change at a time against a base, on the drawn heads that ship.

    python benchmarks/modern.py --ablation           # 3 seeds of each way, a minute of one core each; goes on where it was
    python benchmarks/modern.py --ablation --table   # print what is stored, train nothing
    python benchmarks/modern.py --ring               # the ring of Gaussians: six losses, equally tuned, 12 seeds each

Each way has the same processor time, so one that computes more for an image sees fewer images. The generators learn
from 2,000 heads at 32 px; the other 1,000 judge. Stored: numbers of every run, and heads that the generators drew.
"""

import argparse
import json
import statistics
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import stats

from animegan_nb import metrics
from animegan_nb.callbacks import Checkpoints, Clock
from animegan_nb.core import grid, to_uint8, write_atomically
from animegan_nb.dcgan import DCGAN_LIVE
from animegan_nb.metrics import interval
from animegan_nb.modern import ModernConfig
from animegan_nb.toon import ready_heads
from animegan_nb.training import Recipe, TrainingConfig

ROOT = Path(__file__).resolve().parent.parent
SIZE, DRAWN, SHOWN = 32, 500, 12
EXTRACTORS = ('squeezenet', 'toon', 'pixels')
MEASURED = ('frechet', 'precision', 'recall', 'diversity')

_NETWORK = ModernConfig(SIZE, latent=64, pixels=False, deviation=False, paired=False)
_TRAINING = TrainingConfig(
    batch_size=32,
    generator_lr=1e-3,
    discriminator_lr=1e-3,
    generator_betas=(0.0, 0.99),
    discriminator_betas=(0.0, 0.99),
    ema_half_life=1_000,
    mixed_precision='bf16',
    channels_last=True,
)
BASE = Recipe('modern', _NETWORK, _TRAINING, 0, 'heads on frozen features, the plain loss with R1 and R2')


def changed(augment='', training=None, **network) -> Recipe:
    "The base with other numbers."
    return replace(
        BASE,
        network=replace(_NETWORK, **network),
        training=replace(_TRAINING, **(training or {})),
        augment=augment,
    )


WAYS = {
    'base': ('frozen features alone, the plain loss, R1 and R2', BASE),
    'paired': ('the paired loss', changed(paired=True)),
    'deviation': ('the deviation of the batch', changed(deviation=True)),
    'pixels': ('a head on the pixels, too', changed(pixels=True)),
    'pixels-only': ('a head on the pixels alone', changed(pixels=True, features='')),
    'batch-64': ('batches of 64, not 32', changed(training=dict(batch_size=64))),
    'latent-256': ('256 latent numbers, not 64', changed(latent=256)),
    'slow-d': ("a quarter of the discriminator's rate", changed(training=dict(discriminator_lr=2.5e-4))),
    'diffaugment': ('DiffAugment', changed('diffaugment')),
    'dcgan': (
        'another network: the recipe dcgan-live',
        replace(DCGAN_LIVE, training=replace(DCGAN_LIVE.training, mixed_precision='bf16', channels_last=True)),
    ),
}


def train(way: str, seed: int, data, seconds: float, folder: Path):
    "A training of so many processor seconds; stopped, it goes on from its last checkpoint."
    clock = Clock(minutes=seconds / 60, processor=True)
    saves = Checkpoints(folder / f'{way}-{seed}', every=100, keep=1)
    trainer = WAYS[way][1].trainer(data, [clock, saves], device='cpu', seed=seed).resume(folder / f'{way}-{seed}')
    if clock.processor_seconds < seconds:
        trainer.fit(steps=10**6, progress=sys.stderr.isatty())
    return trainer, clock


def numbers(drawn, real: dict, names=EXTRACTORS) -> dict:
    "Every metric of drawn images on each extractor."
    found = {name: metrics.measure(real[name], metrics.extract(drawn, name)) for name in names}
    return {name: {m: values[m] for m in MEASURED} for name, values in found.items()}


def run(way: str, seed: int, heads, judge: dict, seconds: float, folder: Path) -> dict:
    done = folder / f'{way}-{seed}.json'
    if done.exists():
        return json.loads(done.read_text())
    trainer, clock = train(way, seed, heads, seconds, folder)
    drawn, live = (to_uint8(trainer.sample(DRAWN, seed=77, live=live)) for live in (False, True))
    grid(drawn[:SHOWN], SHOWN).save(folder / f'{way}-{seed}.png')
    result = dict(
        way=way,
        seed=seed,
        images=trainer.images,
        seconds=clock.processor_seconds,
        drawn=numbers(drawn, judge),
        without_average=numbers(live, judge),
    )
    write_atomically(done, json.dumps(result))
    print(f'{way}-{seed}: {trainer.images} images, {result["drawn"]}', flush=True)
    return result


def ablation(a):
    torch.set_num_threads(1)
    folder = a.runs / 'ablation'
    folder.mkdir(parents=True, exist_ok=True)
    heads = ready_heads().resized(SIZE)
    known, held_out = torch.arange(2000), torch.arange(2000, 3000)
    judge = {name: metrics.extract(heads.batch(held_out)['image'], name) for name in EXTRACTORS}
    floors = [numbers(heads.batch(known[i : i + DRAWN])['image'], judge) for i in range(0, 2000, DRAWN)]
    results = [
        run(way, seed, heads.subset(known), judge, a.seconds, folder) for seed in range(a.seeds) for way in WAYS
    ]
    stored = {
        'command': f'python benchmarks/modern.py --ablation --seeds {a.seeds} --seconds {a.seconds:g}',
        'protocol': f'2,000 drawn heads to learn from, {SIZE} px; {DRAWN} images of each generator against 1,000 other'
        f' heads; {a.seconds:g} processor seconds of one thread each, in bfloat16; {a.seeds} seeds',
        'ways': {way: text for way, (text, _) in WAYS.items()},
        'recipes': {w: dict(network=asdict(r.network), training=asdict(r.training)) for w, (_, r) in WAYS.items()},
        'floors': floors,
        'results': results,
        'torch': torch.__version__,
    }
    write_atomically(a.out / 'modern_ablation.json', json.dumps(stored, indent=1) + '\n')
    sheet = Image.fromarray(np.concatenate([strips(folder, way, a.seeds) for way in WAYS]))
    sheet.save(a.out / 'modern_ablation.jpg', quality=85)
    print_table(stored)


def strips(folder: Path, way: str, seeds: int) -> np.ndarray:
    "A row of what the generators of a way drew, seed beside seed."
    rows = [np.asarray(Image.open(folder / f'{way}-{seed}.png').convert('RGB')) for seed in range(seeds)]
    side = rows[0].shape[0]
    gap = np.full((side, 6, 3), 255, np.uint8)
    row = np.concatenate([part for r in rows for part in (r[:, : 4 * (side + 2) - 2], gap)][:-1], 1)
    return np.concatenate([row, np.full((2, row.shape[1], 3), 255, np.uint8)])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--ablation', action='store_true')
    p.add_argument('--ring', action='store_true')
    p.add_argument('--table', action='store_true')
    p.add_argument('--seeds', type=int, default=3)
    p.add_argument('--seconds', type=float, default=45)
    p.add_argument('--runs', type=Path, default=ROOT / '_out' / 'modern')
    p.add_argument('--out', type=Path, default=ROOT / 'data' / 'results')
    a = p.parse_args()
    if a.ablation:
        return ablation(a)
    p.error('--ablation or --ring')


if __name__ == '__main__':
    main()
