"""What training at 64 px gives a pi-GAN: python benchmarks/pigan_sizes.py --run RUN --control CONTROL

Three networks draw heads of 64 px from the same codes and cameras: `pigan_toon_32`, which ships, and what two trainings
of equal processor time made of it, `pigan_toon_64` (RUN) and `pigan_toon_64_control`, which stayed at 32 px (CONTROL);
benchmarks/train_pigan_toon.py trains them. They are measured beside the 3,000 heads of the library and beside toon's
geometry. Numbers go to data/results/pigan_sizes.json and into the card of pigan_toon_64, images to pigan_sizes.jpg.

    python benchmarks/pigan_sizes.py --run RUN --control CONTROL --only pigan_toon_32    # one of them, into --parts

With --only, what was measured is kept in the folder of --parts; a last call without it puts all together.
"""

import argparse
import json
from pathlib import Path

import torch
from networks import STORED, all_images, compared
from torch import Tensor
from tqdm.auto import tqdm
from train_pigan_toon import score, spent

from animegan_nb import toon
from animegan_nb.cameras import PRIORS, pose
from animegan_nb.core import grid, rng, to_float, to_uint8, write_atomically
from animegan_nb.pigan import pretrained_pigan
from animegan_nb.training import load_run

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / 'data' / 'results' / 'pigan_sizes.json'
SIZE, POINTS, HEADS = 64, 12, 10
EXTRACTORS = ('toon', 'squeezenet', 'pixels')


@torch.no_grad()
def draw(generator, n: int, seed: int) -> Tensor:
    "n heads at 64 px from cameras of the prior that the networks were trained with, rounded to bytes."
    source = rng(seed)
    z, cams = torch.randn(n, generator.z_dim, generator=source), pose(*PRIORS['celeba'].sample(n, source))
    parts = zip(tqdm(z.split(50), 'heads'), cams.split(50))
    look = dict(size=SIZE, samples=POINTS, fine=POINTS)
    images = [generator.render_views(codes, cameras, **look)['image'] for codes, cameras in parts]
    return to_float(to_uint8(torch.cat(images).clamp(-1, 1)))


def measured(generator, n: int, sets: int) -> dict:
    "What a network draws, beside the library's heads and toon's geometry."
    known = all_images(toon.ready_heads('white'))
    fresh = all_images(toon.ToonHeads(1000, SIZE, seed=1, background='white'))
    images = [draw(generator, n, seed) for seed in range(sets)]
    return dict(measures=compared(images, known, fresh, EXTRACTORS), space=score(generator, SIZE))


def trained(run: Path) -> dict:
    "What a run has cost, with the one that it began with."
    info, _, cost = spent(run)
    minutes = round(cost.pop('seconds') / 60, 1)
    return dict(size=info['network']['size'], core_minutes=minutes, **cost)


def part_of(name: str, run: Path | None, args) -> dict:
    "The numbers of one network: those of an earlier call, if the same was measured in the same way."
    generator, facts = load_run(run)[1:] if run else pretrained_pigan(name)
    step = facts['step' if run else 'steps']
    file = args.parts / f'{name}_{step}_{args.sets}x{args.n}.json'
    if not file.exists():
        found = measured(generator, args.n, args.sets)
        if run:
            found |= trained(run)
        args.parts.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(found))
    return json.loads(file.read_text(encoding='utf-8'))


@torch.no_grad()
def sheet(networks: dict) -> Tensor:
    "The same codes as each network draws them from the front at 64 px, a row for each, and the depth of the last."
    codes, look = torch.randn(HEADS, 64, generator=rng(7)), dict(size=SIZE, samples=24, fine=24)
    views = [generator.render_views(codes, pose(torch.zeros(HEADS)), **look) for generator in networks.values()]
    near = (1 - (views[-1]['depth'] - 0.92) / 0.16).clamp(0, 1) * views[-1]['opacity']
    return torch.cat([*(view['image'] for view in views), near.expand(-1, 3, -1, -1) * 2 - 1]).clamp(-1, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--run', required=True, type=Path, help='of pigan_toon_64')
    parser.add_argument('--control', required=True, type=Path, help='of pigan_toon_64_control')
    parser.add_argument('--parts', type=Path, default=Path('runs/pigan_sizes'), help='folder for what is measured')
    parser.add_argument('--only', help='measure one of the three networks, and stop')
    parser.add_argument('--n', type=int, default=1000, help='generated images in each set')
    parser.add_argument('--sets', type=int, default=3, help='sets of codes')
    args = parser.parse_args()
    torch.set_num_threads(1)
    runs = {'pigan_toon_32': None, 'pigan_toon_64_control': args.control, 'pigan_toon_64': args.run}
    if args.only and args.only not in runs:
        parser.error(f"there is no {args.only}: choose one of {', '.join(runs)}")
    found = {name: part_of(name, run, args) for name, run in runs.items() if args.only in (None, name)}
    for name, numbers in found.items():
        for extractor, m in numbers['measures'].items():
            print(f'{name:24}{extractor:12}', {k: round(sum(m[k]) / len(m[k]), 3) for k in STORED}, m.get('copied'))
    if args.only:
        return
    facts = dict(
        command='python benchmarks/pigan_sizes.py --run RUN --control CONTROL',
        protocol=(
            f'{args.sets} sets of {args.n:,} heads at {SIZE} px beside {args.n:,} of the 3,000 that ship,'
            f' {POINTS}+{POINTS} points on a ray, cameras of the prior; precision, recall and coverage on features'
            ' of SqueezeNet'
        ),
        networks=found,
    )
    OUT.write_text(json.dumps(facts, indent=1) + '\n', encoding='utf-8')
    card = ROOT / 'data' / 'pretrained' / 'pigan_toon_64.json'
    shipped = json.loads(card.read_text(encoding='utf-8')) | dict(distances=found['pigan_toon_64']['measures'])
    card.write_text(json.dumps(shipped, indent=1) + '\n', encoding='utf-8')
    networks = {name: load_run(run)[1] if run else pretrained_pigan(name)[0] for name, run in runs.items()}
    grid(to_uint8(sheet(networks)), HEADS).save(OUT.with_suffix('.jpg'), quality=88)


if __name__ == '__main__':
    main()
