"""Train the pi-GANs that ship in data/pretrained: python benchmarks/train_pigan_toon.py --run FOLDER [--minutes 60]

On the 3,000 heads that ship with the library, over white, with the recipe of --name:

    pigan_toon_32             16 px, then 32 px
    pigan_toon_32_floaters    the first recipe, whose heads carry floaters
    pigan_toon_64             64 px, begun with the generator of pigan_toon_32
    pigan_toon_64_control     the same, but always at 32 px: a comparison for benchmarks/pigan_sizes.py, does not ship

Checkpoints, a log and images go to FOLDER; the same command goes on where it was stopped. Minutes are processor time,
over all starts together. --start CHECKPOINT leaves out all stages but the last and begins with a checkpoint at the end
of them. pigan_toon_64 and its control were made so:

    … --run A --name pigan_toon_64_control --minutes 50
    … --run B --name pigan_toon_64 --start A/step-00004000 --steps 1750, then --finish

At the last step (or with --finish at any) the averaged generator is written to data/pretrained/NAME.safetensors, with
its facts and its measures against toon's ground truth in the .json beside it; the image of pigan_toon_32 goes to
data/results/pigan_toon_32.jpg.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from animegan_nb import pigan_training
from animegan_nb import toon
from animegan_nb.cameras import pose
from animegan_nb.core import grid, rng, seed_everything, shipped_networks
from animegan_nb.pigan_anime import shape_numbers
from animegan_nb.training import load_run
from animegan_nb.callbacks import Checkpoints, Clock, Health, JSONLog, Samples, read_log

ROOT = Path(__file__).resolve().parents[1]


SMALL, LARGE = pigan_training.PIGAN_TOON_32, pigan_training.PIGAN_TOON_64
# the first recipe: far too much room before the head
FLOATERS = dict(view=pigan_training.TOON_VIEW, front_weight=0.0)
# what pigan_toon_64 does, but at 32 px to the end: in the same time it sees more images
_STAYS = (*LARGE.stages[:2], replace(LARGE.stages[2], steps=29_000))
RECIPES = {
    'pigan_toon_32': SMALL,
    'pigan_toon_32_floaters': replace(SMALL, network=replace(SMALL.network, **FLOATERS)),
    'pigan_toon_64': LARGE,
    'pigan_toon_64_control': replace(LARGE, network=replace(LARGE.network, size=32), steps=30_000, stages=_STAYS),
}


def recipe_of(name, seed, start=None):
    "The recipe of a name; with a checkpoint to start from, what comes after it: one step, and the last stage."
    recipe = RECIPES[name]
    recipe = replace(recipe, training=replace(recipe.training, seed=seed))
    if start:
        *_, before, last = recipe.stages  # a size fades in after another one, so one step of it
        network, stages = replace(recipe.network, start=str(start)), (replace(before, steps=1), last)
        recipe = replace(recipe, network=network, stages=stages, steps=1 + last.steps)
    return recipe


def train(recipe, run, minutes, steps):
    seed_everything(recipe.training.seed)
    callbacks = [
        Clock(minutes, processor=True),
        Samples(250, 24, folder=run / 'samples'),
        Health(),
        pigan_training.ShapeWatch(pigan_training.toon_shape(64, 32), 250),
        Checkpoints(run, 250, keep=1000),
        JSONLog(run / 'log.jsonl'),
    ]
    trainer = recipe.trainer(toon.ready_heads('white'), callbacks, 'cpu').resume(run)
    return trainer.fit(until=steps or recipe.steps, progress=False)


def views(generator, codes, size):
    "What can be seen of worlds from the left, the front and the right, with 24+24 points."
    options = dict(size=size, samples=24, fine=24)
    look = lambda yaw: generator.render_views(codes, pose(torch.full((len(codes),), yaw)), **options)
    return look(-YAW), look(0.0), look(YAW)


def true_views(identities, size):
    "The same of toon heads: images as in the data, exact geometry."
    out = []
    for yaw in (-YAW, 0.0, YAW):
        cam = pose(torch.full((len(identities),), yaw))
        v = toon.render(identities, cam, 12.0, size, background='white')
        out.append(
            dict(
                image=v['image'],
                opacity=v['depth'].isfinite().float(),
                cam2world=cam,
                **{k: v[k].nan_to_num(posinf=1.12) for k in ('depth', 'distance')},
            )
        )
    return out


YAW, SETS, HEADS = 0.25, 3, 32


def measure(left, front, right, shape):
    "The numbers of one set of heads."
    found = shape_numbers(left, front, right, shape, 12.0)
    return dict(own_pictures_on_a_board=found.pop('board'), **found)


def spread(rows):
    "Mean over the sets and half the distance between the extremes."
    return {
        k: dict(
            value=sum(r[k] for r in rows) / len(rows),
            half_range=(max(r[k] for r in rows) - min(r[k] for r in rows)) / 2,
        )
        for k in rows[0]
    }


def score(generator, size):
    "Space behind what a network draws, and behind toon's own heads, at so many pixels: three sets of 32 heads."
    shape = pigan_training.toon_shape(64, size, seed=123)
    codes = [torch.randn(HEADS, generator.z_dim, generator=rng(1000 + s)) for s in range(SETS)]
    people = [toon.sample_identity(HEADS, rng(2000 + s)) for s in range(SETS)]
    ours = spread([measure(*views(generator, z, size), shape) for z in codes])
    truth = spread([measure(*true_views(heads, size), shape) for heads in people])
    truth['billboard_anchor'] = truth.pop('own_pictures_on_a_board')
    return dict(
        network=ours,
        toon=truth,
        protocol=(
            f'{SETS} sets of {HEADS} heads, {size} px, yaw ±{YAW} rad; the network with 24+24 deterministic points,'
            ' psi 1; value: mean of the sets, half_range: half the distance of the extremes; billboard_anchor: toon'
            ' images with the depth of a board'
        ),
    )


def image(generator, heads=10, psi=0.8):
    "Heads from the left, the front and the right, and their depth."
    codes = torch.randn(heads, generator.z_dim, generator=rng(7))
    rows = [
        generator.render_views(codes, pose(torch.full((heads,), yaw)), size=64, psi=psi) for yaw in (-0.45, 0.0, 0.45)
    ]
    depth = ((1 - (rows[1]['depth'] - 0.92) / 0.16).clamp(0, 1) * rows[1]['opacity'] * 2 - 1).expand(-1, 3, -1, -1)
    return grid(torch.cat([*(r['image'] for r in rows), depth]).clamp(-1, 1), heads)


def spent(run):
    """The facts of a checkpoint (of a run: the newest), the log up to it, and what both have cost, with the checkpoint
    that the run began with."""
    _, _, info = load_run(run)
    file = run / 'log.jsonl'
    log = read_log(file if file.exists() else run.parent / file.name)
    log = [line for line in log if line['step'] <= info['step']]
    cost = dict(steps=info['step'], images=info['images'], seconds=round(log[-1]['processor_seconds']))
    start = info['network'].get('start') or ''
    if start and start not in shipped_networks():
        if not Path(start, 'state.json').exists():
            raise SystemExit(
                f'The checkpoint that {run.name} began with is not there any more: what it cost is unknown.'
            )
        before, earlier, first = spent(Path(start))
        info['network']['start'] = before['network']['start']
        moved = {'step': 'steps', 'processor_seconds': 'seconds'}
        log = [*earlier, *(line | {k: line[k] + first[v] for k, v in moved.items()} for line in log)]
        cost = {k: v + first[k] for k, v in cost.items()}
    return info, log, cost


WHAT = {'pigan_toon_64': ', begun as pigan_toon_32'}
WHAT['pigan_toon_32_floaters'] = (
    '; kept as an example of floaters: planes at 0.88 and 1.12, no penalty on matter in front'
)
LOGGED = ('step', 'processor_seconds', 'generator_loss', 'discriminator_loss', 'relief', 'correlation', 'missing')


def finish(run, name, seed, note=''):
    "Write the averaged generator of the newest checkpoint, its facts, its measures and its image."
    generator, (info, log, cost) = load_run(run)[1], spent(run)
    state = {k: v.contiguous() for k, v in generator.state_dict().items()}
    weights, results = ROOT / 'data' / 'pretrained', ROOT / 'data' / 'results'
    save_file(state, weights / f'{name}.safetensors')
    size = info['network']['size']
    options = '' if name == 'pigan_toon_32' else f' --name {name}'
    facts = dict(
        what=(
            f'pi-GAN on toon heads at {size} px, averaged generator; data: toon.ready_heads over white, with their'
            f" cameras and coverage{WHAT.get(name, '')}"
        ),
        command=(
            f'python benchmarks/train_pigan_toon.py --run RUN --minutes {round(cost["seconds"] / 60) + 1} --seed {seed}'
            f'{options}, then --finish'
        ),
        seed=seed,
        network=info['network'],
        training=info['config'],
        **cost,
        machine='one thread of a shared two-core CPU, processor time',
        measures=score(generator, size),
    )
    every = max(1, len(log) // 60)
    if note:
        facts['note'] = note
    facts['log'] = [
        {k: round(line[k], 4) for k in LOGGED if k in line}
        for line in log
        if line['step'] % every == 0 or 'relief' in line
    ]
    (weights / f'{name}.json').write_text(json.dumps(facts, indent=1) + '\n')
    if name == 'pigan_toon_32':
        image(generator).save(results / 'pigan_toon_32.jpg', quality=82)
    print(json.dumps(facts['measures'], indent=1))
    if name == 'pigan_toon_64':
        print('Its distances come next: python benchmarks/pigan_sizes.py')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--run', required=True, type=Path)
    parser.add_argument('--name', default='pigan_toon_32', choices=list(RECIPES))
    parser.add_argument('--minutes', type=float, default=60)
    parser.add_argument('--steps', type=int, default=0, help='stop the curriculum at this step (0: its own length)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--start', type=Path, help='a checkpoint of a run, at the end of all stages but the last')
    parser.add_argument(
        '--finish', action='store_true', help='do not train: write and measure what the newest checkpoint holds'
    )
    parser.add_argument('--note', default='', help='a sentence for the .json: what was different from the command')
    args = parser.parse_args()
    torch.set_num_threads(1)
    ships = not args.name.endswith('control')
    if args.finish:
        if not ships:
            parser.error(f'{args.name} does not ship: benchmarks/pigan_sizes.py measures it')
        return finish(args.run, args.name, args.seed, args.note)
    if args.start and not (args.start / 'state.json').exists():
        parser.error('--start is a checkpoint of a run, such as RUN/step-00004000')
    recipe = recipe_of(args.name, args.seed, args.start and args.start.resolve())
    trainer = train(recipe, args.run, args.minutes, args.steps)
    log = read_log(args.run / 'log.jsonl')[-1]
    print(
        f"step {log['step']}, {log['images']:,} images, {log['processor_seconds'] / 60:.1f} minutes of processor time",
        flush=True,
    )
    if ships and trainer.step >= (args.steps or recipe.steps):
        finish(args.run, args.name, args.seed, args.note)


if __name__ == '__main__':
    main()
