"""How much of a person, and how much anime: all variants of the method on exact pairs of drawn heads.

    python benchmarks/crossdomain.py              measure what is missing, write data/results/crossdomain.json
    python benchmarks/crossdomain.py --people 16  48 pairs in every row (16 for each of 3 seeds) instead of 204
    python benchmarks/crossdomain.py --time       milliseconds of a step, alone and in a batch, as ratios

Every search is stored in the cache, so a run that was stopped goes on. One generator with four fine-tuned blocks ships;
those with fewer are the runs fin1, fin2 and fin3 of benchmarks/transfer.py, in the folder after --runs; without them
the rows that need them are left out. Needs ANIMEGAN_WEIGHTS (SqueezeNet; the outside
judge of identity is measured if its weights are there) and, for photographs of people, ANIMEGAN_DATA.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy import stats
from tqdm import tqdm

from animegan_nb import crossdomain, toon
from animegan_nb.core import atomic_path, cache_dir, grid, rng, to_float, write_atomically
from animegan_nb.inversion import invert, Inverted, latent_prior, PROJECTOR, Search, THESIS
from animegan_nb.metrics import extract, holm, interval, SqueezeNet
from animegan_nb.perceptual import PerceptualLoss
from animegan_nb.stylegan import pretrained_stylegan
from animegan_nb.toon_net import READ, toon_network
from animegan_nb.training import load_run

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / 'data' / 'results' / 'crossdomain.json'
SEED, SEEDS, FEW, MANY, STEPS = 4321, 3, 16, 68, 100
PLACE = (slice(None), slice(None), slice(20, 56), slice(14, 50))  # the face in a drawn head
NEAR, FREE = crossdomain.NEAR, replace(crossdomain.NEAR, prior=0.0)


# ---- the networks and the people


def network(name: str) -> torch.nn.Module:
    "A generator that ships, or that of a run."
    return load_run(name)[1] if Path(name).is_dir() else pretrained_stylegan(name)[0].eval().requires_grad_(False)


def digest(*things) -> str:
    "A short name for tensors, modules and numbers."
    found = hashlib.sha256()
    for thing in things:
        if isinstance(thing, torch.nn.Module):
            thing = list(thing.state_dict().values())
        for part in thing if isinstance(thing, list) else [thing]:
            found.update(part.numpy().tobytes() if isinstance(part, torch.Tensor) else repr(part).encode())
    return found.hexdigest()[:16]


def told(search: Search) -> tuple:
    "What of a search decides its result."
    numbers = vars(search)
    return tuple(v for k, v in numbers.items() if k != 'candidates' or search.start == 'nearest')


class Remembered:
    "`inversion.invert` that stores what it finds."

    def __init__(self, folder: Path, batch: int = 8):
        self.folder, self.batch, self.seconds, self.steps = folder, batch, 0.0, 0

    def __call__(self, generator, target, space, alpha, steps, seed, *, search=THESIS, **options) -> Inverted:
        parts = [self.one(generator, t, space, alpha, steps, seed, search, **options) for t in target.split(self.batch)]
        joined = [torch.cat([part[i] for part in parts], int(i == 2)) for i in range(4)]
        return Inverted(*joined[:3], space, joined[3])

    def one(self, generator, target, space, alpha, steps, seed, search, perceptual=None, **_):
        name = digest(generator, target.detach(), space, alpha, steps, seed, told(search))
        file = self.folder / f'{name}.safetensors'
        if not file.exists():
            start = time.process_time()
            numbers = space, alpha, steps, seed
            found = invert(generator, target, *numbers, perceptual=perceptual, search=search, progress=False)
            self.seconds += time.process_time() - start
            self.steps += steps * len(target)
            kept = dict(latent=found.latent, image=found.image, losses=found.losses, ws=found.ws)
            with atomic_path(file) as part:
                save_file({k: v.clone(memory_format=torch.contiguous_format) for k, v in kept.items()}, part)
        kept = load_file(file)
        return [kept[k] for k in ('latent', 'image', 'losses', 'ws')]


class People:
    "Held-out people: heads of both styles by the same camera, and of both by another one."

    def __init__(self, folder: Path, per_seed: int):
        rows = torch.cat([torch.arange(s * MANY, s * MANY + per_seed) for s in range(SEEDS)])
        sets = {style: toon.ToonHeads(SEEDS * MANY, 64, SEED, style) for style in toon.STYLES}
        self.human, self.anime = (to_float(sets[style].batch(rows)['image']) for style in ('human', 'anime'))
        known = sets['anime'].batch(torch.arange(SEEDS * MANY))
        self.truth = {k: v[rows] for k, v in toon.decode(known['identity']).items()}
        self.pose = torch.stack([known['yaw'], known['pitch']], 1)[rows]
        self.block = torch.arange(SEEDS).repeat_interleave(per_seed)
        file = folder / f'other-view-{SEED}-{per_seed}-of-{MANY}.safetensors'
        if not file.exists():
            with atomic_path(file) as part:
                save_file({style: other_view(known['identity'][rows], style) for style in toon.STYLES}, part)
        self.other = load_file(file)


def other_view(identity, style: str) -> torch.Tensor:
    "Heads by cameras of their own."
    camera = toon.sample_camera(len(identity), rng(99))['cam2world']
    pairs = zip(identity.split(32), camera.split(32))
    return torch.cat([toon.render(i, c, toon.FOV, 64, style, geometry=False)['image'] for i, c in pairs]).clamp(-1, 1)


# ---- the measures: each gives one number for every image


def own_rank(queries, gallery) -> torch.Tensor:  # [n, d] both, unit length → [n]
    "For each person, the share of the other people who are less alike than the person's own image: the AUC."
    alike = queries @ gallery.T
    own = alike.diagonal()[:, None]
    beaten = (alike < own).float() + 0.5 * (alike == own).float()
    beaten.fill_diagonal_(0)
    return beaten.sum(1) / (len(alike) - 1)


class Judges:
    "Everything that looks at a result."

    def __init__(self):
        self.net, self.squeeze = toon_network().eval(), SqueezeNet(64).eval()
        self.look = PerceptualLoss('squeezenet')
        self.outside = outside_judge()
        self.train_domain()

    def features(self, images):
        return extract(images.clamp(-1, 1), self.squeeze, checksum=False).features

    @torch.no_grad()
    def train_domain(self, n: int = 400):
        "A logistic regression on SqueezeNet's features: anime against human heads, those that the generators know."
        sets = {'human': toon.ToonHeads(3000, 64, 0, 'human'), 'anime': toon.ready_heads()}
        heads = {style: data.only('image').batch(torch.arange(n))['image'] for style, data in sets.items()}
        x = torch.cat([self.features(to_float(heads[style])) for style in ('human', 'anime')])
        y = torch.arange(2).repeat_interleave(n).float()
        test = torch.arange(2 * n) % 4 == 0
        self.mean, self.std = x[~test].mean(0), x[~test].std(0) + 1e-3
        x = (x - self.mean) / self.std
        self.weight, self.bias = torch.zeros(x.shape[1], requires_grad=True), torch.zeros(1, requires_grad=True)
        fit = torch.optim.LBFGS([self.weight, self.bias], max_iter=60)

        def closure():
            fit.zero_grad()
            with torch.enable_grad():
                logits = x[~test] @ self.weight + self.bias
                loss = F.binary_cross_entropy_with_logits(logits, y[~test]) + 1e-2 * self.weight.square().sum()
                loss.backward()
            return loss

        fit.step(closure)
        right = ((x[test] @ self.weight + self.bias > 0).float() == y[test]).float().mean()
        self.domain_accuracy = round(right.item(), 4)

    def identity(self, images, place=PLACE):
        if self.outside is None:
            return None
        return F.normalize(torch.cat([self.outside(part[place]) for part in images.clamp(-1, 1).split(16)]), dim=1)

    @torch.no_grad()
    def anime(self, images):
        return torch.sigmoid((self.features(images) - self.mean) / self.std @ self.weight + self.bias)

    @torch.no_grad()
    def measure(self, images, people: People, energy=None) -> dict[str, list]:
        images = images.clamp(-1, 1)
        read = self.net(images)
        found = {'identity': own_rank(read['embedding'], self.net(people.other['anime'])['embedding'])}
        found['pose, degrees'] = (read['pose'] - people.pose).abs().mean(1) * 180 / np.pi
        right = {k: (read[k].argmax(1) == people.truth[k]).float() for k in READ}
        found['attributes'] = torch.stack(list(right.values())).mean(0)
        found['anime'] = self.anime(images)
        found['error to truth'] = (images - people.anime).square().mean((1, 2, 3))
        found['look to truth'] = self.look(images, people.anime)
        found['error to input'] = (images - people.human).square().mean((1, 2, 3))
        if energy is not None:
            found['energy'] = energy
        few = torch.cat([torch.nonzero(people.block == s)[:FEW, 0] for s in range(SEEDS)])
        if self.outside is not None:
            seen = self.identity(images[few])
            found['judge, anime'] = own_rank(seen, self.identity(people.other['anime'][few]))
            found['judge, human'] = own_rank(seen, self.identity(people.other['human'][few]))
        return {k: [round(float(v), 5) for v in values] for k, values in (found | right).items()}


def outside_judge():
    "dlib's face network, if it is there."
    tools = Path(os.environ.get('ANIMEGAN_TOOLS') or ROOT.parent / 'shared' / 'tools')
    weights = Path(os.environ.get('ANIMEGAN_WEIGHTS') or '.') / 'face_identity.safetensors'
    if not weights.is_file() or not (tools / 'identity_net.py').is_file():
        return None
    sys.path.insert(0, str(tools))
    from identity_net import IdentityNet

    return IdentityNet(str(weights)).eval().requires_grad_(False)


# ---- the rows of the table


LIKELY = dict(space='p', search=NEAR)
MAIN = [  # name, preset, blocks tuned, changes
    ('freezeg', 'freezeg', 4, {}),
    ('likely', 'likely', 4, {}),
    ('layerwise', 'layerwise', 4, {}),
    *[(f'dial {k}', 'dial', 4, dict(use=k)) for k in (1, 2, 3)],
    *[(f'likely, dial {k}', 'likely', 4, dict(use=k)) for k in (1, 2, 3)],
    ('direct', 'direct', 4, {}),
    ('joined', 'joined', 4, {}),
    ('thesis', 'thesis', 4, {}),
    ('both', 'both', 4, {}),
]
OTHERS = [
    *[(f'freezeg, {n} tuned', 'freezeg', n, {}) for n in (3, 2, 1)],
    *[(f'likely, {n} tuned', 'likely', n, {}) for n in (3, 2, 1)],
    ('likely, no prior', 'likely', 4, dict(search=FREE)),
    *[(f'joined, {n} tuned', 'joined', n, {}) for n in (3, 2)],
    *[(f'direct, {n} tuned', 'direct', n, {}) for n in (3, 2)],
    ('likely, α = 0', 'likely', 4, dict(alpha=0.0)),
    ('likely, α = 1', 'likely', 4, dict(alpha=1.0)),
    ('direct, likely', 'direct', 4, LIKELY),
    ('thesis, likely', 'thesis', 4, LIKELY),
    ('likely, colours first', 'likely', 4, dict(stylise=True)),
    ('thesis, use 2', 'thesis', 4, dict(use=2)),
    ('thesis, use 3', 'thesis', 4, dict(use=3)),
    ('freezeg, w+ with prior', 'freezeg', 4, dict(space='w+', search=replace(PROJECTOR, prior=0.02))),
    ('freezeg, w+', 'freezeg', 4, dict(space='w+', search=PROJECTOR)),
    ('freezeg, w', 'freezeg', 4, dict(space='w', search=PROJECTOR)),
    ('freezeg, α = 0', 'freezeg', 4, dict(alpha=0.0)),
    ('freezeg, α = 1', 'freezeg', 4, dict(alpha=1.0)),
    ('direct, w', 'direct', 4, dict(space='w', search=PROJECTOR)),
]


PICTURED = [
    'the input',
    'freezeg',
    'dial 1',
    'dial 2',
    'direct',
    'joined',
    'thesis',
    'both',
    'likely',
    'likely, dial 2',
    'layerwise',
]
PICTURED += ['the true anime face']


def trivial(people: People, fin) -> dict[str, torch.Tensor]:
    "Answers that need no method."
    train = to_float(toon.ready_heads().batch(torch.arange(3000))['image'])
    gaps = torch.cdist(people.human.flatten(1), train.flatten(1))
    with torch.no_grad():
        sample = fin(torch.randn(len(people.human), fin.z_dim, generator=rng(5)))
    return {
        'the true anime face': people.anime,
        'the input': people.human,
        'the mean anime head': train.mean(0).expand_as(people.human),
        'the nearest training head': train[gaps.argmin(1)],
        'the colours of anime': crossdomain.match_colours(people.human, train[:500]),
        'any sample of g_fin': sample,
        **{f'the true anime face, {n} pixels wide': softer(people.anime, n) for n in (48, 32)},
    }


def softer(images: torch.Tensor, size: int) -> torch.Tensor:
    "Shrunk to so many pixels, and enlarged again: only the details are lost."
    small = F.interpolate(images, (size, size), mode='bicubic', antialias=True)
    return F.interpolate(small, images.shape[-2:], mode='bicubic').clamp(-1, 1)


def drawn(row, people: People, g, fins: dict, remember: Remembered, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    "Images and energies of one row: every block of people has a seed of its own."
    _, preset, tuned, changes = row
    changes = dict(changes)
    train = to_float(toon.ready_heads().batch(torch.arange(500))['image'])
    if changes.pop('stylise', False):
        changes['stylise'] = lambda x: crossdomain.match_colours(x, train).clamp(-1, 1)
    options = dict(steps=steps, progress=False, reverse=remember) | changes
    parts = [
        crossdomain.animefy(people.human[people.block == s], g, fins[tuned], preset, seed=s, **options)
        for s in range(SEEDS)
    ]
    return torch.cat([p.image for p in parts]), torch.cat([p.energy for p in parts])


def summary(values: dict[str, list]) -> dict[str, list]:
    "The mean over all, and half the interval over the seeds."
    found = {}
    for name, each in values.items():
        each = np.array(each)
        blocks = np.array_split(each, SEEDS)  # images stand seed after seed
        means = [part.mean() for part in blocks]
        found[name] = [round(float(np.mean(means)), 4), round(interval(means)[1], 4)]
    return found


# ---- verdicts


CLAIMS = {  # claim: (row, other row, measure, the sign that the claim expects of row − other)
    'the fewer fine-tuned blocks are used, the closer to the input': [
        *[(f'dial {k + 1}', f'dial {k}', 'error to input', 1) for k in (1, 2)],
        ('freezeg', 'dial 3', 'error to input', 1),
    ],
    'joined latents work when enough blocks are tuned': [
        ('joined', 'joined, 3 tuned', 'anime', 1),
        ('joined', 'joined, 2 tuned', 'anime', 1),
        ('joined', 'joined, 2 tuned', 'identity', 1),
        ('joined', 'freezeg', 'identity', 1),
    ],
    'a prior keeps likeness and domain': [
        ('likely', 'likely, no prior', 'anime', 1),
        ('likely', 'likely, no prior', 'identity', 1),
    ],
    'use K is a dial: more blocks, more anime': [
        *[(f'dial {k + 1}', f'dial {k}', 'anime', 1) for k in (1, 2)],
        ('freezeg', 'dial 3', 'anime', 1),
    ],
    'likely is better than the thesis': [
        ('likely', 'thesis', 'identity', 1),
        ('likely', 'thesis', 'anime', 1),
        ('likely', 'thesis', 'error to truth', -1),
    ],
    'likely is better than freezeg': [
        ('likely', 'freezeg', 'identity', 1),
        ('likely', 'freezeg', 'anime', 1),
        ('likely', 'freezeg', 'error to truth', -1),
    ],
    'layerwise is better than likely': [
        ('layerwise', 'likely', 'identity', 1),
        ('layerwise', 'likely', 'anime', 1),
        ('layerwise', 'likely', 'error to truth', -1),
    ],
}
# claims that the first people of every seed suggested: tested on the others alone
SUGGESTED = {'layerwise is better than likely': FEW}


def common(a: list, b: list, skip: int = 0) -> tuple[np.ndarray, np.ndarray]:
    "The values of the people that two rows share: the first of every seed, without the first `skip`."
    parts = [np.array_split(np.array(x), SEEDS) for x in (a, b)]
    n = min(len(part) for side in parts for part in side)
    return tuple(np.concatenate([part[skip:n] for part in side]) for side in parts)


def verdicts(values: dict[str, dict]) -> list[dict]:
    "Paired tests over people, corrected by Holm over all comparisons."
    rows = []
    for claim, comparisons in CLAIMS.items():
        for row, other, measure, sign in comparisons:
            if row not in values or other not in values:
                continue
            a, b = common(values[row][measure], values[other][measure], SUGGESTED.get(claim, 0))
            gap = a - b
            if len(gap) < 2:
                continue
            p = float(stats.ttest_rel(a, b).pvalue) if gap.std() > 0 else 1.0
            half = interval(gap)[1]
            rows.append(dict(claim=claim, row=row, other=other, measure=measure, expected=sign, people=len(gap), p=p))
            rows[-1] |= dict(difference=[round(float(gap.mean()), 5), round(half, 5)])
            visible = 2.8 * gap.std(ddof=1) / len(gap) ** 0.5  # with a power of 0.8 at a level of 0.05
            rows[-1]['visible'] = round(float(visible), 5)
    rows.sort(key=lambda r: r['p'])
    for row, corrected in zip(rows, holm([row['p'] for row in rows])):
        row['holm'], row['p'] = float(f'{corrected:.2g}'), float(f"{row['p']:.2g}")
        right = row['difference'][0] * row['expected'] > 0
        row['verdict'] = 'undecided' if corrected > 0.05 else 'as claimed' if right else 'the opposite'
    return rows


# ---- photographs


def photographs(n: int) -> tuple[torch.Tensor, int] | None:
    "Faces of real people, cut out as the command does, and in how many images no single face was found."
    folder = Path(os.environ.get('ANIMEGAN_DATA') or '.') / 'human_faces_89x109'
    if not folder.is_dir():
        return None
    finder, faces, missed = crossdomain.photo_finder(), [], 0
    for file in sorted(p for p in folder.rglob('*') if p.suffix.lower() in ('.jpg', '.png'))[-n:]:
        try:
            faces.append(crossdomain.portrait(Image.open(file), 64, finder))
        except ValueError:
            missed += 1
    return torch.cat(faces), missed


def of_photographs(judges: Judges, g, fins, remember: Remembered, steps: int, n: int) -> dict:
    "Numbers only: these people may not be shown."
    found = photographs(n)
    if found is None:
        return {}
    faces, missed = found
    facts, each = dict(photographs=len(faces) + missed, one_face_found=len(faces), rows={}), {}
    seen = judges.identity(faces)
    facts['baselines'] = of_blurs(judges, faces)
    prior = latent_prior(g)
    for name in ('freezeg', 'likely', 'layerwise', 'thesis'):
        done = crossdomain.animefy(faces, g, fins[4], name, steps=steps, progress=False, reverse=remember)
        back, image = done.found['g'].image.clamp(-1, 1), done.image.clamp(-1, 1)
        row = dict(anime=judges.anime(image), energy=prior.energy(done.found['g'].ws))
        row['error of g to the photograph'] = (back - faces).square().mean((1, 2, 3))
        if seen is not None:
            row['judge: g'] = own_rank(judges.identity(back), seen)
            row['judge: anime'] = own_rank(judges.identity(image), seen)
        each[name] = {k: v.detach().numpy() for k, v in row.items()}
        facts['rows'][name] = {k: [round(float(x), 4) for x in interval(v)] for k, v in each[name].items()}
    return facts | dict(differences=differences(each))


def of_blurs(judges: Judges, faces: torch.Tensor) -> dict[str, dict]:
    "The photograph itself as the answer, and only its coarse colours: without any generator."
    answers = {'the photograph': faces} | {f'the photograph, {n} pixels wide': softer(faces, n) for n in (16, 12, 8)}
    rows, seen = {}, judges.identity(faces)
    for name, image in answers.items():
        row = {'anime': judges.anime(image), 'error of g to the photograph': (image - faces).square().mean((1, 2, 3))}
        if seen is not None:
            row['judge: g'] = row['judge: anime'] = own_rank(judges.identity(image), seen)
        rows[name] = {k: [round(float(x), 4) for x in interval(v.numpy())] for k, v in row.items()}
    return rows


def differences(each: dict[str, dict]) -> list[dict]:
    "Every two ways over the same photographs: paired tests, corrected by Holm."
    rows = []
    for a, b in combinations(each, 2):
        for measure in [m for m in ('anime', 'judge: anime') if m in each[a]]:
            gap = each[a][measure] - each[b][measure]
            rows.append(dict(row=a, other=b, measure=measure, p=float(stats.ttest_1samp(gap, 0).pvalue)))
            rows[-1]['difference'] = [round(float(x), 4) for x in interval(gap)]
    for row, corrected in zip(rows, holm([row['p'] for row in rows])):
        row['holm'], row['p'] = float(f'{corrected:.2g}'), float(f"{row['p']:.2g}")
    return rows


# ---- all of it


def timings():
    "Processor time of one step of a search, for one image and for images of a batch."
    g, _ = pretrained_stylegan('stylegan_toon_64')
    for n in (1, 8, 48):
        target = torch.rand(n, 3, 64, 64) * 2 - 1
        start = time.process_time()
        invert(g, target, 'z', steps=5, search=THESIS, progress=False)
        print(f'{n:3} at once: {(time.process_time() - start) / 5 / n * 1e3:6.1f} ms a step and image')


def sheet(images: dict[str, torch.Tensor], people: People):
    "The first two people of every seed in the main rows, as an image for the chapter."
    few = torch.cat([torch.nonzero(people.block == s)[:2, 0] for s in range(SEEDS)])
    rows = torch.cat([images[name][few] for name in PICTURED]).clamp(-1, 1)
    with atomic_path(OUT.with_suffix('.jpg')) as part:
        grid(rows, len(few)).save(part, quality=93, subsampling=0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--people', type=int, default=MANY, help='of each of 3 seeds, in the main rows')
    parser.add_argument('--steps', type=int, default=STEPS, help='of each search')
    parser.add_argument('--rows', type=int, default=99, help='how many of the other rows, in their order')
    parser.add_argument('--photographs', type=int, default=48, help='how many of them')
    parser.add_argument('--runs', default='', help='the folder with the runs fin1, fin2 and fin3')
    parser.add_argument('--time', action='store_true', help='only the cost of a step')
    return parser.parse_args()


def main():
    args = parse()
    torch.set_num_threads(1)
    if args.time:
        timings()
        return
    folder = cache_dir('crossdomain')
    g, fins = network('stylegan_toon_human_64'), {4: network('stylegan_toon_fin4')}
    for n in (1, 2, 3):
        if (run := Path(args.runs or '.') / f'fin{n}').is_dir():
            fins[n] = network(str(run))
    remember, judges, values, images = Remembered(folder), Judges(), {}, {}
    many, few = People(folder, args.people), People(folder, min(FEW, args.people))
    for name, answer in trivial(many, fins[4]).items():
        images[name], values[name] = answer, judges.measure(answer, many)
    rows = [(row, many) for row in MAIN] + [(row, few) for row in OTHERS[: args.rows]]
    rows = [(row, people) for row, people in rows if row[2] in fins]
    for row, people in tqdm(rows, desc='rows', unit='row'):
        image, energy = drawn(row, people, g, fins, remember, args.steps)
        images[row[0]], values[row[0]] = image, judges.measure(image, people, energy)
    of_people = of_photographs(judges, g, fins, remember, args.steps, args.photographs)
    write(args, values, judges, (g, fins), of_people)
    sheet(images, many)
    if remember.steps:
        print(f'{remember.seconds / remember.steps * 1e3:.1f} ms of processor time a step and image')


def write(args, values, judges, networks, photographs: dict):
    "Everything measured."
    table = {name: summary({k: v for k, v in each.items() if k not in READ}) for name, each in values.items()}
    attributes = {name: {k: round(float(np.mean(each[k])), 3) for k in READ} for name, each in values.items()}
    people = {name: len(each['anime']) for name, each in values.items()}
    facts = dict(
        command='python benchmarks/crossdomain.py', people_of_a_seed=args.people, steps=args.steps, seeds=SEEDS
    )
    facts |= dict(networks=dict(g=digest(networks[0])) | {f'g_fin{n}': digest(f) for n, f in networks[1].items()})
    facts |= dict(domain_accuracy=judges.domain_accuracy, people=people, rows=table, attributes=attributes)
    facts |= dict(verdicts=verdicts(values), photographs=photographs, pictured=PICTURED)
    write_atomically(OUT, json.dumps(facts, indent=1, ensure_ascii=False) + '\n')


if __name__ == '__main__':
    main()
