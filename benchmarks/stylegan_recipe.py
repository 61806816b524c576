"""Which StyleGAN learns most in a few core-minutes? One change at a time, several seeds, equal processor time.

    python benchmarks/stylegan_recipe.py run --minutes 5 --seeds 3 --work runs/recipe     # the same line goes on
    python benchmarks/stylegan_recipe.py write --work runs/recipe              # data/results/stylegan_recipe.*
    python benchmarks/stylegan_recipe.py run --recipes dcgan-cpu plain --work runs/coverage
    python benchmarks/stylegan_recipe.py write --recipes dcgan-cpu plain --work runs/coverage --out stylegan_coverage

The second pair of lines trains two of the recipes once more, for the numbers that the first did not store: density and
coverage.

Every variant trains at 64 px on the 3,000 heads that ship, in bfloat16 where the processor has it, on one thread and
without augmentation, until its process has used the same processor time. The average of each generator is judged by
1,000 images on two extractors. What is compared, and how, was chosen before the runs that are stored.
"""

import argparse
import json
import math
import re
import shlex
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from comparisons import pooled, strip
from networks import STORED, all_images, draw
from PIL import Image

from animegan_nb import toon
from animegan_nb.core import fast_bfloat16, grid, to_uint8
from animegan_nb.dcgan import DCGAN_CPU
from animegan_nb.metrics import evaluate, extract
from animegan_nb.stylegan import STYLEGAN_CPU_64
from animegan_nb.training import Callback, Recipe

RESULTS = Path(__file__).resolve().parents[1] / 'data' / 'results'
BEST = STYLEGAN_CPU_64
RULE = 0.0002 * 64**2 / BEST.training.batch_size  # γ of StyleGAN2-ADA for this size and batch


@dataclass(frozen=True)
class Variant:
    "What a run changes of the preset for 64 px."

    what: str
    network: tuple[tuple[str, object], ...] = ()
    discriminator_lr: float = BEST.training.discriminator_lr

    def recipe(self) -> Recipe:
        network = replace(BEST.network, **dict(self.network))
        training = replace(BEST.training, discriminator_lr=self.discriminator_lr, ema_half_life=2_000.0)
        return replace(BEST, network=network, training=training)


def changed(what: str, discriminator_lr: float = 2e-4, **network) -> Variant:
    return Variant(what, tuple(network.items()), discriminator_lr)


PUBLISHED = dict(discriminator='residual', r1_gamma=RULE, r1_every=16)
VARIANTS = {
    'published': changed('the published discriminator, rate and γ, with noise maps', 0.0025, noise=True, **PUBLISHED),
    'no noise': changed('… without noise maps', 0.0025, **PUBLISHED),
    'γ = 1': changed('… and γ = 1', 0.0025, **PUBLISHED | dict(r1_gamma=1.0)),
    'R1 in every step': changed('… and R1 in every step', 0.0025, discriminator='residual'),
    'slower': changed('… and a slower discriminator', discriminator='residual'),
    'plain': changed('… and the plain discriminator: the preset'),
    'plain, lazy R1': changed('the preset with R1 in every 16th step', r1_every=16),
    'plain, γ by the rule': changed('the preset with γ by the rule', r1_gamma=RULE),
    'plain, one style': changed('the preset without style mixing', mixing=0.0),
}

DESCRIBED = {'dcgan-cpu': 'another network: the recipe dcgan-cpu'} | {k: v.what for k, v in VARIANTS.items()}
COMPARED = (  # each but the last two differs from the second in one thing
    ('no noise', 'published'),
    ('γ = 1', 'no noise'),
    ('R1 in every step', 'γ = 1'),
    ('slower', 'R1 in every step'),
    ('plain', 'slower'),
    ('plain, lazy R1', 'plain'),
    ('plain, γ by the rule', 'plain'),
    ('plain, one style', 'plain'),
    ('plain', 'published'),
    ('dcgan-cpu', 'plain'),
)
NUMBERS = {'frechet on toon, log': ('toon', 'frechet'), 'recall on pixels': ('pixels', 'recall')}


class ProcessorTime(Callback):
    "Stops a training when this process has used so many minutes of the processor."

    def __init__(self, minutes: float):
        self.end = time.process_time() + 60 * minutes

    def on_step(self, trainer, record):
        if time.process_time() > self.end:
            trainer.stop()


def recipe_of(name: str) -> Recipe:
    return DCGAN_CPU if name == 'dcgan-cpu' else VARIANTS[name].recipe()


def stem_of(name: str, seed: int) -> str:
    "The name of a run's files: letters, numbers and dashes."
    return '-'.join([*re.findall(r'\w+', name), str(seed)])


def run_one(name: str, seed: int, minutes: float, work: Path):
    "Train one variant with one seed, judge it, and write its row and its images."
    recipe = replace(recipe_of(name), augment='')
    precision = 'bf16' if fast_bfloat16() else 'no'
    recipe = replace(recipe, training=replace(recipe.training, mirror=False, mixed_precision=precision))
    heads = toon.ready_heads().only('image')
    trainer = recipe.trainer(heads, [ProcessorTime(minutes)], 'cpu', seed)
    trainer.fit(10_000_000, progress=False)
    images = draw(trainer.pair, trainer.average, 1000, 0)
    row = dict(name=name, seed=seed, minutes=minutes, steps=trainer.step, precision=precision)
    row |= dict(images=trainer.step * recipe.training.batch_size, network=asdict(recipe.network))
    known = all_images(heads)
    for extractor in ('toon', 'pixels'):
        numbers = evaluate(images, extract(known, extractor), extractor, n=1000, replicates=2).numbers
        row[extractor] = {k: round(numbers[k].value, 4) for k in STORED}
        row[extractor]['floor'] = round(numbers['frechet'].floor, 3)
        row[extractor]['real'] = {k: round(numbers[k].floor, 4) for k in STORED}
    stem = work / stem_of(name, seed)
    grid(to_uint8(images[:12]), 12).save(stem.with_suffix('.png'))
    stem.with_suffix('.json').write_text(json.dumps(row) + '\n', encoding='utf-8')
    print(name, seed, row['images'], row['toon'], flush=True)


def run(args):
    work = Path(args.work)
    work.mkdir(parents=True, exist_ok=True)
    done = {(row['name'], row['seed']) for row in rows_of(work)}
    for seed in range(args.seeds):
        for name in args.recipes:
            if (name, seed) not in done:
                run_one(name, seed, args.minutes, work)


def rows_of(work: Path) -> list[dict]:
    return [json.loads(path.read_text(encoding='utf-8')) for path in sorted(work.glob('*.json'))]


def complete(rows: list[dict], names: list[str]) -> list[int]:
    "The seeds of which every variant is there."
    return sorted(set.intersection(*({row['seed'] for row in rows if row['name'] == name} for name in names)))


def verdict(rows: list[dict], names: list[str]) -> dict:
    "The pairs of `COMPARED` among these, by both numbers, from the seeds of which every variant is there."
    seeds = complete(rows, names)
    named = {name: {row['seed']: row for row in rows if row['name'] == name} for name in names}
    if len(seeds) < 2:
        return {}
    numbers = {}
    for label, (extractor, metric) in NUMBERS.items():
        change = math.log if metric == 'frechet' else float
        value = lambda row: change(row[extractor][metric])
        numbers[label] = {name: [value(runs[seed]) for seed in seeds] for name, runs in named.items()}
    return dict(seeds=seeds, **pooled(numbers, [pair for pair in COMPARED if set(pair) <= set(names)]))


def write(args):
    "The rows of every seed of which all variants are there, the verdict, and for each variant a strip of images."
    work, order = Path(args.work), args.recipes
    rows = sorted(rows_of(work), key=lambda row: (order.index(row['name']), row['seed']))
    if not (seeds := complete(rows, order)):
        sys.exit(f'No seed of which every variant is there is in {work}: go on with `run`.')
    rows = [row for row in rows if row['seed'] in seeds]
    paths = lambda name: [work / f'{stem_of(name, seed)}.png' for seed in seeds]
    sheet = np.concatenate([strip(paths(name), 6 // len(seeds)) for name in order])
    out = RESULTS / args.out
    Image.fromarray(sheet).save(out.with_suffix('.jpg'), quality=85)
    asked = '' if order == list(DESCRIBED) else ' --recipes ' + ' '.join(map(shlex.quote, order))
    asked += f' --minutes {rows[0]["minutes"]:g} --seeds {len(seeds)}'
    facts = dict(
        command=f'python benchmarks/stylegan_recipe.py run{asked}',
        variants={name: DESCRIBED[name] for name in order},
        rows=rows,
        verdict=verdict(rows, order),
        torch=torch.__version__,
    )
    out.with_suffix('.json').write_text(json.dumps(facts, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=['run', 'write'])
    parser.add_argument('--work', default='runs/recipe', help='the folder of rows and images')
    parser.add_argument('--recipes', nargs='+', choices=list(DESCRIBED), default=list(DESCRIBED), help='default: all')
    parser.add_argument('--out', default='stylegan_recipe', help='`write`: the name of the files in data/results')
    parser.add_argument('--minutes', type=float, default=5, help='of processor time for each run')
    parser.add_argument('--seeds', type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    {'run': run, 'write': write}[args.what](args)


if __name__ == '__main__':
    main()
