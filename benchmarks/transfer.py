"""Fine-tune the generator of heads in the human style into one of anime heads, and measure what each version keeps.

    python benchmarks/transfer.py train [NAME …] --runs DIR         each in DIR/NAME; the same line goes on
    python benchmarks/transfer.py measure NAME … --runs DIR         the rows of the table; `write` measures the rest
    python benchmarks/transfer.py write --runs DIR                  the network, the table and the grid of the chapter
    python benchmarks/transfer.py starts --runs DIR --start RUN     three beginnings of the discriminator, from any run
    python benchmarks/transfer.py another --start RUN               an anime generator that never was the human one

All versions make the same number of steps; `write` says how much processor time each took. `fin4` ships, in half
precision.
"""

import argparse
import json
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path

import networks
import torch
from safetensors.torch import save_file

from animegan_nb import toon
from animegan_nb.callbacks import read_log
from animegan_nb.core import fast_bfloat16, grid, read_weights, rng, to_float, to_uint8
from animegan_nb.metrics import evaluate, extract
from animegan_nb.stylegan import StyleGANConfig, StyleGANGenerator
from animegan_nb.toon_net import toon_network
from animegan_nb.training import Callback, load_run, Recipe, recipes, train as train_recipe
from animegan_nb.transfer import agreement, changes, graft, load_start, transfer_recipe

DATA = Path(__file__).resolve().parents[1] / 'data'
START, SHIPS = 'stylegan_toon_human_64', 'stylegan_toon_fin4'
STEPS = 1_600
NAMES = {'fin1': 1, 'fin2': 2, 'fin3': 3, 'fin4': 4, 'all': None}  # blocks that learn
GRAFTS = 'fin4use1', 'fin4use2', 'fin4use3'
# how the discriminator begins, and how many of its layers rest
STARTS = {'fresh': ('fresh', 0), 'human': ('trained', 0), 'human, FreezeD': ('trained', 2)}
EXTRACTORS = 'toon', 'squeezenet', 'pixels'
COLUMNS = 10


def recipe(
    tune: int | None, steps: int, start: str = START, begins=('trained', 0), seed: int = 0, augment='', **numbers
) -> Recipe:
    "The preset freezeg-cpu with other numbers, in bfloat16 where that is fast."
    preset = recipes['freezeg-cpu']
    network = replace(preset.network, start=start, discriminator_start=begins[0])
    precision = 'bf16' if fast_bfloat16() else 'no'
    training = replace(preset.training, mixed_precision=precision, seed=seed, **numbers)
    return transfer_recipe(network, training, steps, preset.source, tune, begins[1], augment)


class KeepAverages(Callback):
    "The averaged generator after some steps, in files."

    order = 1

    def __init__(self, run: Path, steps: set[int]):
        self.folder, self.steps = run / 'averages', steps

    def on_step(self, trainer, record):
        if trainer.step in self.steps:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file(networks.halved(trainer.average), self.folder / f'{trainer.step}.safetensors')


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


def described(made: torch.Tensor, n: int = 1500) -> dict:
    return {extractor: extract(made[:n], extractor) for extractor in EXTRACTORS}


def distances(made: dict, real, n: int | None = None) -> dict:
    "From what every extractor says: the distance to `real(extractor)`, its floor, precision and recall."
    found = {}
    for extractor, fake in made.items():
        size = n or len(fake)
        row = evaluate(fake, real(extractor), extractor, n=size, seed=0)
        numbers = {name: round(row[name].value, 4) for name in ('frechet', 'precision', 'recall', 'diversity')}
        found[extractor] = numbers | dict(floor=round(row['frechet'].floor, 4), n=size)
    return found


def to_heads(made: dict, style: str) -> dict:
    return distances(made, partial(features, style))


def controls(n: int) -> dict:
    "What the reader says of true pairs, of two different people, and of a head and itself mirrored."
    human, anime = drawn('human', 3000, 0)[:n], drawn('anime', 3000, 0)[:n]
    reader = toon_network()
    return {
        'the same person drawn in both styles': agreement(reader, human, anime),
        'another person': agreement(reader, human, anime.roll(1, 0)),
    }


def network_of(name: str, runs: Path) -> StyleGANGenerator:
    "g, a fine-tuned version, or a graft such as fin4use1."
    if name == 'g':
        return load_start(START)[0].requires_grad_(False)
    version, _, use = name.partition('use')
    tuned = load_run(runs / version)[1]
    return graft(network_of('g', runs), tuned, int(use)) if use else tuned


def same_latents(name: str, runs: Path, n: int) -> torch.Tensor:
    network = network_of(name, runs)
    return images(network, torch.randn(n, network.z_dim, generator=rng(1)))


def measure(name: str, runs: Path, n: int) -> dict:
    "The row of a network in the table, from a file if it was measured before."
    file = runs / 'measures' / f'{name}.json'
    if file.exists():
        return json.loads(file.read_text(encoding='utf-8'))
    made = same_latents(name, runs, n)
    said = described(made)
    row = dict(anime=to_heads(said, 'anime'), human=to_heads(said, 'human'))
    kept = agreement(toon_network(), same_latents('g', runs, n), made)
    moved = changes(network_of('g', runs), network_of(name, runs))
    for what, numbers in (('kept', kept), ('changes', moved)):
        row[what] = {k: round(v, 4) for k, v in numbers.items()}
    if name in NAMES:
        log = read_log(runs / name / 'log.jsonl')
        row |= dict(steps=log[-1]['step'], core_minutes=round(log[-1]['processor_seconds'] / 60, 2))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(row, indent=1) + '\n', encoding='utf-8')
    print(name, {k: (v['frechet'], v['floor']) for k, v in row['anime'].items()}, row['kept'], flush=True)
    return row


def write(runs: Path, n: int):
    names = ['g', *(name for name in NAMES if (runs / name).exists()), *GRAFTS]
    shown = [name for name in names if name not in GRAFTS]
    table = {name: measure(name, runs, n) for name in names}
    out = DATA / 'results' / 'transfer.json'
    facts = json.loads(out.read_text(encoding='utf-8')) if out.exists() else {}
    facts |= dict(
        command='python benchmarks/transfer.py train --runs RUNS; python benchmarks/transfer.py write --runs RUNS',
        start=START,
        images=n,
        seed=0,
        shown=shown,
        table=table,
        controls={k: {m: round(v, 4) for m, v in row.items()} for k, row in controls(n).items()},
        torch=torch.__version__,
    )
    out.write_text(json.dumps(facts, indent=1) + '\n', encoding='utf-8')
    rows = torch.cat([same_latents(name, runs, COLUMNS) for name in shown])
    grid(to_uint8(rows), COLUMNS).save(out.with_suffix('.jpg'), quality=92)
    triangle(runs).save(out.with_name('transfer_grid.jpg'), quality=92)
    ship(runs / 'fin4', network_of('fin4', runs), table['fin4'])


def triangle(runs: Path, latents: int = 2):
    "Row k: the version with k blocks; column j: the graft that uses j of them; for some latents side by side."
    white, rows = torch.ones(3, 64, 64), []
    for k in range(1, 5):
        made = [same_latents(f'fin{k}use{j}', runs, latents) for j in range(k + 1)]
        rows += [made[j][i] if j <= k else white for i in range(latents) for j in range(5)]
    return grid(to_uint8(torch.stack(rows)), 5 * latents)


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
    networks.ship(SHIPS, generator, facts)


def curve(run: Path, keep: list[int], generator: StyleGANGenerator, z: torch.Tensor) -> list[dict]:
    "The distance of a run to anime heads after some of its steps, from a file if it was measured before."
    file = run / 'curve.json'
    if not file.exists():
        log, rows = {row['step']: row for row in read_log(run / 'log.jsonl')}, []
        for step in keep:
            generator.load_state_dict(read_weights(run / 'averages' / f'{step}.safetensors'))
            made = to_heads(described(images(generator, z)), 'anime')
            seconds = round(log[step]['processor_seconds'], 1)
            rows.append(dict(step=step, processor_seconds=seconds, frechet={k: v['frechet'] for k, v in made.items()}))
            print(run.name, rows[-1], flush=True)
        file.write_text(json.dumps(rows), encoding='utf-8')
    return [row for row in json.loads(file.read_text(encoding='utf-8')) if row['step'] in keep]


def starts(runs: Path, start: str, steps: int, seeds: int, n: int):
    "Fine-tune the last 4 blocks before three discriminators, and follow the distance to anime heads."
    keep = sorted({max(1, round(steps * share)) for share in (0.25, 0.5, 1)})
    rows, human = [], load_start(start)[0].requires_grad_(False)
    z = torch.randn(n, human.z_dim, generator=rng(1))
    before = to_heads(described(images(human, z)), 'anime')
    for seed in range(seeds):
        for name, begins in STARTS.items():
            run = runs / f'starts-{name.replace(", ", "-")}-{seed}'
            if not (run / 'averages' / f'{steps}.safetensors').exists():
                train(recipe(4, steps, start, begins, seed), run, set(keep))
            rows += [dict(discriminator=name, seed=seed) | row for row in curve(run, keep, human, z)]
    out = DATA / 'results' / 'transfer.json'
    facts = json.loads(out.read_text(encoding='utf-8')) if out.exists() else {}
    facts['starts'] = dict(
        command=f'python benchmarks/transfer.py starts --runs RUNS --steps {steps} --seeds {seeds} --n {n}',
        images=n,
        before={k: v['frechet'] for k, v in before.items()},
        floor={k: v['floor'] for k, v in before.items()},
        rows=rows,
    )
    out.write_text(json.dumps(facts, indent=1) + '\n', encoding='utf-8')


def another(start: str, n: int):
    "What the reader says of the human generator and one that did not begin as it, at the same latents."
    other = load_start(start)[0].requires_grad_(False)
    made = images(other, torch.randn(n, other.z_dim, generator=rng(1)))
    kept = agreement(toon_network(), same_latents('g', Path(), n), made)
    out = DATA / 'results' / 'transfer.json'
    facts = json.loads(out.read_text(encoding='utf-8')) if out.exists() else {}
    facts['another start'] = dict(
        command='python benchmarks/transfer.py another --start RUN',
        run='python benchmarks/networks.py train stylegan_toon_64_scratch --run RUN',
        images=n,
        kept={k: round(v, 4) for k, v in kept.items()},
    )
    out.write_text(json.dumps(facts, indent=1) + '\n', encoding='utf-8')
    print(facts['another start'])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=['train', 'measure', 'write', 'starts', 'another'])
    parser.add_argument('names', nargs='*', help=f'of {", ".join(NAMES)}; all if not given')
    parser.add_argument('--runs', help='the folder of the runs')
    parser.add_argument('--start', help='the folder of a run to begin with; else the generator that ships')
    parser.add_argument('--steps', type=int, default=STEPS)
    parser.add_argument('--seeds', type=int, default=1)
    parser.add_argument('--n', type=int, default=1500, help='generated images for a measurement')
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == 'another':
        return another(args.start, args.n)
    runs = Path(args.runs)
    if args.what == 'train':
        for name in args.names or NAMES:
            train(recipe(NAMES[name], args.steps, args.start or START), runs / name)
    elif args.what == 'measure':
        for name in args.names:
            measure(name, runs, args.n)
    elif args.what == 'starts':
        starts(runs, args.start or START, args.steps, args.seeds, args.n)
    else:
        write(runs, args.n)


if __name__ == '__main__':
    main()
