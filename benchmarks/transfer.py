"""Fine-tune the generator of heads in the human style into one of anime heads, and measure what each version keeps.

    python benchmarks/transfer.py discriminator --start RUN         the human discriminator, beside its generator in data/
    python benchmarks/transfer.py train --runs DIR [NAME …]         each in DIR/NAME; the same line goes on
    python benchmarks/transfer.py write --runs DIR                  the network, the table and the grid of the chapter
    python benchmarks/transfer.py starts --runs DIR --start RUN     three beginnings of the discriminator, from any run

All versions make the same number of steps; `write` says how much processor time each took. `fin4` ships, in half
precision.
"""

import argparse
import json
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from animegan_nb import toon
from animegan_nb.callbacks import read_log
from animegan_nb.core import fast_bfloat16, grid, rng, to_float, to_uint8
from animegan_nb.metrics import evaluate, extract
from animegan_nb.stylegan import StyleGANConfig, StyleGANGenerator
from animegan_nb.toon_net import toon_network
from animegan_nb.training import Callback, load_run, Recipe, recipes, train as train_recipe
from animegan_nb.transfer import agreement, changes, graft, load_start, transfer_recipe

DATA = Path(__file__).resolve().parents[1] / 'data'
START, SHIPS = 'stylegan_toon_human_64', 'stylegan_toon_fin4'
STEPS = 1_600
NAMES = {'fin1': 1, 'fin2': 2, 'fin3': 3, 'fin4': 4, 'all': None}  # blocks that learn
# how the discriminator begins, and how many of its layers rest
STARTS = {'fresh': ('fresh', 0), 'human': ('trained', 0), 'human, FreezeD': ('trained', 2)}
EXTRACTORS = 'toon', 'squeezenet', 'pixels'
COLUMNS = 10


def recipe(tune: int | None, steps: int, start: str = START, begins=('trained', 0), seed: int = 0) -> Recipe:
    "The preset freezeg-cpu with other numbers, in bfloat16 where that is fast."
    preset = recipes['freezeg-cpu']
    network = replace(preset.network, start=start, discriminator_start=begins[0])
    precision = 'bf16' if fast_bfloat16() else 'no'
    training = replace(preset.training, mixed_precision=precision, seed=seed)
    return transfer_recipe(network, training, steps, preset.source, tune, begins[1])


class KeepAverages(Callback):
    "The averaged generator after some steps, in files."

    order = 1

    def __init__(self, run: Path, steps: set[int]):
        self.folder, self.steps = run / 'averages', steps

    def on_step(self, trainer, record):
        if trainer.step in self.steps:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file(halved(trainer.average), self.folder / f'{trainer.step}.safetensors')


def halved(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    state = network.state_dict()
    return {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()}


def train(recipe: Recipe, run: Path, keep: set[int] = frozenset()):
    heads = toon.ready_heads().only('image')
    train_recipe(recipe, heads, run, device='cpu', callbacks=[KeepAverages(run, keep)] if keep else [])


@cache
def drawn(style: str, n: int, seed: int) -> torch.Tensor:
    "Heads of a style; the same seed draws the same people in the same poses."
    heads = toon.ready_heads() if (style, n, seed) == ('anime', 3000, 0) else toon.ToonHeads(n, 64, seed, style)
    return to_float(heads.batch(torch.arange(n))['image'])


@cache
def features(style: str, extractor: str):
    return extract(drawn(style, 3000, 0), extractor)


@torch.no_grad()
def images(generator: StyleGANGenerator, z: torch.Tensor) -> torch.Tensor:
    "Rounded to bytes, as in a file of them."
    made = torch.cat([generator(part, noise='none') for part in z.split(100)])
    return to_float(to_uint8(made))


def distances(made: torch.Tensor, style: str, extractors=EXTRACTORS) -> dict:
    "The Fréchet distance to the training heads of a style, its floor, precision and recall."
    found = {}
    for extractor in extractors:
        n = min(1500, len(made))
        row = evaluate(extract(made[:n], extractor), features(style, extractor), extractor, n=n, seed=0)
        numbers = {name: round(row[name].value, 4) for name in ('frechet', 'precision', 'recall', 'diversity')}
        found[extractor] = numbers | dict(floor=round(row['frechet'].floor, 4), n=n)
    return found


def controls(n: int) -> dict:
    "What the reader says of true pairs, of two different people, and of a head and itself mirrored."
    human, anime = drawn('human', 3000, 0)[:n], drawn('anime', 3000, 0)[:n]
    reader = toon_network()
    return {
        'the same person drawn in both styles': agreement(reader, human, anime),
        'another person': agreement(reader, human, anime.roll(1, 0)),
    }


def averaged(run: Path) -> tuple[StyleGANGenerator, dict]:
    _, generator, info = load_run(run)
    return generator, info


def write(runs: Path, n: int):
    human = load_start(START)[0].requires_grad_(False)
    tuned = {name: averaged(runs / name)[0] for name in NAMES if (runs / name).exists()}
    networks = {'g': human, **tuned}
    networks |= {f'fin4use{use}': graft(human, tuned['fin4'], use) for use in (1, 2, 3)}
    z = torch.randn(n, human.z_dim, generator=rng(1))
    made = {name: images(network, z) for name, network in networks.items()}
    reader, table = toon_network(), {}
    for name, pictures in made.items():
        row = dict(anime=distances(pictures, 'anime'), human=distances(pictures, 'human'))
        row['kept'] = {k: round(v, 4) for k, v in agreement(reader, made['g'], pictures).items()}
        row['changes'] = {k: round(v, 4) for k, v in changes(human, networks[name]).items()}
        if name in tuned:
            log = read_log(runs / name / 'log.jsonl')
            row |= dict(steps=log[-1]['step'], core_minutes=round(log[-1]['processor_seconds'] / 60, 2))
        table[name] = row
        print(name, {k: (v['frechet'], v['floor']) for k, v in row['anime'].items()}, row['kept'], flush=True)
    out = DATA / 'results' / 'transfer.json'
    facts = json.loads(out.read_text(encoding='utf-8')) if out.exists() else {}
    facts |= dict(
        command='python benchmarks/transfer.py train --runs RUNS; python benchmarks/transfer.py write --runs RUNS',
        start=START,
        images=n,
        seed=0,
        order=list(made),
        table=table,
        controls=controls(n),
        torch=torch.__version__,
    )
    out.write_text(json.dumps(facts, indent=1) + '\n', encoding='utf-8')
    rows = torch.cat([pictures[:COLUMNS] for pictures in made.values()])
    grid(to_uint8(rows), COLUMNS, padding=0).save(out.with_suffix('.png'), optimize=True)
    ship(runs / 'fin4', tuned['fin4'], table['fin4'])


def ship(run: Path, generator: StyleGANGenerator, row: dict):
    "The network with its card."
    used = recipe(NAMES['fin4'], STEPS)
    shape = {f: getattr(generator.config, f) for f in StyleGANConfig.__dataclass_fields__}
    facts = dict(
        what='StyleGAN2 at 64 px of heads in the human style, its last 4 blocks fine-tuned on 3,000 anime heads;'
        ' averaged generator',
        command='python benchmarks/transfer.py train fin4 --runs RUNS',
        start=START,
        network=shape,
        training=asdict(used.training),
        stages=[asdict(stage) for stage in used.stages],
        augment=used.augment,
        steps=row['steps'],
        images=row['steps'] * used.training.batch_size,
        seed=used.training.seed,
        core_minutes=row['core_minutes'],
        data=dict(kind='anime', images=3000),
        measures=dict(anime=row['anime'], human=row['human']),
        torch=torch.__version__,
    )
    out = DATA / 'pretrained' / SHIPS
    save_file(halved(generator), out.with_suffix('.safetensors'))
    out.with_suffix('.json').write_text(json.dumps(facts, indent=1) + '\n', encoding='utf-8')


def starts(runs: Path, start: str, steps: int, seeds: int, n: int):
    "Fine-tune all of the last 4 blocks before three discriminators, and follow the distance to anime heads."
    keep = sorted({max(1, round(steps * share)) for share in (0.125, 0.25, 0.5, 1)})
    rows, human = [], load_start(start)[0]
    z = torch.randn(n, human.z_dim, generator=rng(1))
    for seed in range(seeds):
        for name, begins in STARTS.items():
            run = runs / f'starts-{name.replace(", ", "-")}-{seed}'
            train(recipe(4, steps, start, begins, seed), run, set(keep))
            log = {row['step']: row for row in read_log(run / 'log.jsonl')}
            for step in keep:
                human.load_state_dict(from_file(run / 'averages' / f'{step}.safetensors'))
                made = distances(images(human, z), 'anime')
                found = {k: v['frechet'] for k, v in made.items()}
                seconds = round(log[step]['processor_seconds'], 1)
                rows.append(dict(discriminator=name, seed=seed, step=step, processor_seconds=seconds, frechet=found))
                print(rows[-1], flush=True)
    floor = {k: v['floor'] for k, v in made.items()}
    out = DATA / 'results' / 'transfer.json'
    facts = json.loads(out.read_text(encoding='utf-8')) if out.exists() else {}
    before = distances(images(load_start(start)[0].requires_grad_(False), z), 'anime')
    facts['starts'] = dict(
        human_steps=load_run(start)[2]['step'] if Path(start).is_dir() else 'as shipped',
        images=n,
        before={k: v['frechet'] for k, v in before.items()},
        floor=floor,
        rows=rows,
    )
    out.write_text(json.dumps(facts, indent=1) + '\n', encoding='utf-8')


def from_file(path: Path) -> dict[str, torch.Tensor]:
    from animegan_nb.core import read_weights

    return read_weights(path)


def discriminator(run: str):
    "The last discriminator of a run, in half precision, for whoever fine-tunes its generator."
    pair, _, info = load_run(run)
    save_file(halved(pair.discriminator), DATA / 'pretrained' / f'{START}_discriminator.safetensors')
    print(
        f"the discriminator of step {info['step']}, {sum(p.numel() for p in pair.discriminator.parameters()):,} weights"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=['discriminator', 'train', 'write', 'starts'])
    parser.add_argument('names', nargs='*', help=f'of {", ".join(NAMES)}; all if not given')
    parser.add_argument('--runs', help='the folder of the runs')
    parser.add_argument('--start', help='the folder of the run of the human generator')
    parser.add_argument('--steps', type=int, default=STEPS)
    parser.add_argument('--seeds', type=int, default=1)
    parser.add_argument('--n', type=int, default=1500, help='generated images for a measurement')
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == 'discriminator':
        return discriminator(args.start)
    runs = Path(args.runs)
    if args.what == 'train':
        for name in args.names or NAMES:
            train(recipe(NAMES[name], args.steps, args.start or START), runs / name)
    elif args.what == 'starts':
        starts(runs, args.start or START, args.steps, args.seeds, args.n)
    else:
        write(runs, args.n)


if __name__ == '__main__':
    main()
