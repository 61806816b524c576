"""The method on photographs: a generator of people's faces, fine-tuned to anime faces, and held-out people through it.

    python benchmarks/real_transfer.py train [NAME …] --runs DIR      human, then fin1 to fin4; the same line goes on
    python benchmarks/real_transfer.py write --runs DIR               data/results/real_transfer.json and its grids

Needs ANIMEGAN_DATA with human_faces_89x109 and anime_faces_256, and ANIMEGAN_WEIGHTS for SqueezeNet. "human" begins as
the generator of drawn heads that ships, with its discriminator, since 1,400 photographs are few; "fin1" to "fin4" begin
as "human". The last 100 photographs train nothing. Only generated images are stored: neither photographs nor networks
that were trained on them may be passed on.
"""

import argparse
import json
from pathlib import Path

import torch
from crossdomain import Judges, own_rank
from networks import data_folder
from transfer import distances, images, NAMES, recipe, START

from animegan_nb.callbacks import read_log
from animegan_nb.core import grid, rng, to_float, to_uint8, write_atomically
from animegan_nb.crossdomain import animefy
from animegan_nb.data import ImageFolder
from animegan_nb.metrics import extract, interval
from animegan_nb.perceptual import PerceptualLoss
from animegan_nb.training import load_run, train as train_recipe
from animegan_nb.transfer import changes, graft

OUT = Path(__file__).resolve().parents[1] / 'data' / 'results' / 'real_transfer.json'
HELD_OUT, STEPS = 100, {'human': 9_000, 'fin': 1_000}
FINS = [name for name in NAMES if name != 'all']
EXTRACTORS = 'squeezenet', 'pixels'
COLUMNS, PEOPLE = 10, 24
WAYS, SEARCH_STEPS = ('freezeg', 'thesis', 'likely', 'layerwise'), 200


def photographs(held_out: bool = False):
    "Photographs of people at 64 px; the last hundred are held out."
    faces = ImageFolder(data_folder('human_faces_89x109'), 64, progress=False)
    rows = torch.arange(len(faces))
    return faces.subset(rows[-HELD_OUT:] if held_out else rows[:-HELD_OUT])


def anime_faces():
    return ImageFolder(data_folder('anime_faces_256'), 64, progress=False)


def everything(dataset) -> torch.Tensor:
    return to_float(dataset.batch(torch.arange(len(dataset)))['image'])


def train(name: str, runs: Path):
    human = name == 'human'
    start, steps = (START, STEPS['human']) if human else (str(runs / 'human'), STEPS['fin'])
    plan = recipe(None if human else NAMES[name], steps, start, augment='diffaugment', mirror=True)
    train_recipe(plan, photographs() if human else anime_faces(), runs / name, device='cpu')


def network(name: str, runs: Path) -> torch.nn.Module:
    "A run's averaged generator, or a graft such as fin4use1."
    version, _, use = name.partition('use')
    tuned = load_run(runs / version)[1].eval().requires_grad_(False)
    return graft(network('human', runs), tuned, int(use)) if use else tuned


def drawn(net, n: int, seed: int = 1) -> torch.Tensor:
    "Images of the same latents for every network."
    return images(net, torch.randn(n, net.z_dim, generator=rng(seed)))


def described(made: torch.Tensor) -> dict:
    return {extractor: extract(made, extractor) for extractor in EXTRACTORS}


def rows_of(runs: Path, real: dict[str, dict], n: int) -> dict:
    "The table of networks: what each draws, and how far its parts have moved."
    human, table = network('human', runs), {}
    before = drawn(human, n)
    for name in ['human', *FINS]:
        net, log = network(name, runs), read_log(runs / name / 'log.jsonl')
        made = drawn(net, n)
        said = described(made)
        row = {kind: distances(said, seen.get, min(len(made), len(seen['pixels']) // 2)) for kind, seen in real.items()}
        row['moved'] = {part: round(far, 4) for part, far in changes(human, net).items()}
        row['difference'] = round(float((made - before).square().mean()), 4)
        row |= dict(steps=log[-1]['step'], images=log[-1]['images'])
        row['core_minutes'] = round(log[-1]['processor_seconds'] / 60, 1)
        table[name] = row
        print(name, row, flush=True)
    return table


def baselines(people: torch.Tensor, anime: torch.Tensor) -> dict[str, torch.Tensor]:
    "Answers that need no method: the photograph, that of somebody else, and anime faces of the training."
    nearest = torch.cdist(people.flatten(1), anime.flatten(1)).argmin(1)
    return {
        'the photograph': people,
        "another person's": people.roll(1, 0),
        'the mean anime face': anime.mean(0).expand_as(people),
        'the nearest anime face': anime[nearest],
    }


def numbers_of(anime: torch.Tensor, people: torch.Tensor, judges: Judges) -> dict[str, torch.Tensor]:
    "What a result is to the photographs: the squared error, and whether the judge finds the person again."
    row = {'anime to human': (anime - people).square().mean((1, 2, 3))}
    if (seen := judges.identity(people)) is not None:
        row['judge of anime'] = own_rank(judges.identity(anime), seen)
    return row


def told(row: dict[str, torch.Tensor]) -> dict[str, list[float]]:
    return {k: [round(float(x), 4) for x in interval(v.numpy())] for k, v in row.items()}


def of_people(runs: Path, people: torch.Tensor) -> tuple[dict, dict[str, torch.Tensor]]:
    "Held-out people through the method: numbers for each way, and what was drawn."
    judges, look = Judges(), PerceptualLoss('squeezenet')
    g, fin = network('human', runs), network('fin4', runs)
    seen, rows, shown = judges.identity(people), {}, {}
    for name in WAYS:
        done = animefy(people, g, fin, name, perceptual=look, steps=SEARCH_STEPS)
        back, anime = (x.detach().clamp(-1, 1) for x in (done.found['g'].image, done.image))
        row = {'error of g': (back - people).square().mean((1, 2, 3)), 'energy': done.energy.detach()}
        if seen is not None:
            row['judge of g'] = own_rank(judges.identity(back), seen)
        rows[name], shown[name] = told(row | numbers_of(anime, people, judges)), torch.stack([back, anime])
        print(name, rows[name], flush=True)
    return rows, shown


def write(runs: Path, n: int):
    real = dict(human=everything(photographs()), anime=everything(anime_faces()))
    people = everything(photographs(True))[:PEOPLE]
    found, ways = of_people(runs, people)
    judges = Judges()
    trivial = {k: told(numbers_of(x, people, judges)) for k, x in baselines(people, real['anime']).items()}
    facts = dict(
        command='python benchmarks/real_transfer.py train --runs RUNS, then write --runs RUNS',
        start=START,
        photographs=len(real['human']),
        anime_faces=len(real['anime']),
        images=n,
        table=rows_of(runs, {kind: described(faces) for kind, faces in real.items()}, n),
        people=dict(held_out=len(people), steps=SEARCH_STEPS, rows=found, baselines=trivial),
        torch=torch.__version__,
    )
    versions = [drawn(network(name, runs), COLUMNS) for name in ['human', *FINS]]
    grid(to_uint8(torch.cat(versions)), COLUMNS).save(OUT.with_suffix('.jpg'), quality=92)
    shown = [ways['freezeg'][0], *(ways[name][1] for name in WAYS)]
    grid(to_uint8(torch.cat([x[:COLUMNS] for x in shown])), COLUMNS).save(
        OUT.with_name('real_transfer_people.jpg'), quality=92
    )
    uses = [drawn(network(f'fin4use{k}', runs), COLUMNS) for k in range(1, 5)]
    grid(to_uint8(torch.cat([versions[0], *uses])), COLUMNS).save(OUT.with_name('real_transfer_grafts.jpg'), quality=92)
    write_atomically(OUT, json.dumps(facts, indent=1) + '\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=['train', 'write'])
    parser.add_argument('names', nargs='*', help=f'of human, {", ".join(FINS)}; all if not given')
    parser.add_argument('--runs', type=Path, required=True, help='the folder of the runs')
    parser.add_argument('--n', type=int, default=600, help='generated images for a measurement')
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == 'write':
        return write(args.runs, args.n)
    for name in args.names or ['human', *FINS]:
        train(name, args.runs)


if __name__ == '__main__':
    main()
