"""Train the pi-GAN that ships in data/pretrained: python benchmarks/train_pigan_toon.py --run FOLDER [--minutes 60]

The recipe `pigan-toon-32` on the 3,000 heads that ship with the library, over white: 16 px, then 32 px. Checkpoints, a
log and images go to FOLDER; the same command goes on where it was stopped. Minutes are processor time, over all
starts together. At the last step (or with --finish at any) the averaged generator is written to
data/pretrained/pigan_toon_32.safetensors, with its facts and its measures against toon's ground truth in the .json
beside it; the image goes to data/results/pigan_toon_32.jpg.
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
from animegan_nb.core import grid, rng, seed_everything
from animegan_nb.pigan_anime import shape_numbers
from animegan_nb.training import load_run
from animegan_nb.callbacks import Checkpoints, Clock, Health, JSONLog, Samples, read_log

ROOT = Path(__file__).resolve().parents[1]


FLOATERS = dict(view=pigan_training.TOON_VIEW, front_weight=0.0)  # the first recipe: far too much room before the head


def train(run, minutes, steps, seed, floaters=False):
    recipe = pigan_training.PIGAN_TOON_32
    if floaters:
        recipe = replace(recipe, network=replace(recipe.network, **FLOATERS))
    recipe = replace(recipe, training=replace(recipe.training, seed=seed))
    seed_everything(seed)
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


def views(generator, codes):
    "What can be seen of worlds from the left, the front and the right, at 32 px with 24+24 points."
    look = lambda yaw: generator.render_views(codes, pose(torch.full((len(codes),), yaw)), size=32, samples=24, fine=24)
    return look(-YAW), look(0.0), look(YAW)


def true_views(identities):
    "The same of toon heads: images as in the data, exact geometry."
    out = []
    for yaw in (-YAW, 0.0, YAW):
        cam = pose(torch.full((len(identities),), yaw))
        v = toon.render(identities, cam, 12.0, 32, background='white')
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


def score(generator):
    "The shipped network and its two anchors, each on three sets of 32 heads."
    shape = pigan_training.toon_shape(64, 32, seed=123)
    ours = spread(
        [
            measure(*views(generator, torch.randn(HEADS, generator.z_dim, generator=rng(1000 + s))), shape)
            for s in range(SETS)
        ]
    )
    truth = spread([measure(*true_views(toon.sample_identity(HEADS, rng(2000 + s))), shape) for s in range(SETS)])
    truth['billboard_anchor'] = truth.pop('own_pictures_on_a_board')
    return dict(
        network=ours,
        toon=truth,
        protocol=(
            f'{SETS} sets of {HEADS} heads, 32 px, yaw ±{YAW} rad; the network with 24+24 deterministic points, psi 1;'
            ' value: mean of the sets, half_range: half the distance of the extremes; billboard_anchor: toon images'
            ' with the depth of a board'
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


def finish(run, seed, note='', floaters=False):
    "Write the averaged generator of the newest checkpoint, its facts, its measures and its image."
    _, generator, info = load_run(run)
    name = 'pigan_toon_32' + '_floaters' * floaters
    log = read_log(run / 'log.jsonl')
    log = [line for line in log if line['step'] <= info['step']]
    state = {k: v.contiguous() for k, v in generator.state_dict().items()}
    weights, results = ROOT / 'data' / 'pretrained', ROOT / 'data' / 'results'
    save_file(state, weights / f'{name}.safetensors')
    minutes = round(log[-1]['processor_seconds'] / 60) + 1
    command = (
        f'python benchmarks/train_pigan_toon.py --run RUN --minutes {minutes} --seed'
        f" {seed}{' --floaters' * floaters}, then --finish"
    )
    facts = dict(
        what=(
            'pi-GAN on toon heads at 32 px, averaged generator; data: toon.ready_heads over white, with their cameras'
            ' and coverage'
        ),
        command=command,
        seed=seed,
        network=info['network'],
        training=info['config'],
        steps=info['step'],
        images=info['images'],
        seconds=round(log[-1]['processor_seconds']),
        machine='one thread of a shared two-core CPU, processor time',
        measures=score(generator),
    )
    every = max(1, len(log) // 60)
    keys = ('step', 'processor_seconds', 'generator_loss', 'discriminator_loss', 'relief', 'correlation', 'missing')
    if note:
        facts['note'] = note
    facts['log'] = [
        {k: round(line[k], 4) for k in keys if k in line}
        for line in log
        if line['step'] % every == 0 or 'relief' in line
    ]
    (weights / f'{name}.json').write_text(json.dumps(facts, indent=1) + '\n')
    if not floaters:
        image(generator).save(results / 'pigan_toon_32.jpg', quality=82)
    print(json.dumps(facts['measures'], indent=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--run', required=True, type=Path)
    parser.add_argument('--minutes', type=float, default=60)
    parser.add_argument('--steps', type=int, default=0, help='stop the curriculum at this step (0: its own length)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--finish', action='store_true', help='do not train: write and measure what the newest checkpoint holds'
    )
    parser.add_argument(
        '--floaters',
        action='store_true',
        help='the first recipe, whose heads carry floaters; kept as pigan_toon_32_floaters',
    )
    parser.add_argument('--note', default='', help='a sentence for the .json: what was different from the command')
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.finish:
        return finish(args.run, args.seed, args.note, args.floaters)
    trainer = train(args.run, args.minutes, args.steps, args.seed, args.floaters)
    log = read_log(args.run / 'log.jsonl')[-1]
    print(
        f"step {log['step']}, {log['images']:,} images, {log['processor_seconds'] / 60:.1f} minutes of processor time",
        flush=True,
    )
    if trainer.step >= (args.steps or pigan_training.PIGAN_TOON_32.steps):
        finish(args.run, args.seed, args.note, args.floaters)


if __name__ == '__main__':
    main()
