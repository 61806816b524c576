"""The poster's experiment and its four guesses, in small; then real anime faces. One CPU thread.

    python benchmarks/pigan_anime.py guesses --run runs/guesses --seeds 3
        # about an hour; the same line resumes; data/results/pigan_guesses.*
    python benchmarks/pigan_anime.py guesses --only "as the poster" --seeds 1
        # one condition
    python benchmarks/pigan_anime.py train --data anime_faces_256 --run runs/chance --minutes 12 --plain
    python benchmarks/pigan_anime.py train --data human_faces_89x109 --run runs/humans --minutes 7 --plain
    python benchmarks/pigan_anime.py train --data anime_faces_256 --run runs/after --start runs/humans
        --minutes 5 --plain
    python benchmarks/pigan_anime.py train --data anime_faces_256 --run runs/drawn
        --start pigan_toon_32_floaters --minutes 5 --plain
    python benchmarks/pigan_anime.py train --data anime_faces_256 --run runs/chance_told --minutes 12
    python benchmarks/pigan_anime.py train --data anime_faces_256 --run runs/longer --minutes 24
    python benchmarks/pigan_anime.py train --data anime_faces_256 --run runs/drawn_told --start pigan_toon_32
        --minutes 10
    python benchmarks/pigan_anime.py score --data anime_faces_256 --runs chance=runs/chance "human faces"=runs/after ...
        # data/results/pigan_faces.*

`guesses` trains on toon heads, where each cause can be switched alone: faces at 16 px, no cameras and no coverage
given, as in the poster. `--data` is a folder in ANIMEGAN_DATA, or a path; minutes are processor time, over all starts
together. `--start` begins with the networks of another run. Only images drawn by generators are written.
"""

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from stylegan_faces import folder

from animegan_nb import pigan_training
from animegan_nb import pigan
from animegan_nb.cameras import PRIORS, pose
from animegan_nb.core import grid, rng, seed_everything, to_uint8
from animegan_nb.data import ImageFolder
from animegan_nb.metrics import evaluate, extract, interval
from animegan_nb.pigan_anime import (
    CONDITIONS,
    FACE_FOV,
    GUESS_CONFIG,
    HELD_OUT,
    IMAGES_SEEN,
    SIZE,
    condition_images,
    condition_scores,
    set_distances,
    shape_numbers,
    train_condition,
)
from animegan_nb.pigan_inversion import toon_pose_reader
from animegan_nb.training import Stage, TrainingConfig, checkpoints, fit_stages, load_run
from animegan_nb.callbacks import Checkpoints, Clock, Health, JSONLog, Samples, read_log

ROOT = Path(__file__).resolve().parents[1]


def floors(cache):
    "The distances between the held-out heads of each kind and 600 others."
    heads = lambda kind, indices: condition_images(kind, indices, cache)
    return {
        kind: set_distances(heads(kind, HELD_OUT), heads(kind, range(726))[:600].float() / 127.5 - 1)
        for kind in ('plain', 'brightness', 'opaque', 'mixed')
    }


def guesses(a):
    out = ROOT / 'data' / 'results' / 'pigan_guesses.json'
    shape = pigan_training.toon_shape(64, 32, fov=FACE_FOV)
    command = f'python benchmarks/pigan_anime.py guesses --run RUN --seeds {a.seeds}'
    facts = dict(
        command=command,
        size=SIZE,
        fov=FACE_FOV,
        images=IMAGES_SEEN,
        learning_rate=4e-4,
        network=asdict(GUESS_CONFIG),
        floors=floors(a.run / 'heads'),
        runs={},
        conditions=CONDITIONS,
        machine='one thread of a shared two-core CPU; seconds are processor time',
        protocol=(
            '600 images against 600 held-out heads of the same kind; geometry of 32 heads at 32 px; consistency'
            ' between yaw ±0.25 rad'
        ),
    )
    log = a.run / 'runs.json'
    if log.exists():
        facts['runs'] = json.loads(log.read_text())
    for seed in range(a.seeds):
        for name, c in CONDITIONS.items():
            if a.only and name != a.only or any(r['seed'] == seed for r in facts['runs'].get(name, [])):
                continue
            start = time.process_time()
            generator = train_condition(c, seed, cache=a.run / 'heads').average
            seconds = time.process_time() - start
            row = condition_scores(
                generator, condition_images(c.get('kind', 'plain'), HELD_OUT, a.run / 'heads'), shape
            ) | dict(seed=seed, seconds=round(seconds))
            facts['runs'].setdefault(name, []).append(row)
            with torch.no_grad():
                drawn = generator.render_views(
                    torch.randn(6, generator.z_dim, generator=rng(7)),
                    pose(torch.linspace(-0.4, 0.4, 6)),
                    size=32,
                    samples=16,
                )['image'].clamp(-1, 1)
            np.save(a.run / f'{list(CONDITIONS).index(name)}-{seed}.npy', to_uint8(drawn).numpy())
            log.write_text(json.dumps(facts['runs']))
            print(seed, name, {k: round(v, 3) for k, v in row.items()}, flush=True)
    if a.only:
        return
    out.write_text(json.dumps(facts, indent=1) + '\n')
    rows = [torch.from_numpy(np.load(a.run / f'{k}-0.npy', allow_pickle=False)) for k in range(len(CONDITIONS))]
    grid(torch.cat(rows), 6).save(out.with_suffix('.jpg'), quality=85)
    for name, found in facts['runs'].items():
        print(
            f'{name:<42}',
            '  '.join(
                f'{k} {m:.3f} ± {h:.3f}'
                for k in ('frechet', 'eyes', 'correlation', 'missing')
                for m, h in [interval([r[k] for r in found])]
            ),
        )


# ---- real faces

PLAIN = replace(pigan_training.PIGAN_CPU.network, noise_steps=800)
# told where a head is, that it is solid and looks ahead, and that a room is behind it
FACES = replace(pigan_training.PIGAN_FACES_CPU.network, noise_steps=800)
_rates = lambda generator_lr: dict(generator_lr=generator_lr, discriminator_lr=4e-4)
GROWING = (
    Stage(1200, size=16, batch_size=12, **_rates(4e-4)),
    Stage(18_800, size=32, fade=100, batch_size=8, **_rates(4e-4)),
)
# from networks that have seen other faces; FACES: first the new discriminator learns, then both, slowly
ONWARD = (Stage(20_000, size=32, **_rates(4e-4)),)
SLOWLY = (Stage(150, size=32, **_rates(1e-6)), Stage(19_850, size=32, **_rates(1e-4)))
RECIPES = {
    (False, False): (FACES, GROWING),
    (False, True): (replace(FACES, noise=0.0), SLOWLY),
    (True, False): (PLAIN, GROWING),
    (True, True): (replace(PLAIN, noise=0.0), ONWARD),
}


def train(a):
    data, (network, stages) = ImageFolder(folder(a.data), FACES.size), RECIPES[a.plain, bool(a.start)]
    seed_everything(a.seed)
    pair, shape = pigan_training.PiganPair(network), pigan_training.toon_shape(64, 32)
    if a.start and not checkpoints(a.run):
        before = begin_with(pair, a.start)
        a.run.mkdir(parents=True, exist_ok=True)
        (a.run / 'start.json').write_text(json.dumps(before))
    callbacks = [
        Clock(a.minutes, processor=True),
        Samples(250, 24, folder=a.run / 'samples'),
        Health(),
        pigan_training.ShapeWatch(shape, 250),
        Checkpoints(a.run, 250),
        JSONLog(a.run / 'log.jsonl'),
    ]
    config = TrainingConfig(
        8, 4e-4, 4e-4, (0.0, 0.99), (0.0, 0.99), clip_gradient=5.0, ema_half_life=2_000, seed=a.seed
    )
    facts = {'model': 'pigan', 'network': asdict(network)}
    fit_stages(pair, data, stages, a.run, config, callbacks, 'cpu', facts, progress=False)


def begin_with(pair, start):
    """Give a pair the networks of another run, or only a generator whose discriminator was shown more than images;
    returns what these had cost."""
    if str(start).startswith('pigan_toon_32'):
        generator, facts = pigan.pretrained_pigan(str(start))
        pair.generator.load_state_dict(generator.state_dict())
        return {k: facts[k] for k in ('seconds', 'images')}
    other, average, _ = load_run(start)
    if other.config.alpha or other.config.condition_pose:
        pair.generator.load_state_dict(average.state_dict())
    else:
        pair.load_state_dict(other.state_dict())
    pair.steps.update(generator=0, discriminator=0)
    last = read_log(start / 'log.jsonl')[-1]
    return {'seconds': last['processor_seconds'], 'images': last['images']}


def draw(generator, n, seed, prior):
    "n faces from random cameras of the prior that the network was trained with."
    source = rng(seed)
    z, cams = torch.randn(n, generator.z_dim, generator=source), pose(*PRIORS[prior].sample(n, source))
    return torch.cat([generator.render_views(a, b)['image'] for a, b in zip(z.split(100), cams.split(100))]).clamp(
        -1, 1
    )


def geometry(generator, seed, n=32):
    "What the alarms read, and how consistent the views are, beside the same images on a board."
    z, shape = torch.randn(n, generator.z_dim, generator=rng(500 + seed)), pigan_training.toon_shape(64, 32)
    return shape_numbers(
        *(generator.render_views(z, pose(torch.full((n,), yaw)), samples=16, fine=16) for yaw in (-0.25, 0.0, 0.25)),
        shape,
        12.0,
    )


def sheet(generator, n=6, psi=0.8):
    "n heads from the left, the front and the right, their depth, and what is solid over white."
    z, seen = torch.randn(n, generator.z_dim, generator=rng(7)), []
    for yaw, background in ((-0.4, None), (0.0, None), (0.4, None), (0.0, 1.0)):
        seen.append(
            generator.render_views(
                z, pose(torch.full((n,), yaw)), size=48, samples=16, fine=16, psi=psi, background=background
            )
        )
    depth = ((1 - (seen[1]['depth'] - 0.9) / 0.2).clamp(0, 1) * seen[1]['opacity'] * 2 - 1).expand(-1, 3, -1, -1)
    return torch.cat([*(v['image'] for v in seen[:3]), depth, seen[3]['image']]).clamp(-1, 1)


@torch.no_grad()
def poses(data):
    """How far real faces turn, as the network that was trained on toon reads them;
    and whether it reads the mirrored images mirrored."""
    faces, read = ImageFolder(data, 64), toon_pose_reader()
    images = (
        torch.cat([faces.batch(range(k, min(k + 100, len(faces))))['image'] for k in range(0, len(faces), 100)]) / 127.5
        - 1
    )
    angles, mirrored = read(images), read(images.flip(-1)) * torch.tensor([-1.0, 1.0])
    agree = [torch.corrcoef(torch.stack([a, b]))[0, 1].item() for a, b in zip(angles.T, mirrored.T)]
    return {
        name: dict(degrees=angles.std(0)[k].rad2deg().item(), agreement=agree[k])
        for k, name in enumerate(('yaw', 'pitch'))
    }


@torch.no_grad()
def score(a):
    """Distances of the averaged generators to the real faces for three sets of codes and cameras;
    a sheet of turned heads with their depth."""
    faces = ImageFolder(folder(a.data), FACES.size)
    out, facts, rows = ROOT / 'data' / 'results' / 'pigan_faces.json', {}, []
    n = len(faces) // 2
    real = {e: extract(faces, e) for e in a.extractors}
    for name, run in (part.split('=', 1) for part in a.runs):
        _, generator, info = load_run(run)
        log, start = read_log(Path(run) / 'log.jsonl'), Path(run) / 'start.json'
        found = {
            e: [
                evaluate(
                    extract(draw(generator, n, 100 + s, info['network']['prior']), e), real[e], e, n=n, seed=s
                ).to_dict()
                for s in range(a.seeds)
            ]
            for e in a.extractors
        }
        watched = [
            {
                k: round(float(line[k]), 3)
                for k in (
                    'step',
                    'processor_seconds',
                    'missing',
                    'relief',
                    'correlation',
                    'black_hole',
                    'billboard',
                    'hollow',
                )
            }
            for line in log
            if 'relief' in line
        ]
        facts[name] = dict(
            steps=info['step'],
            images=info['images'],
            seconds=log[-1]['processor_seconds'],
            start=json.loads(start.read_text()) if start.exists() else None,
            network=info['network'],
            training=info['config'],
            evaluations=found,
            geometry=[geometry(generator, s) for s in range(a.seeds)],
            watched=watched,
        )
        rows.append(sheet(generator))
        print(
            name,
            [[round(v['value'], 2) for v in f['numbers'].values()] for e in found.values() for f in e],
            facts[name]['geometry'],
        )
    out.write_text(
        json.dumps(
            dict(
                command='python benchmarks/pigan_anime.py score --data '
                + faces_name(a.data)
                + ' --runs '
                + ' '.join(f'"{r.split("=")[0]}=RUN"' for r in a.runs),
                data=faces_name(a.data),
                pictures=len(faces),
                n=n,
                psi_of_the_sheet=0.8,
                poses=poses(folder(a.data)),
                machine='one thread of a shared two-core CPU; seconds are processor time',
                runs=facts,
            ),
            indent=1,
        )
        + '\n'
    )
    grid(torch.cat(rows), 6).save(out.with_suffix('.jpg'), quality=85)


def faces_name(data):
    return folder(data).name


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('part', choices=('guesses', 'train', 'score'))
    parser.add_argument('--run', type=Path, help='the folder of a run: checkpoints, log, images')
    parser.add_argument('--runs', nargs='+', default=[], help='NAME=FOLDER, for score')
    parser.add_argument('--data', default='anime_faces_256')
    parser.add_argument(
        '--start',
        type=Path,
        help="the folder of another run, or pigan_toon_32: a shipped generator, with a new discriminator",
    )
    parser.add_argument('--plain', action='store_true', help='train with the recipe for cut-out heads, for comparison')
    parser.add_argument('--only', default='', help='one condition of the guesses')
    parser.add_argument('--extractors', nargs='+', default=['squeezenet'])
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--minutes', type=float, default=20)
    a = parser.parse_args()
    if a.part != 'score' and not a.run:
        parser.error(f'{a.part} needs --run, a folder for what it makes')
    if a.part == 'score' and not a.runs:
        parser.error('score needs --runs NAME=FOLDER')
    torch.set_num_threads(1)
    {'guesses': guesses, 'train': train, 'score': score}[a.part](a)


if __name__ == '__main__':
    main()
