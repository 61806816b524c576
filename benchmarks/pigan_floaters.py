"""What removes floaters: python benchmarks/pigan_floaters.py --run FOLDER [--seeds 3] [--steps 220]

Goes on with the newest checkpoint of a toon run (`train_pigan_toon.py`) in three ways, from the same weights and for
the same steps: as it was trained; with near and far planes that lie close to the heads; with these planes and the
penalty on matter in front. Before and after: how many of 192 heads have a depth that hardly correlates with the mean
toon depth. Writes data/results/pigan_floaters.json. One CPU thread; about two minutes of processor time for each of the
nine trainings.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch

from animegan_nb import pigan_training, toon
from animegan_nb.cameras import pose
from animegan_nb.core import rng
from animegan_nb.geometry import depth_correlation, relief
from animegan_nb.metrics import interval
from animegan_nb.training import EMA, Trainer, TrainingConfig, checkpoints, load_run

ROOT = Path(__file__).resolve().parents[1]
NETWORK = pigan_training.PIGAN_TOON_32.network
PLANES = dict(near=NETWORK.view.near, far=NETWORK.view.far)
WAYS = {
    'as it was': ({}, {}),
    'closer planes': (PLANES, {}),
    'closer planes and penalty': (PLANES, dict(front_weight=NETWORK.front_weight, front_share=NETWORK.front_share)),
}


@torch.no_grad()
def measure(generator, seed, n=192):
    "Correlations of n heads from the front with the mean toon depth; the share below 0.5 are heads with floaters."
    z, shape = torch.randn(n, generator.z_dim, generator=rng(1000 + seed)), pigan_training.toon_shape(64, 32)
    seen = generator.render_views(z, pose(torch.zeros(n)), size=32, samples=24, fine=24)
    solid = seen['opacity'] > 0.9
    each = depth_correlation(seen['depth'], solid, shape.depth).flatten()
    return dict(
        share_below_half=float((each < 0.5).float().mean()),
        mean=float(each.mean()),
        median=float(each.median()),
        relief=relief(seen['depth'], solid).mean().item() / shape.relief,
    )


def go_on(run, way, seed, steps):
    "The averaged generator before and after so many steps more."
    view, rest = WAYS[way]
    pair, _, info = load_run(run)
    pair.config = replace(pair.config, view=replace(pair.config.view, **view), noise=0.0, **rest)
    pair.generator.view = pair.config.view
    trainer = Trainer(pair, toon.ready_heads('white'), TrainingConfig(**info['config']), [EMA(2_000)], 'cpu').load(
        checkpoints(run)[-1]
    )
    trainer.draws.generator.manual_seed(seed)
    before = measure(trainer.average, seed)
    trainer.fit(until=trainer.step + steps, progress=False)
    return before, measure(trainer.average, seed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--run', required=True, type=Path)
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--steps', type=int, default=220)
    a = parser.parse_args()
    torch.set_num_threads(1)
    if not checkpoints(a.run):
        parser.error(f'there is no checkpoint in {a.run.name}: train_pigan_toon.py makes them')
    facts = dict(
        command=f'python benchmarks/pigan_floaters.py --run RUN --seeds {a.seeds} --steps {a.steps}',
        started_from=int(checkpoints(a.run)[-1].name.split('-')[1]),
        planes=PLANES,
        penalty=WAYS['closer planes and penalty'][1],
        protocol='192 heads from the front, 32 px, 24+24 points; averaged generator',
        ways={},
    )
    for seed in range(a.seeds):
        for way in WAYS:
            start = time.process_time()
            before, after = go_on(a.run, way, seed, a.steps)
            facts['ways'].setdefault(way, []).append(
                dict(seed=seed, before=before, after=after, seconds=round(time.process_time() - start))
            )
            print(seed, way, {k: (round(before[k], 3), round(after[k], 3)) for k in after}, flush=True)
    for way, rows in facts['ways'].items():
        if a.seeds > 1:
            print(
                f"{way:<28} share below .5: {100 * interval([r['after']['share_below_half'] for r in rows])[0]:.1f} ±"
                f" {100 * interval([r['after']['share_below_half'] for r in rows])[1]:.1f} %"
            )
    (ROOT / 'data' / 'results' / 'pigan_floaters.json').write_text(json.dumps(facts, indent=1) + '\n')


if __name__ == '__main__':
    main()
