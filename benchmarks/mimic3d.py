"""What each step from a tri-plane GAN to Mimic3D does to images, geometry and consistency, on toon heads.

    OMP_NUM_THREADS=1 ANIMEGAN_WEIGHTS=… python benchmarks/mimic3d.py [--variants NAME …] [--seeds 0 1 2]
        [--images 48000] [--work FOLDER] [--out data/results/mimic3d.json]
    python benchmarks/mimic3d.py summary [--out …]     # the table and the verdicts, from the stored entries
    python benchmarks/mimic3d.py sheet --work FOLDER   # heads of every variant, from the runs: data/results/mimic3d.jpg
    python benchmarks/mimic3d.py variants-one-view --work FOLDER       # heads found by each, from the runs
    ANIMEGAN_DATA=… python benchmarks/mimic3d.py faces --run FOLDER     # on real anime faces, and mimic3d_faces.*
    python benchmarks/mimic3d.py ship --run FOLDER     # a trained network to data/pretrained, with its card
    python benchmarks/mimic3d.py one-view [--quick]    # heads found from one view, with the shipped network
    python benchmarks/mimic3d.py rounding              # what another instruction set makes of the same seed

Every run is trained by its recipe in a folder of its own and goes on where it was stopped; as soon as it ends, an entry
with variant and seed is stored, and an entry that is there is not made again.

Protocol: 2,400 of the library's heads over white with their cameras to train, the other 600 held out; 64 px; the same
number of real images for every variant, two thirds of them in the first stage where there are two (variants that differ
only in what is imitated share it: it is the same to the last bit); one thread. "pigan"
is `pigan-toon-32` for as much processor time as "aware, by role" took with the same seed.

Measured, with the averaged generator and its own cameras drawn from the pose prior: Fréchet distances, precision and
recall on SqueezeNet's and on ToonNet's features, 300 generated against 300 held-out images, each with its floor (who
imitates by the features of one extractor is to be judged by the other one); of 32 heads from the front: depth against
the mean depth of toon heads (correlation, relief, missing middle, and mean error in world units and of the normals in
degrees where both are solid); between the views from ±0.25 rad: the consistency of each branch, of the same images on
the network's own billboard and on an ellipsoid, and the gap between the branches; processor milliseconds a view. Where
there are two branches, the distances are those of the 3D branch; those of the 2D branch stand beside them.

A seed gives the same training only where sums are rounded alike, so on one kind of processor (`rounding` shows what
another instruction set does on the same one). So entries name theirs, and only trainings of the same seed on the same
kind of processor are paired; then those of the same seed are averaged, because they begin with the same weights.

`summary` writes mimic3d_summary.json: for each variant and number of images the means over trainings with their
intervals, and for each claim a verdict from paired t-tests over seeds, corrected by Holm over the comparisons of all
claims; then the same for questions of our own. `one-view` writes mimic3d_one_view.json: fields that are found from
one image of a head that was never seen, against its true surface and twelve views around it, as PAniC-3D measures
them (chapter 58).
"""

import argparse
import contextlib
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import networks
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import stats
from tqdm import tqdm

from animegan_nb import pigan_inversion as inv
from animegan_nb import toon
from animegan_nb.callbacks import Checkpoints, Health, JSONLog, read_log
from animegan_nb.cameras import pose, PRIORS, project, rays
from animegan_nb.core import cache_dir, grid, rng, shipped, tiles, to_float, to_uint8, write_atomically
from animegan_nb.data import ImageFolder, ImageSet
from animegan_nb.fields import seen_points
from animegan_nb.geometry import surface_errors, view_consistency
from animegan_nb.inversion import LatentPrior
from animegan_nb.mesh import extract_mesh
from animegan_nb.metrics import evaluate, file_sha256, holm, interval
from animegan_nb.mimic3d import MIMIC3D_CPU, on_ellipsoid, pretrained_mimic3d, two_stages
from animegan_nb.orbit import depth_normals
from animegan_nb.pigan import pretrained_pigan
from animegan_nb.pigan_anime import shape_numbers
from animegan_nb.pigan_training import toon_shape
from animegan_nb.training import Draws, load_run, optimise, recipes, Stage
from animegan_nb.triplane import render_plane_views

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'data' / 'results'
NAME = 'mimic3d_toon_64'
FOV, YAW, HEADS, TRAINED = 12.0, 0.25, 32, 2400
VARIANTS = {
    'direct': dict(imitation='', super_resolution=False, mixing='none'),
    'super-resolution': dict(imitation='', mixing='none'),
    'imitation': dict(mixing='none'),
    'aware, published order': dict(mixing='published'),
    'aware, by role': dict(mixing='role'),
    'by role, target squeezenet': dict(imitation='squeezenet'),
    'by role, target discriminator': dict(imitation='discriminator'),
    'by role, target l1': dict(imitation='l1'),
    'pigan': None,
}


def heads():
    "Real images to train with, and those held out."
    ready = toon.ready_heads('white')
    rows = lambda part: ImageSet({name: ready.arrays[name][part] for name in ('image', 'cam2world', 'coverage')})
    return rows(slice(TRAINED)), rows(slice(TRAINED, None))


def recipe_of(variant, images):
    "The preset with the changes of a variant, for so many real images."
    if variant == 'pigan':
        return recipes['pigan-toon-32']
    network = replace(MIMIC3D_CPU.network, **VARIANTS[variant])
    steps = images // MIMIC3D_CPU.training.batch_size
    stages = two_stages(network, 2 * steps // 3, steps - 2 * steps // 3) if network.imitation else ()
    return replace(MIMIC3D_CPU, network=network, steps=steps, stages=stages)


def folder_of(variant, images, seed, work):
    "The folder of a run."
    return work / f'{variant.replace(", ", "_").replace(" ", "-")}_{images}_{seed}'


def first_stage(variant, images, seed, work):
    """The folder of the first stage that a variant shares with others of the same seed, or None: until the second
    stage nothing is imitated, so networks that differ only in their targets go through the same steps."""
    shared = variant == 'aware, by role' or variant.startswith('by role, target')
    return work / f'first-stage_by-role_{images}_{seed}' if shared else None


def trained(variant, seed, images, seconds, work, data):
    "A trainer at the end of its run, and the processor seconds of all its sessions, a shared first stage included."
    recipe, run = recipe_of(variant, images), folder_of(variant, images, seed, work)
    run.mkdir(parents=True, exist_ok=True)
    clock, shared = run / 'seconds.json', first_stage(variant, images, seed, work)
    first = recipe.stages[0].steps if shared else 0
    callbacks = [Health(), Checkpoints(run, 250), JSONLog(run / 'log.jsonl')]
    trainer = recipe.trainer(data, callbacks, 'cpu', seed).resume(run)
    if not trainer.step and shared and shared.exists():
        with without_features(trainer.pair):
            trainer.load(shared / f'step-{first:08d}')
        shutil.copy(shared / clock.name, clock)
    spent = json.loads(clock.read_text()) if clock.exists() else 0.0
    # pi-GAN stops by its time, the others by their steps
    while spent < seconds if seconds else trainer.step < recipe.steps:
        start = time.process_time()
        last = 10**9 if seconds else recipe.steps
        end = first if trainer.step < first else last
        trainer.fit(until=min(trainer.step + 250, end), progress=False)
        spent += time.process_time() - start
        write_atomically(clock, json.dumps(spent))
        if shared and trainer.step == first and not shared.exists():
            keep_stage(trainer, clock, shared)
    return trainer, spent


@contextlib.contextmanager
def without_features(pair):
    "The frozen network of the target is no part of a first stage: other targets have another one, or none."
    features, pair.features = pair.features, None
    try:
        yield
    finally:
        pair.features = features


def keep_stage(trainer, clock, shared):
    "A checkpoint, and the seconds that it has cost, in the folder of a first stage, all at once."
    part = shared.with_name(f'.{shared.name}.part')
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    with without_features(trainer.pair):
        trainer.save(part / f'step-{trainer.step:08d}')
    shutil.copy(clock, part)
    part.rename(shared)


@torch.no_grad()
def geometry_of(look, shape):
    "The numbers of one branch: `look(yaw)` gives its views."
    left, front, right = look(-YAW), look(0.0), look(YAW)
    numbers = shape_numbers(left, front, right, shape, FOV)
    numbers['ellipsoid'] = view_consistency(on_ellipsoid(left, FOV), on_ellipsoid(right, FOV), FOV)[0]
    both = ((front['opacity'] > 0.9) & shape.depth.isfinite())[:, 0]
    mean = shape.depth.nan_to_num(posinf=1.0).expand_as(front['depth'])
    normals = [depth_normals(depth, front['cam2world'], FOV) for depth in (front['depth'], mean)]
    errors = surface_errors(both, front['depth'][:, 0], mean[:, 0], *normals)
    return numbers | {f'{k}_error': v for k, v in errors.items()}


def branches_of(generator, variant, z):
    "name → function of the yaw that gives views at 64 px."
    cams = lambda yaw: pose(torch.full((len(z),), yaw))
    if variant == 'pigan':
        return {'3D': lambda yaw: generator.render_views(z, cams(yaw), 64, samples=16, fine=16)}
    names = {'3D': True} if generator.direct else {'2D': False}
    if generator.config.imitation:
        names = {'2D': False, '3D': True}
    return {name: lambda yaw, d=d: generator.render_views(z, cams(yaw), direct=d) for name, d in names.items()}


@torch.no_grad()
def distances(draw, z, cams, held_out):
    "Fréchet distances, precision and recall on both extractors, of the images of `draw(z, cams)`."
    fakes = torch.cat([draw(*rows) for rows in zip(z.split(25), cams.split(25))]).clamp(-1, 1)
    n = len(z)
    return {name: evaluate(fakes, held_out, name, n=n).to_dict()['numbers'] for name in ('squeezenet', 'toon')}


@torch.no_grad()
def measured(generator, variant, held_out, shape, n=300):
    "All numbers of a trained generator."
    source = rng(1000)
    z = torch.randn(n, generator.z_dim, generator=source)
    cams = pose(*PRIORS['celeba'].sample(n, source))
    size = dict(size=64) if variant == 'pigan' else {}
    draw = lambda z, cams: generator.render(z, cams, **size)
    found = distances(draw, z, cams, held_out)
    looks = branches_of(generator, variant, z[:HEADS])
    found['branches'] = {name: geometry_of(look, shape) for name, look in looks.items()}
    if len(looks) == 2:
        both = [found['branches'][name]['consistency'] for name in ('3D', '2D')]
        found['gap'] = both[0] - both[1]
        found['2D'] = distances(lambda z, cams: generator.render(z, cams, direct=False), z, cams, held_out)
    draw(z[:1], cams[:1])
    start = time.process_time()
    for k in range(5):
        draw(z[k : k + 1], cams[k : k + 1])
    return found | dict(ms_a_view=200 * (time.process_time() - start))


# ---- the table and the verdicts


def number(row, *path):
    "A number of an entry by its path, or None; a metric is found by its short name, and gives its value."
    found = row['measured']
    for name in path:
        by_metric = {v['metric']: v for v in found.values() if isinstance(v, dict) and 'metric' in v}
        found = found.get(name, by_metric.get(name))
        if found is None:
            return None
    return found['value'] if isinstance(found, dict) else found


COLUMNS = {f'{name}, {extractor}': (extractor, name) for extractor in ('squeezenet', 'toon') for name in ('frechet',)}
COLUMNS |= {f'floor, {extractor}': (extractor, 'frechet', 'floor') for extractor in ('squeezenet', 'toon')}
COLUMNS |= {'frechet of the 2D branch, squeezenet': ('2D', 'squeezenet', 'frechet')}
COLUMNS |= {'frechet of the 2D branch, toon': ('2D', 'toon', 'frechet')}
COLUMNS |= {name: ('squeezenet', name) for name in ('precision', 'recall')}
COLUMNS |= {
    f'{name}, {branch}': ('branches', branch, name)
    for name in ('consistency', 'board', 'ellipsoid', 'correlation', 'relief', 'missing', 'depth_error', 'normal_error')
    for branch in ('3D', '2D')
}
COLUMNS |= {'gap': ('gap',), 'milliseconds a view': ('ms_a_view',)}


def spread(values):
    "Mean and half of the interval; None for the half of a single number, None for no numbers."
    known = [float(v) for v in values if v is not None]
    if not known:
        return None
    mean, half = interval(known)
    return [round(mean, 4), round(half, 4) if len(known) > 1 else None]


def by_seed(rows, value):
    "Values of entries, those of the same seed averaged: it begins with the same weights on every processor."
    found = {}
    for row in rows:
        if (x := value(row)) is not None:
            found.setdefault(row['seed'], []).append(x)
    return [sum(values) / len(values) for _, values in sorted(found.items())]


def table(rows):
    "For each variant and number of images that there are: seeds, core-minutes, and the numbers over seeds."
    found = []
    for images in sorted({row['images'] for row in rows}, reverse=True):
        for variant in VARIANTS:
            some = [row for row in rows if (row['variant'], row['images']) == (variant, images)]
            if not some:
                continue
            numbers = {
                name: spread(by_seed(some, lambda row, path=path: number(row, *path))) for name, path in COLUMNS.items()
            }
            minutes = round(sum(row['seconds'] for row in some) / 60 / len(some), 1)
            facts = dict(variant=variant, images=images, seeds=sorted(row['seed'] for row in some))
            found.append(facts | dict(core_minutes=minutes, numbers={k: v for k, v in numbers.items() if v}))
    return found


class Comparison(NamedTuple):
    "A sum of numbers of some variants; positive if what it says is so."

    says: str
    terms: tuple  # (factor, variant, path of the number)


FRECHET, AGREEMENT = ('squeezenet', 'frechet'), ('branches', '3D', 'consistency')
EG3D, OURS, BY_NAME, BY_ROLE = 'super-resolution', 'aware, by role', 'aware, published order', 'by role, target'
smaller = lambda variant, base, factor=1.0: ((factor, base, FRECHET), (-1.0, variant, FRECHET))
CLAIMS = {
    'high-quality while strictly consistent': (
        Comparison('its distance is at most a tenth above that of super-resolution alone', smaller(OURS, EG3D, 1.1)),
        Comparison(
            'its views agree better than those of super-resolution alone',
            ((1.0, OURS, AGREEMENT), (-1.0, EG3D, ('branches', '2D', 'consistency'))),
        ),
        Comparison('its 3D branch agrees better than its 2D branch', ((1.0, OURS, ('gap',)),)),
    ),
    '3D-aware convolutions improve quality': (
        Comparison('the distance is smaller with them, in the published order', smaller(BY_NAME, 'imitation')),
    ),
    '3D-aware convolutions by role improve quality': (
        Comparison('the distance is smaller with them, by role', smaller(OURS, 'imitation')),
    ),
    'the order by role is better than the published one': (
        Comparison('the distance is smaller by role', smaller(OURS, BY_NAME)),
    ),
}
# What the paper does not claim and this chapter asks; corrected for itself. The target by SqueezeNet's features is in
# the table only: these comparisons look with the same features.
QUESTIONS = {
    'super-resolution improves quality': (
        Comparison('the distance is smaller with it than with direct rendering', smaller(EG3D, 'direct')),
    ),
    'features are a better target than colours': (
        Comparison("the distance is smaller with ToonNet's features than with L1", smaller(OURS, f'{BY_ROLE} l1')),
    ),
    "features of heads are a better target than the patch discriminator's": (
        Comparison("the distance is smaller with ToonNet's", smaller(OURS, f'{BY_ROLE} discriminator')),
    ),
    'Mimic3D draws better than pi-GAN in equal processor time': (
        Comparison('the distance is smaller', smaller(OURS, 'pigan')),
    ),
}
SEEDS_NEEDED = 3


def compared(comparison, rows):
    "What a comparison gives on entries of one number of images: its numbers, or why there are none."
    variants = sorted({variant for _, variant, _ in comparison.terms})
    missing = [name for name in variants if not any(row['variant'] == name for row in rows)]
    facts = dict(says=comparison.says)
    if missing:
        return facts | dict(verdict='not run', missing=missing)
    training = lambda row: (row['seed'], row.get('processor', ''))
    by = {(row['variant'], training(row)): row for row in rows}
    pairs = sorted(set.intersection(*({training(row) for row in rows if row['variant'] == name} for name in variants)))
    terms = [
        [(factor, number(by[variant, pair], *path)) for factor, variant, path in comparison.terms] for pair in pairs
    ]
    if not pairs or any(value is None for some in terms for _, value in some):
        return facts | dict(verdict='not decided: 0 seeds')
    sums = [dict(seed=seed, sum=sum(a * b for a, b in some)) for (seed, _), some in zip(pairs, terms)]
    values, seeds = np.array(by_seed(sums, lambda row: row['sum'])), sorted({seed for seed, _ in pairs})
    mean, half = interval(values)
    facts |= dict(seeds=seeds, difference=round(mean, 4), half=round(half, 4) if len(seeds) > 1 else None)
    if len(seeds) < SEEDS_NEEDED:
        return facts | dict(verdict=f'not decided: {len(seeds)} seed{"s" * (len(seeds) > 1)}')
    p = float(stats.ttest_1samp(values, 0).pvalue) if values.std() > 0 else 1.0
    return facts | dict(p=p)


def verdict_of(rows):
    "The verdict of a claim by those of its comparisons."
    said = [row['verdict'] for row in rows]
    missing = list(dict.fromkeys(name for row in rows for name in row.get('missing', [])))
    waiting = list(dict.fromkeys(word for word in said if word.startswith('not decided')))
    if 'does not hold' in said:
        return 'does not hold at this size'
    if missing:
        waiting.insert(0, f'not run: {"; ".join(missing)}')
    if waiting:
        return '; '.join(waiting)
    return 'holds at this size' if set(said) == {'holds'} else 'undecided'


def most_seeds(rows):
    "The number of images for which there are most entries; of equal ones the largest."
    counts = {images: sum(row['images'] == images for row in rows) for images in {row['images'] for row in rows}}
    return max(counts, key=lambda images: (counts[images], images), default=None)


def verdicts(rows, images=None, claims=CLAIMS):
    "For each claim its verdict and its comparisons, on the entries with so many images (None: `most_seeds`)."
    images = most_seeds(rows) if images is None else images
    rows = [row for row in rows if row['images'] == images]
    found = {claim: [compared(c, rows) for c in comparisons] for claim, comparisons in claims.items()}
    tested = [row for some in found.values() for row in some if 'p' in row]
    for row, corrected in zip(tested, holm([row['p'] for row in tested])):
        row['p'], row['holm'] = float(f'{row["p"]:.2g}'), float(f'{corrected:.2g}')
        right = 'holds' if row['difference'] > 0 else 'does not hold'
        row['verdict'] = right if corrected < 0.05 else 'undecided'
    return {claim: dict(verdict=verdict_of(some), comparisons=some) for claim, some in found.items()}


def summary(rows):
    "All that the chapter shows of the experiment."
    images = most_seeds(rows)
    run = {row['variant'] for row in rows if row['images'] == images}
    return dict(
        command='python benchmarks/mimic3d.py summary',
        measured_with='300 generated against 300 held-out heads; paired t-tests over seeds, corrected by Holm',
        images=images,
        not_run=[variant for variant in VARIANTS if variant not in run],
        verdicts=verdicts(rows, images),
        questions=verdicts(rows, images, QUESTIONS),
        table=table(rows),
    )


def entries(out):
    "The stored entries with the number of images that `summary` shows, by variant and seed."
    rows = json.loads(out.read_text(encoding='utf-8'))
    images = most_seeds(rows)
    return images, {(row['variant'], row['seed']) for row in rows if row['images'] == images}


@torch.no_grad()
def sheet(work, images, known, before=None, seed=0, n=4, turn=0.4):
    """A row for each variant: n heads from the front, then the first one from three sides, by the 3D branch; and from
    the same sides by the 2D branch. White where there is no such branch. A variant whose run is not in `work` keeps
    its row of the sheet `before`. A JPEG that names its rows."""
    rows = {}
    if before is not None and before.exists():
        with Image.open(before) as picture:
            names = picture.info.get('comment', b'').decode().split('; ')
            rows = dict(zip(names, tiles(picture, 64).split(n + 6)))
    shown = [variant for variant in VARIANTS if (variant, seed) in known]
    for variant in shown:
        run = folder_of(variant, images, seed, work)
        if run.exists():
            rows[variant] = heads_of_a_run(run, variant, n, turn)
        elif variant not in rows:
            sys.exit(f'There is no run of "{variant}" with seed {seed} in {work}: train it first, or name its folder.')
    picture, file = grid(torch.cat([rows[variant] for variant in shown]), n + 6), io.BytesIO()
    picture.save(file, 'JPEG', quality=90, comment='; '.join(shown))
    return file.getvalue()


def heads_of_a_run(run, variant, n, turn):
    "The images of one variant: bytes [n + 6, 3, 64, 64]."
    generator = load_run(run)[1].eval()
    z = torch.randn(n, generator.z_dim, generator=rng(4))
    shown = torch.ones(n + 6, 3, 64, 64)
    looks = branches_of(generator, variant, z[:1])
    if '3D' in looks:
        shown[:n] = branches_of(generator, variant, z)['3D'](0.0)['image']
    for start, branch in ((n, '3D'), (n + 3, '2D')):
        if branch in looks:
            shown[start : start + 3] = torch.cat([looks[branch](yaw)['image'] for yaw in (-turn, 0.0, turn)])
    return to_uint8(shown.clamp(-1, 1))


def summarise(out):
    "Read the entries, write the summary beside them, and print it."
    rows = json.loads(out.read_text(encoding='utf-8')) if out.exists() else []
    found = summary(rows)
    write_atomically(out.with_name(f'{out.stem}_summary.json'), json.dumps(found, indent=1) + '\n')
    for claim, said in (found['verdicts'] | found['questions']).items():
        print(f'{claim}: {said["verdict"]}')


# ---- real anime faces

FACES, FACE_IMAGES = 500, (800, 5_200, 6_000)


def faces_recipe():
    "The preset for faces of unknown cameras: first only the new discriminator learns, then both, then it imitates."
    network = replace(MIMIC3D_CPU.network, posed=False)
    first, second, third = (images // MIMIC3D_CPU.training.batch_size for images in FACE_IMAGES)
    warm = Stage(first, size=network.raw, generator_lr=1e-6)
    stages = warm, *two_stages(network, second, third)
    return replace(MIMIC3D_CPU, network=network, steps=first + second + third, stages=stages)


def faces(run):
    """Train the generator that ships on 500 real anime faces, or go on with it; then write its measures and a sheet.
    Beside them stand the other 100 faces. Only generated images are written: the faces may not be passed on."""
    everything = ImageFolder(networks.data_folder('anime_faces_256'), 64, progress=False)
    rows = torch.arange(len(everything))
    callbacks = [Health(), Checkpoints(run, 250), JSONLog(run / 'log.jsonl')]
    recipe = faces_recipe()
    trainer = recipe.trainer(everything.subset(rows[:FACES]), callbacks, 'cpu')
    for network in (trainer.pair.generator, trainer.average):
        network.load_state_dict(pretrained_mimic3d(NAME)[0].state_dict())
    trainer.resume(run).fit(until=recipe.steps)
    pair, generator, info = load_run(run)
    known, new = (networks.all_images(everything.subset(part)) for part in (rows[:FACES], rows[FACES:]))
    found = dict(command='python benchmarks/mimic3d.py faces --run FOLDER', start=NAME, faces=len(known))
    shape = toon_shape(64, 64, seed=123)
    for name, direct in (('2D', False), ('3D', True)):
        draws = [Draws(seed) for seed in range(3)]
        with torch.no_grad():
            drawn = [render_in_parts(generator, *pair.latents(300, some), direct) for some in draws]
            z = torch.randn(HEADS, generator.z_dim, generator=rng(9))
            look = branches_of(generator, 'aware, by role', z)[name]
            geometry = geometry_of(look, shape)
        found[name] = networks.compared(drawn, known, new, ('squeezenet', 'pixels')) | dict(geometry=geometry)
    found |= networks.training_facts(info, read_log(run / 'log.jsonl'))
    write_atomically(RESULTS / 'mimic3d_faces.json', json.dumps(found, indent=1) + '\n')
    faces_sheet(generator).save(RESULTS / 'mimic3d_faces.jpg', quality=90)


def render_in_parts(generator, z, cams, direct):
    "Images of one branch, rounded to bytes."
    parts = [generator.render(*part, direct=direct) for part in zip(z.split(50), cams.split(50))]
    return to_float(to_uint8(torch.cat(parts).clamp(-1, 1)))


@torch.no_grad()
def faces_sheet(generator, n=8, turn=0.4):
    "n heads: the 2D branch from the front, then the 3D branch from the left, the front and the right."
    z, rows = torch.randn(n, generator.z_dim, generator=rng(7)), []
    for yaw, direct in ((0.0, False), (-turn, True), (0.0, True), (turn, True)):
        rows.append(generator.render_views(z, pose(torch.full((n,), yaw)), direct=direct, psi=0.8)['image'])
    return grid(to_uint8(torch.cat(rows).clamp(-1, 1)), n)


# ---- a network that ships


def ship(run, folder=ROOT / 'data' / 'pretrained', n=1500, seeds=3):
    "Write the averaged generator of a run of 'aware, by role' and its card to data/pretrained."
    pair, generator, info = load_run(run)
    if not generator.direct:
        sys.exit(f'{run.name} is in its first stage (step {info["step"]}): its 3D branch has learned nothing yet.')
    training, new = (networks.all_images(rows) for rows in heads())
    drawn = [networks.draw(pair, generator, n, seed) for seed in range(seeds)]
    with torch.no_grad():
        z, cams = pair.latents(n, Draws(0))
        enlarged = render_in_parts(generator, z, cams, direct=False)
    extractors = ('toon', 'squeezenet', 'pixels')
    facts = dict(
        what=f'Mimic3D at 64 px on {len(training):,} anime heads over white; averaged generator, 3D branch',
        command="python benchmarks/mimic3d.py --variants 'aware, by role' --seeds 0 --work FOLDER",
        stages=[asdict(stage) for stage in recipe_of('aware, by role', info['images']).stages],
        augment='',
        data=dict(kind='anime', images=len(training), held_out=len(new)),
        measures=networks.compared(drawn, training, new, extractors),
        measures_2d=networks.compared([enlarged], training, new, extractors),
    )
    facts |= networks.training_facts(info, read_log(run / 'log.jsonl'))
    path = networks.ship(NAME, generator, facts, folder)
    networks.show(facts)
    print(f'{path.name}: {path.stat().st_size / 1e6:.2f} MB')


# ---- heads found from one view


class Found(NamedTuple):
    "What was found for each image: w of every layer, and a camera."

    ws: torch.Tensor  # [n, layers, w_dim]
    cam2world: torch.Tensor  # [n, 4, 4]


def prior_of(generator, n=10_000):
    "What is usual for the w of a generator."
    z = torch.randn(n, generator.z_dim, generator=rng(123))
    with torch.no_grad():
        return LatentPrior(generator.w(z))


def found_from_one_view(generator, images, start, distance, layers=1, config=inv.InversionConfig(lr=0.1)):  # noqa: B008
    """The inversion of chapter 58 with the loss and the rates of its configuration, by the direct branch, in whitened w
    (chapter 41): one for the whole network, or one for each of its `layers`."""
    prior, first = prior_of(generator), torch.stack(start, 1)
    angles = first.clone().requires_grad_(True)
    v = torch.zeros(len(images), layers, generator.config.w_dim, requires_grad=True)
    sizes = [images.shape[-1] // shrink for shrink, steps in config.stages for _ in range(steps)]
    n, count, source = len(sizes), itertools.count(), rng(0)
    ws_of = lambda v: prior.colour(v).expand(-1, generator.synthesis.num_ws, -1)

    def loss():
        step = next(count)
        noise = config.noise * (1 - step / n) * torch.randn(1, *v.shape[1:], generator=source)
        volume = generator.volumes(ws_of(v + noise))[-1]
        target = F.adaptive_avg_pool2d(images, sizes[step])
        cams = pose(*angles.unbind(1))
        seen = render_plane_views(volume, cams, sizes[step], generator.view)['features'][:, :3]
        fit = inv.pixel_error(seen, target) + config.perceptual * distance(seen, target)
        moved = ((angles - first) / config.pose_sigma).square().sum(1)
        return fit + config.prior * v.square().mean((1, 2)) + config.pose_prior * moved

    def rates(step):
        decay, pose_lr = inv.cosine_decay(step, n), config.pose_lr * (step >= config.hold * n)
        return config.lr * decay, pose_lr * decay

    optimizer = torch.optim.Adam([dict(params=[v]), dict(params=[angles])])
    for _ in optimise(optimizer, loss, n, rates):
        pass
    return Found(ws_of(v.detach()), pose(*angles.detach().unbind(1)))


@torch.no_grad()
def planes_around(generator, ws, seed=1, points=3000):
    "The field of one w for each layer [1, layers, w_dim], as `pigan_inversion.field_around` looks at a pi-GAN."
    cams, volume = inv.cameras_around(), generator.volumes(ws)[-1]
    parts = [render_plane_views(volume, cam[None], 64, generator.view, max_points=2**17) for cam in cams]
    view = {k: F.avg_pool2d(torch.cat([p[k] for p in parts]), 2) for k in ('features', 'depth', 'opacity')}
    depth = torch.where(view['opacity'] > 0.5, view['depth'], torch.inf)[:, 0]
    mesh = extract_mesh(lambda p: volume(p[None])[1][0], inv.SIDE, 64, colours=False)
    seen = seen_points(mesh, cams, generator.view.fov, depth, 0.02 * inv.SIDE, points, seed)
    return inv.Around(view['features'][:, :3], seen)


@torch.no_grad()
def board_around(image, coverage, cam2world, size=32, points=3000):
    "The given image itself, cut out, on a board through the origin that faces the front: what any field must beat."
    cams, fov = inv.cameras_around(), toon.FOV
    lines = rays(cams, fov, size)
    t = -lines.origins[..., 2] / lines.directions[..., 2]
    places, depth = project(lines.origins + t[..., None] * lines.directions, cam2world, fov, size)
    grid = ((places.flip(-1) * 2 + 1) / size - 1)[:, None].nan_to_num(9.0).clamp(-9, 9)
    cut = torch.cat([(image + 1) * coverage, coverage], 1)
    cut = F.adaptive_avg_pool2d(cut, size).expand(len(cams), -1, -1, -1)
    seen = F.grid_sample(cut, grid, align_corners=False)[:, :, 0]
    seen = torch.where((t > 0) & (t.abs() < 2) & (depth > 0), seen.mT.permute(2, 0, 1), 0.0).permute(1, 0, 2)
    seen = seen.unflatten(2, (size, size))
    places = (torch.rand(4 * points, 2, generator=rng(1)) - 0.5) * inv.SIDE
    board = torch.cat([places, torch.zeros(4 * points, 1)], 1)
    pixel, _ = project(board[None], cam2world, fov, size)
    at = ((pixel.flip(-1) * 2 + 1) / size - 1)[:, None]
    on = F.grid_sample(cut[:1, 3:], at, align_corners=False)[0, 0, 0] > 0.5
    return inv.Around(seen[:, :3] + 2 * (1 - seen[:, 3:]) - 1, board[on])


def planes_found(generator, held_out, start, distance, layers, config):
    "Search; then a function that looks around what was found for the k-th image."
    ws = found_from_one_view(generator, held_out.images, start, distance, layers, config).ws
    return lambda k: planes_around(generator, ws[k : k + 1])


def pigan_found(pigan, held_out, start, distance, config):
    "The same for a pi-GAN, at 32 px and by the configuration of chapter 58."
    config = replace(inv.InversionConfig(), stages=config.stages)
    found = inv.invert(pigan, F.avg_pool2d(held_out.images, 2), start, config, distance=distance).condition
    return lambda k: inv.field_around(pigan, type(found)(*(x[k : k + 1] for x in found)), seed=1)


def rows_of_one_view(seed, n, config, clock):
    "Name → scores of each of n heads."
    generator, pigan, distance = pretrained_mimic3d()[0], pretrained_pigan()[0], inv.perceptual_distance()
    held_out = inv.held_out_heads(seed, n, 0, 64)
    start = tuple(inv.toon_pose_reader(64)(held_out.images).clamp(-0.6, 0.6).unbind(1))

    def timed(name, make):
        begun = time.process_time()
        made = make()
        clock[name] = clock.get(name, 0.0) + time.process_time() - begun
        return made

    one, each = 'Mimic3D, one w', f'Mimic3D, {generator.synthesis.num_ws} ws'
    search = lambda layers: planes_found(generator, held_out, start, distance, layers, config)
    found = {one: timed(one, lambda: search(1)), each: timed(each, lambda: search(generator.synthesis.num_ws))}
    ours = 'pi-GAN of chapter 58'
    found[ours] = timed(ours, lambda: pigan_found(pigan, held_out, start, distance, config))
    mean = planes_around(generator, prior_of(generator).w_mean.expand(1, generator.synthesis.num_ws, -1))
    stranger = inv.toon_around(toon.sample_identity(1, rng(4)), seed=1)
    rows = {}
    for i in range(n):
        identity, k = held_out.identity[i : i + 1], slice(i, i + 1)
        true = inv.toon_around(identity)
        worlds = {
            'the truth, sampled twice': inv.toon_around(identity, seed=1),
            'another toon head': stranger,
            'billboard of the image': board_around(held_out.images[k], held_out.coverage[k], held_out.cam2world[k]),
            'mean head of Mimic3D': mean,
            **{name: look(i) for name, look in found.items()},
        }
        for name, world in worlds.items():
            rows.setdefault(name, []).append(inv.around_scores(world, true))
    return rows


def one_view(quick=False, seeds=(7001, 7002, 7003), n=4):
    "The table of heads found from one view: for each row the mean over the heads of each seed."
    config = inv.InversionConfig(lr=0.1)
    if quick:
        seeds, n, config = seeds[:1], 2, replace(config, stages=((2, 6), (1, 2)))
    clock, found = {}, {}
    for seed in seeds:
        for name, scores in rows_of_one_view(seed, n, config, clock).items():
            found.setdefault(name, []).append(mean_scores(scores))
    for name, sets in found.items():
        print(f'{name:28}', {k: [s[k] for s in sets] for k in sets[0]}, flush=True)
    facts = dict(
        command='OMP_NUM_THREADS=1 python benchmarks/mimic3d.py one-view',
        seeds=list(seeds),
        heads=n,
        stages=config.stages,
        generator_sha256=file_sha256(shipped(f'pretrained/{NAME}.safetensors'))[:16],
        seconds={name: round(value / (n * len(seeds)), 2) for name, value in clock.items()},
        rows={name: over_sets(sets) for name, sets in found.items()},
    )
    if not quick:
        write_atomically(RESULTS / 'mimic3d_one_view.json', json.dumps(facts, indent=1) + '\n')
    return facts


def variants_from_one_view(work, images, known, before=None, n=2):
    """The same for the networks of the experiment, with a w for each layer: the k-th training of every variant searches
    the same n heads. The search uses the 3D branch; without one, the volume behind the 2D branch. A variant without
    runs in `work` keeps its row of the table `before`."""
    before = json.loads(before.read_text(encoding='utf-8')) if before is not None and before.exists() else {}
    distance, config, found = inv.perceptual_distance(), inv.InversionConfig(lr=0.1), {}
    stranger = inv.toon_around(toon.sample_identity(1, rng(4)), seed=1)
    seeds = sorted({seed for _, seed in known})
    heads_of = {seed: inv.held_out_heads(7001 + seed, n, 0, 64) for seed in seeds}
    true = {seed: [inv.toon_around(x[None]) for x in heads_of[seed].identity] for seed in seeds}

    def keep(name, seed, look):
        scores = [inv.around_scores(look(k), true[seed][k]) for k in range(n)]
        found.setdefault(name, []).append(mean_scores(scores))
        print(name, seed, found[name][-1], flush=True)

    for seed, given in heads_of.items():
        boards = zip(given.images.split(1), given.coverage.split(1), given.cam2world.split(1))
        boards = [board_around(*board) for board in boards]
        keep('billboard of the image', seed, lambda k, boards=boards: boards[k])
        keep('another toon head', seed, lambda k: stranger)
    for variant in (name for name in VARIANTS if any(name == variant for variant, _ in known)):
        runs = {seed: folder_of(variant, images, seed, work) for seed in seeds if (variant, seed) in known}
        if not all(run.exists() for run in runs.values()):
            found[variant] = kept_row(before, variant, images, n, len(runs))
            continue
        for seed, run in runs.items():
            generator, given = load_run(run)[1].eval(), heads_of[seed]
            start = tuple(inv.toon_pose_reader(64)(given.images).clamp(-0.6, 0.6).unbind(1))
            if variant == 'pigan':
                look = pigan_found(generator, given, start, distance, config)
            else:
                look = planes_found(generator, given, start, distance, generator.synthesis.num_ws, config)
            keep(variant, seed, look)
    return dict(
        command='python benchmarks/mimic3d.py variants-one-view --work FOLDER',
        images=images,
        heads=n,
        stages=config.stages,
        rows={name: over_sets(sets) for name, sets in found.items()},
    )


def kept_row(before, variant, images, n, count):
    "The scores of each of `count` sets that a stored table has of a variant; ends the program if it has them not."
    row = before.get('rows', {}).get(variant, {})
    sets = [dict(zip(row, values)) for values in zip(*(scores['sets'] for scores in row.values()))]
    if (before.get('images'), before.get('heads'), len(sets)) != (images, n, count):
        sys.exit(f'There are no runs of "{variant}" in the folder of the runs: train them first, or name their folder.')
    return sets


def mean_scores(scores):
    "The means over heads."
    return {k: round(sum(s[k] for s in scores) / len(scores), 4) for k in scores[0]}


def over_sets(sets):
    "For each score its values of all sets, and their mean with its interval."
    return {k: dict(sets=[s[k] for s in sets], mean=spread([s[k] for s in sets])) for k in sets[0]}


def experiment(args):
    "Train and measure what is not stored yet."
    work = args.work or cache_dir('mimic3d')
    rows = json.loads(args.out.read_text(encoding='utf-8')) if args.out.exists() else []
    data, held_out = heads()
    shape, processor = toon_shape(64, 64, seed=123), torch.backends.cpu.get_cpu_capability()
    for variant, seed in itertools.product(args.variants, args.seeds):
        ours_last = sorted(rows, key=lambda row: row.get('processor') == processor)
        known = {(row['variant'], row['seed'], row['images']): row for row in ours_last}
        if (variant, seed, args.images) in known:
            continue
        equal = known.get(('aware, by role', seed, args.images), {})
        if variant == 'pigan' and equal.get('processor') != processor:
            print(f'pigan, seed {seed}: waits for "aware, by role" on this kind of processor, whose time it gets')
            continue
        seconds = equal['seconds'] if variant == 'pigan' else 0
        trainer, spent = trained(variant, seed, args.images, seconds, work, data)
        numbers = measured(trainer.average.eval(), variant, held_out, shape)
        facts = dict(variant=variant, seed=seed, images=args.images, steps=trainer.step, seconds=spent)
        facts |= dict(processor=processor)
        rows.append(facts | dict(measured=numbers))
        write_atomically(args.out, json.dumps(rows, indent=1) + '\n')
        print(variant, seed, json.dumps(numbers['branches']), flush=True)
    summarise(args.out)


# ---- how far rounding goes

KERNELS = {'ATEN_CPU_CAPABILITY': 'default'}  # PyTorch's kernels for the oldest processors
ROUNDING = {'once': (0, {}), 'again': (0, {}), 'another instruction set': (0, KERNELS), 'another seed': (1, {})}


def first_steps(steps, seed):
    "The losses of the discriminator in the first steps of the preset."
    recipe = recipe_of('aware, by role', 8000)
    trainer = recipe.trainer(heads()[0], [], 'cpu', seed).fit(steps, progress=False)
    return [record['discriminator_loss'] for record in trainer.history]


def rounding(steps=100):
    """The same steps of the same seed on this processor: once, again, and with other kernels, which add in another
    order; and those of another seed. Each in its own process, because the kernels are chosen at the start."""
    losses = {}
    for name, (seed, variables) in tqdm(ROUNDING.items(), 'trainings', leave=False):
        call = [sys.executable, '-c', f'import json, mimic3d; print(json.dumps(mimic3d.first_steps({steps}, {seed})))']
        env = os.environ | {'OMP_NUM_THREADS': '1'} | variables
        said = subprocess.run(call, env=env, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
        losses[name] = json.loads(said.stdout.splitlines()[-1])
    return dict(
        command='python benchmarks/mimic3d.py rounding',
        processor=torch.backends.cpu.get_cpu_capability(),
        losses={name: [round(loss, 7) for loss in values] for name, values in losses.items()},
    )


WHAT = 'train', 'summary', 'sheet', 'variants-one-view', 'faces', 'ship', 'one-view', 'rounding'


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('what', nargs='?', default='train', choices=WHAT)
    parser.add_argument('--variants', nargs='+', default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--images', type=int, default=48_000)
    parser.add_argument('--work', type=Path, default=None)
    parser.add_argument('--out', type=Path, default=RESULTS / 'mimic3d.json')
    parser.add_argument('--run', type=Path, help='faces: the folder of the run; ship: of the run that ships')
    parser.add_argument('--quick', action='store_true', help='one-view: two heads and few steps; nothing is written')
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == 'train':
        experiment(args)
    elif args.what == 'summary':
        summarise(args.out)
    elif args.what == 'one-view':
        one_view(args.quick)
    elif args.what == 'rounding':
        write_atomically(RESULTS / 'mimic3d_rounding.json', json.dumps(rounding(), indent=1) + '\n')
    elif args.what == 'variants-one-view':
        path = RESULTS / 'mimic3d_variants_one_view.json'
        facts = variants_from_one_view(args.work or cache_dir('mimic3d'), *entries(args.out), path)
        write_atomically(path, json.dumps(facts, indent=1) + '\n')
    elif args.what == 'sheet':
        path = RESULTS / 'mimic3d.jpg'
        write_atomically(path, sheet(args.work or cache_dir('mimic3d'), *entries(args.out), path))
    elif args.run is None:
        parser.error(f'{args.what} needs --run, the folder of a run')
    elif args.what == 'faces':
        faces(args.run)
    else:
        ship(args.run)


if __name__ == '__main__':
    main()
