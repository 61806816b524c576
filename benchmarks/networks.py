"""Train the networks of the book, judge them and write them down, each with one line.

    python benchmarks/networks.py list
    python benchmarks/networks.py train stylegan_toon_64 --run runs/stylegan_toon_64      # the same line goes on
    python benchmarks/networks.py judge stylegan_toon_64 --run runs/stylegan_toon_64      # the numbers, now
    python benchmarks/networks.py write stylegan_toon_64 --run runs/stylegan_toon_64

`write` stores what the book shows, and how the distance fell while the training went on: a network trained on heads
that the library draws ships in data/pretrained (half precision, with its card; of a StyleGAN also the discriminator,
so that a fine-tuning can begin with both). Of a network trained on a folder of ANIMEGAN_DATA, and of one that only
serves for a comparison, numbers and images that it generated are stored, in data/results.

The card holds, for several sets of latents and every extractor, the Fréchet distance with its floor, precision, recall,
density, coverage and diversity; whether generated images lie nearer to the training images or their mirror images than
new ones do, with training images moved by one pixel as the control; the core-minutes and the log.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.optim.swa_utils import update_bn
from tqdm.auto import tqdm

from animegan_nb import toon
from animegan_nb.callbacks import Checkpoints, read_log
from animegan_nb.conditional import TagRequests, tagged_heads
from animegan_nb.core import fast_bfloat16, grid, tiles, to_float, to_uint8, write_atomically
from animegan_nb.data import ImageFolder, ImageSet
from animegan_nb.metrics import evaluate, extract, memorisation
from animegan_nb.stylegan import StyleGANPair
from animegan_nb.training import Draws, ModelPair, Recipe, generate_images, load_run, recipes, train as train_recipe
from animegan_nb.transfer import TransferConfig, transfer_recipe

ROOT = Path(__file__).resolve().parents[1]
LOG_ROWS = 60
STORED = ('frechet', 'precision', 'recall', 'density', 'coverage', 'diversity')


@dataclass(frozen=True)
class Job:
    "A network: what it is, on what it trains, and how."

    what: str
    data: str  # 'anime' or 'human': heads of that style; else a folder of ANIMEGAN_DATA
    recipe: Recipe
    extractors: tuple[str, ...] = ('toon', 'squeezenet', 'pixels')
    compared: bool = False  # only numbers and images are stored, to compare another network with
    more: tuple[int, ...] = ()  # seeds: of each, 3,000 more heads to train on

    @property
    def drawn(self) -> bool:
        return self.data in ('anime', 'human')

    @property
    def tagged(self) -> bool:
        return hasattr(self.recipe.network, 'tags')

    @property
    def ships(self) -> bool:
        return self.drawn and not self.compared


def in_bfloat16(recipe: Recipe) -> Recipe:
    "In bfloat16 where that is fast."
    return replace(recipe, training=replace(recipe.training, mixed_precision='bf16' if fast_bfloat16() else 'no'))


def adapted(preset: str, steps: int, augment: str | None = None, network=(), **training) -> Recipe:
    "A preset, in bfloat16 where that is fast, for so many steps, with other numbers of its networks and training."
    recipe = in_bfloat16(recipes[preset])
    augment = recipe.augment if augment is None else augment
    network = replace(recipe.network, **dict(network))
    return replace(recipe, network=network, training=replace(recipe.training, **training), steps=steps, augment=augment)


# The light falls on drawn heads from one side: they are not mirrored.
HEADS_64 = adapted('stylegan-cpu-64', 50_000, '', dict(mixing=0.0), mirror=False)
# The anime generator begins with the human one and its discriminator, and all of both learns.
AS_HUMAN = TransferConfig(**vars(HEADS_64.network), start='stylegan_toon_human_64')
AS_BEFORE = replace(AS_HUMAN, start='stylegan_toon_64')
TAGGED = in_bfloat16(recipes['conditional-cpu-64'])
MORE = (2, 3, 4, 5, 6, 7, 8)  # seeds of 21,000 more heads; 1: the new heads of `images`


FAST = replace(TAGGED, network=replace(TAGGED.network, direction_rate=1.0))  # F at the full rate


JOBS = {
    'stylegan_toon_64': Job(
        'StyleGAN2 at 64 px on 3,000 anime heads, begun as stylegan_toon_human_64',
        'anime',
        transfer_recipe(AS_HUMAN, HEADS_64.training, 50_000, HEADS_64.source),
    ),
    'stylegan_toon_64_scratch': Job('StyleGAN2 at 64 px on 3,000 anime heads', 'anime', HEADS_64, compared=True),
    'stylegan_toon_human_64': Job('StyleGAN2 at 64 px on 3,000 heads in the human style', 'human', HEADS_64),
    'conditional_toon_64': Job(
        'StyleGAN2 at 64 px on 24,000 anime heads, begun as stylegan_toon_64, which learned tags',
        'anime',
        TAGGED,
        more=MORE,
    ),
    'conditional_toon_64_3000': Job(
        'conditional_toon_64_fast, which learned from 3,000 anime heads',
        'anime',
        replace(FAST, steps=15_000),
        compared=True,
    ),
    'conditional_toon_64_shifted': Job(
        'conditional_toon_64_3000, whose discriminator sees every head shifted by up to an eighth of its side',
        'anime',
        replace(FAST, steps=15_000, augment='shift'),
        compared=True,
    ),
    'conditional_toon_64_fast': Job(
        'conditional_toon_64, whose directions learn at the full rate', 'anime', FAST, compared=True, more=MORE
    ),
    'conditional_toon_64_slow': Job(
        'conditional_toon_64, whose directions learn at 0.1 of the rate',
        'anime',
        replace(TAGGED, network=replace(TAGGED.network, direction_rate=0.1), steps=21_000),
        compared=True,
        more=MORE,
    ),
    'stylegan_toon_64_longer': Job(
        'StyleGAN2 at 64 px on 3,000 anime heads, begun as stylegan_toon_64: conditional_toon_64_3000 without tags',
        'anime',
        transfer_recipe(AS_BEFORE, HEADS_64.training, 50_000, HEADS_64.source),
        compared=True,
    ),
    'dcgan_toon_32': Job(
        'DCGAN at 32 px on 3,000 anime heads',
        'anime',
        adapted('dcgan-live', 20_000, mirror=False, ema_half_life=10_000.0),
    ),
    'dcgan_anime_faces_native_long': Job(
        "DCGAN at 64 px on 1,500 faces of Wang's data set",
        'anime_faces_native',
        adapted('dcgan-cpu', 60_000, 'diffaugment', ema_half_life=10_000.0),
    ),
    'stylegan_anime_faces_native_long': Job(
        "StyleGAN2 at 64 px on 1,500 faces of Wang's data set", 'anime_faces_native', adapted('stylegan-cpu-64', 50_000)
    ),
}


def data_folder(name: str) -> Path:
    folder = Path(os.environ.get('ANIMEGAN_DATA') or '.') / name
    if not folder.is_dir():
        sys.exit(f'There is no folder {name} here: set ANIMEGAN_DATA to the folder that holds it.')
    return folder


@cache
def images(job: Job, size: int, held_out: bool = False):
    "The images with which what a job generates is compared, or new heads that it never saw."
    if not job.drawn:
        return ImageFolder(data_folder(job.data), size, progress=False)
    if job.data == 'anime' and not held_out:
        return at_size(job, size, toon.ready_heads())
    return at_size(job, size, toon.ToonHeads(1000 if held_out else 3000, 64, seed=int(held_out), style=job.data))


def at_size(job: Job, size: int, heads: ImageSet) -> ImageSet:
    return tagged_heads(size, heads) if job.tagged else heads.only('image').resized(size)


@cache
def training_images(job: Job, size: int):
    "The images on which a job trains: those of `images`, and more, if it asks for more."
    if not job.more:
        return images(job, size)
    more = [at_size(job, size, toon.ToonHeads(3000, 64, seed=seed, style=job.data)) for seed in job.more]
    sets = [data.arrays for data in (images(job, size), *more)]
    return ImageSet({name: np.concatenate([arrays[name] for arrays in sets]) for name in sets[0]})


def train(name: str, run: str):
    "Begin a training, or go on with it; every 1,000 steps a checkpoint is kept for `moments`."
    job = JOBS[name]
    kept = Checkpoints(Path(run) / 'moments', every=1000, keep=1000)
    train_recipe(job.recipe, training_images(job, job.recipe.network.size), run, callbacks=[kept], device='cpu')


def draw(pair, generator, n: int, seed: int) -> torch.Tensor:
    "n images of the averaged generator, rounded to bytes as in a file of them."
    return to_float(to_uint8(generate_images(pair, generator, n, Draws(seed), 100)))


def shifted(batch: torch.Tensor) -> torch.Tensor:
    "Moved to the right by one pixel: copies whose bytes differ from the originals'."
    return torch.cat([batch[..., :1], batch[..., :-1]], -1)


def all_images(dataset) -> torch.Tensor:
    return to_float(dataset.batch(torch.arange(len(dataset)))['image'])


def measures(job: Job, generated: list[torch.Tensor], size: int) -> dict:
    "What `compared` finds beside the images of a job, all those that it trains on, and new heads."
    fresh = all_images(images(job, size, True)) if job.drawn else None
    learned = all_images(training_images(job, size)) if job.more else None
    return compared(generated, all_images(images(job, size)), fresh, job.extractors, learned)


def compared(
    generated: list[torch.Tensor],
    known: torch.Tensor,
    fresh: torch.Tensor | None,
    extractors,
    learned: torch.Tensor | None = None,  # the training images, where they are more than the known ones
) -> dict:
    """For each extractor: the numbers of every set of latents beside known images, and (if there are new heads) how
    often a generated image is nearer to the training set than a new image is (0.5: as a new one, 1: copied)."""
    found, learned = {}, known if learned is None else learned
    for extractor in extractors:
        real = extract(known, extractor)
        both = extract(torch.cat([learned, learned.flip(-1)]), extractor)
        fakes = [extract(part, extractor) for part in generated]
        n = min(len(known) // 2, len(generated[0]))
        rows = [evaluate(fake, real, extractor, n=n, seed=seed) for seed, fake in enumerate(fakes)]
        number = lambda metric: [row[metric].value for row in rows]
        entry = dict(n=n, floor=rows[0]['frechet'].floor)
        entry |= {m: [round(v, 4) for v in number(m)] for m in STORED}
        entry['card'] = asdict(rows[0].card)
        if fresh is not None:
            new = extract(fresh, extractor)
            entry['copied'] = [memorisation(fake, both, new, extractor) for fake in fakes]
            entry['copied_control'] = memorisation(shifted(known[:500]), both, new, extractor)
        found[extractor] = entry
    return found


def thinned(log: list[dict], rows: int = LOG_ROWS) -> list[dict]:
    "A log in few rows: means over equal pieces."
    piece = max(1, len(log) // rows)
    names = [k for k in log[-1] if isinstance(log[-1][k], (int, float)) and not isinstance(log[-1][k], bool)]
    last = ('step', 'images', 'seconds', 'processor_seconds')
    pieces = [log[i : i + piece] for i in range(0, len(log) - piece + 1, piece)]
    mean = lambda part, k: round(float(np.mean([r[k] for r in part if isinstance(r.get(k), (int, float))] or [0])), 4)
    return [{k: part[-1].get(k) if k in last else mean(part, k) for k in names} for part in pieces]


def training_facts(info: dict, log: list[dict]) -> dict:
    "What a card says about a training."
    network, begun = dict(info['network']), {}
    if start := network.pop('start', None):  # of a fine-tuning
        begun = dict(start=start, discriminator_start=network.pop('discriminator_start'))
    return begun | dict(
        model=info['model'],
        network=network,
        training=info['config'],
        steps=info['step'],
        images=info['images'],
        seed=info['config']['seed'],
        core_minutes=round(log[-1]['processor_seconds'] / 60, 1),
        log=thinned(log),
        torch=torch.__version__,
    )


def judged(name: str, run: Path, n: int, seeds: int) -> tuple[dict, ModelPair, torch.nn.Module, list[torch.Tensor]]:
    "The card of a run, its networks, its averaged generator and what it drew."
    job = JOBS[name]
    pair, generator, info = load_run(run)
    generated = [draw(pair, generator, n, seed) for seed in range(seeds)]
    size = generated[0].shape[-1]
    facts = dict(
        what=f'{job.what}; averaged generator',
        command=f'python benchmarks/networks.py train {name} --run RUN',
        stages=[asdict(stage) for stage in job.recipe.stages],
        augment=job.recipe.augment,
        data=dict(kind=job.data, images=len(training_images(job, size))),
        measures=measures(job, generated, size),
    )
    return facts | training_facts(info, read_log(run / 'log.jsonl')), pair, generator, generated


def moments(name: str, run: Path, n: int) -> list[dict]:
    """How far each kept checkpoint had come, on the features of SqueezeNet; at most n images of one set of latents.
    What was measured before is read from the run's folder."""
    job, rows = JOBS[name], {row['step']: row for row in read_log(run / 'log.jsonl')}
    real = extract(all_images(images(job, job.recipe.network.size)), 'squeezenet')
    n = min(len(real) // 2, n)
    file = run / 'moments' / f'measured-{n}.json'
    minutes_of = lambda step: round(rows[step]['processor_seconds'] / 60, 1) if step in rows else None
    found = json.loads(file.read_text(encoding='utf-8')) if file.exists() else []
    found = [row for row in found if row['core_minutes'] == minutes_of(row['step'])]  # of this training
    known = {row['step'] for row in found}
    for folder in tqdm(sorted((run / 'moments').glob('step-*')), 'checkpoints'):
        if int(folder.name.removeprefix('step-')) in known:
            continue
        pair, generator, info = load_run(folder)
        row = dict(step=info['step'], images=info['images'], core_minutes=minutes_of(info['step']))
        row |= numbers_of(draw(pair, generator, n, 0), real)
        if fresh_statistics(pair, generator):
            row['fresh_statistics'] = numbers_of(draw(pair, generator, n, 0), real)
        found.append(row)
        write_atomically(file, json.dumps(found))
    return sorted(found, key=lambda row: row['step'])


def numbers_of(fakes: torch.Tensor, real: torch.Tensor) -> dict[str, float]:
    "Distance, precision and recall of as many images, against real features of SqueezeNet."
    options = dict(n=len(fakes), seed=0, replicates=2, cuts=1)  # the values alone are stored
    numbers = evaluate(extract(fakes, 'squeezenet'), real, 'squeezenet', **options)
    return {m: round(numbers[m].value, 4) for m in ('frechet', 'precision', 'recall')}


def fresh_statistics(pair, generator, batches: int = 40) -> bool:
    """Measure the means and variances of the batch norms of an averaged generator anew, over batches of 64; False if it
    has none. (An average of weights keeps the running statistics of the network in training, which are those of its
    latest batches.)"""
    if not any(isinstance(m, torch.nn.BatchNorm2d) for m in generator.modules()):
        return False
    update_bn((pair.latents(64, Draws(1000 + k)) for k in range(batches)), generator)
    generator.eval()
    return True


def over_time(run: Path, size: int, rows: int = 6, columns: int = 10):
    "The same latents at several steps, cut out of the sample sheets of the run."
    sheets = sorted((run / 'samples').glob('step-*.png'))
    chosen = [sheets[round(i)] for i in np.linspace(0, len(sheets) - 1, rows)]
    return grid(torch.cat([tiles(Image.open(sheet), size, columns) for sheet in chosen]), columns)


def write(name: str, run: Path, n: int, seeds: int):
    job = JOBS[name]
    facts, pair, generator, generated = judged(name, run, n, seeds)
    facts['moments'] = moments(name, run, n)
    sheet = grid(to_uint8(generated[0][:40]), 10)
    if job.ships:
        labels = {}  # that can be requested
        if isinstance(pair, TagRequests):
            labels = {'known': pair.known[: pair.remembered].to(torch.uint8)}
        out = ship(name, generator, facts, tensors=labels)
        if isinstance(pair, StyleGANPair):
            save_file(halved(pair.discriminator), out.with_name(f'{name}_discriminator.safetensors'))
    else:
        out = ROOT / 'data' / 'results' / name
        facts['earlier'] = earlier(out.with_suffix('.json'), facts)
        sheet.save(out.with_suffix('.jpg'), quality=90)
        out.with_suffix('.json').write_text(json.dumps(facts, indent=1) + '\n', encoding='utf-8')
    show(facts)


def earlier(file: Path, facts: dict) -> list[dict]:
    "What was stored of the same training when it had made fewer steps, to be compared at an equal time."
    if not file.exists():
        return []
    before = json.loads(file.read_text(encoding='utf-8'))
    if any(before.get(k) != facts[k] for k in ('network', 'training', 'augment', 'data')):
        return []
    last = {k: before[k] for k in ('steps', 'images', 'core_minutes', 'measures')}
    return [row for row in (*before.get('earlier', []), last) if row['steps'] < facts['steps']]


def halved(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    state = network.state_dict()
    return {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()}


PRETRAINED = ROOT / 'data' / 'pretrained'


def ship(name: str, generator: torch.nn.Module, facts: dict, folder: Path = PRETRAINED, tensors=()) -> Path:
    "Write the weights in half precision, further `tensors` with them, and the card."
    out = folder / f'{name}.safetensors'
    save_file(halved(generator) | dict(tensors), out)
    out.with_suffix('.json').write_text(json.dumps(facts, indent=1) + '\n', encoding='utf-8')
    return out


def show(facts: dict):
    print(facts['what'], f"{facts['images']:,} images, {facts['core_minutes']} core-minutes")
    for extractor, m in facts['measures'].items():
        mean = {k: round(float(np.mean(m[k])), 3) for k in STORED}
        print(
            f'  {extractor:12}', mean, 'floor', round(m['floor'], 2), 'copied', m.get('copied'), m.get('copied_control')
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=['list', 'train', 'judge', 'write'])
    parser.add_argument('name', nargs='?', choices=list(JOBS))
    parser.add_argument('--run', help='the folder of the run')
    parser.add_argument('--n', type=int, default=1500, help='generated images in each set')
    parser.add_argument('--seeds', type=int, default=3, help='sets of latents')
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == 'list':
        for name, job in JOBS.items():
            print(f'{name:34}{job.what}')
        return
    if not args.name or not args.run:
        parser.error('the name of a network and --run are needed')
    if args.what == 'train':
        train(args.name, args.run)
    elif args.what == 'judge':
        show(judged(args.name, Path(args.run), args.n, args.seeds)[0])
    else:
        write(args.name, Path(args.run), args.n, args.seeds)


if __name__ == '__main__':
    main()
