"""What buys variety at equal processor time? One change at a time against a base, on the drawn heads that ship.

    python benchmarks/modern.py --ablation           # 3 seeds of each way; stopped, it goes on where it was
    python benchmarks/modern.py --ablation --table   # print what is stored, train nothing
    python benchmarks/modern.py --ring               # the ring of Gaussians: six games, equally tuned, 10 seeds each

Each way has the same processor time, so one that computes more for an image sees fewer images. The generators learn
from 2,000 heads at 32 px; the other 1,000 judge. Stored: numbers of every run, and heads that the generators drew.
"""

import argparse
import itertools
import json
import math
import statistics
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from comparisons import pooled, strip
from torch import Tensor

from animegan_nb import metrics
from animegan_nb.callbacks import Checkpoints, Clock
from animegan_nb.core import fast_bfloat16, grid, to_uint8, write_atomically
from animegan_nb.dcgan import DCGAN_LIVE
from animegan_nb.modern import ModernConfig
from animegan_nb.toon import ready_heads
from animegan_nb.training import Recipe, TrainingConfig

ROOT = Path(__file__).resolve().parent.parent
SIZE, DRAWN, SHOWN = 32, 500, 12
EXTRACTORS = ('squeezenet', 'toon', 'pixels')
MEASURED = ('frechet', 'precision', 'recall', 'density', 'coverage', 'diversity')
PRECISION = 'bf16' if fast_bfloat16() else 'no'

_NETWORK = ModernConfig(SIZE, latent=64, pixels=False, deviation=False, paired=False)
_TRAINING = TrainingConfig(
    batch_size=32,
    generator_lr=1e-3,
    discriminator_lr=1e-3,
    generator_betas=(0.0, 0.99),
    discriminator_betas=(0.0, 0.99),
    ema_half_life=1_000,
    mixed_precision=PRECISION,
    channels_last=True,
)
BASE = Recipe('modern', _NETWORK, _TRAINING, 0, 'heads on frozen features, the plain loss with R1 and R2')


def changed(augment='', training=None, **network) -> Recipe:
    "The base with other numbers."
    return replace(
        BASE, network=replace(_NETWORK, **network), training=replace(_TRAINING, **(training or {})), augment=augment
    )


WAYS = {
    'base': ('frozen features alone, the plain loss, R1 and R2', BASE),
    'paired': ('the paired loss', changed(paired=True)),
    'deviation': ('the deviation of the batch', changed(deviation=True)),
    'pixels': ('a head on the pixels, too', changed(pixels=True)),
    'pixels-only': ('a head on the pixels alone', changed(pixels=True, features='')),
    'batch-64': ('batches of 64, not 32', changed(training=dict(batch_size=64))),
    'latent-256': ('256 latent numbers, not 64', changed(latent=256)),
    'slow-d': ("a quarter of the discriminator's rate", changed(training=dict(discriminator_lr=2.5e-4))),
    'diffaugment': ('DiffAugment', changed('diffaugment')),
    'dcgan': (
        'another network: the recipe dcgan-live',
        replace(DCGAN_LIVE, training=replace(DCGAN_LIVE.training, mixed_precision=PRECISION, channels_last=True)),
    ),
}


def train(way: str, seed: int, data, seconds: float, folder: Path):
    "A training of so many processor seconds; stopped, it goes on from its last checkpoint."
    clock = Clock(minutes=seconds / 60, processor=True)
    saves = Checkpoints(folder / f'{way}-{seed}', every=100, keep=1)
    trainer = WAYS[way][1].trainer(data, [clock, saves], device='cpu', seed=seed).resume(folder / f'{way}-{seed}')
    if clock.processor_seconds < seconds:
        trainer.fit(steps=10**6, progress=sys.stderr.isatty())
    return trainer, clock


def numbers(drawn, real: dict, names=EXTRACTORS) -> dict:
    "Every metric of drawn images on each extractor."
    found = {name: metrics.measure(real[name], metrics.extract(drawn, name)) for name in names}
    return {name: {m: values[m] for m in MEASURED} for name, values in found.items()}


def run(way: str, seed: int, heads, judge: dict, seconds: float, folder: Path) -> dict:
    done = folder / f'{way}-{seed}.json'
    if done.exists():
        return json.loads(done.read_text())
    trainer, clock = train(way, seed, heads, seconds, folder)
    drawn, live = (to_uint8(trainer.sample(DRAWN, seed=77, live=live)) for live in (False, True))
    grid(drawn[:SHOWN], SHOWN).save(folder / f'{way}-{seed}.png')
    result = dict(
        way=way,
        seed=seed,
        precision={'bf16': 'bfloat16', 'no': 'float32'}[PRECISION],
        images=trainer.images,
        seconds=clock.processor_seconds,
        drawn=numbers(drawn, judge),
        without_average=numbers(live, judge),
    )
    write_atomically(done, json.dumps(result))
    print(f'{way}-{seed}: {trainer.images} images, {result["drawn"]}', flush=True)
    return result


def ablation(a):
    torch.set_num_threads(1)
    folder = a.runs / 'ablation'
    folder.mkdir(parents=True, exist_ok=True)
    heads = ready_heads().resized(SIZE)
    known, held_out = torch.arange(2000), torch.arange(2000, 3000)
    judge = {name: metrics.extract(heads.batch(held_out)['image'], name) for name in EXTRACTORS}
    floors = [numbers(heads.batch(known[i : i + DRAWN])['image'], judge) for i in range(0, 2000, DRAWN)]
    write_atomically(folder / 'floors.json', json.dumps(floors))
    for seed in range(a.seeds):
        for way in WAYS:
            run(way, seed, heads.subset(known), judge, a.seconds, folder)
    collect(a)


def collect(a):
    "Store and print what has been trained so far: seeds of which every way is there."
    folder = a.runs / 'ablation'
    found = [[folder / f'{way}-{seed}.json' for way in WAYS] for seed in range(a.seeds)]
    results = [json.loads(path.read_text()) for row in found if all(p.exists() for p in row) for path in row]
    seeds = len({r['seed'] for r in results})
    precisions = ' and '.join(sorted({r['precision'] for r in results}))
    stored = {
        'command': f'python benchmarks/modern.py --ablation --seeds {seeds} --seconds {a.seconds:g}',
        'protocol': f'2,000 drawn heads to learn from, {SIZE} px; {DRAWN} images of each generator against 1,000 other'
        f' heads; {a.seconds:g} processor seconds of one thread each, in {precisions}; {seeds} seeds',
        'ways': {way: text for way, (text, _) in WAYS.items()},
        'recipes': {w: dict(network=asdict(r.network), training=asdict(r.training)) for w, (_, r) in WAYS.items()},
        'floors': json.loads((folder / 'floors.json').read_text()),
        'results': results,
        'torch': torch.__version__,
    }
    if seeds > 1:
        stored['verdict'] = verdict(results)
    write_atomically(a.out / 'modern_ablation.json', json.dumps(stored, indent=1) + '\n')
    paths = lambda way: [folder / f'{way}-{seed}.png' for seed in range(seeds)]
    sheet = Image.fromarray(np.concatenate([strip(paths(way), 4) for way in WAYS]))
    sheet.save(a.out / 'modern_ablation.jpg', quality=85)
    print_table(stored)


# what is compared, and how: chosen before the runs that are stored, when half of an earlier seed's runs were known
COMPARED = {'frechet on squeezenet, log': ('squeezenet', 'frechet'), 'recall on pixels': ('pixels', 'recall')}


def verdict(results: list[dict], base: str = 'base') -> dict:
    "Each way, and the base without its average, against the base."
    ways, numbers = list(dict.fromkeys(r['way'] for r in results)), {}
    for name, (extractor, metric) in COMPARED.items():
        change = math.log if metric == 'frechet' else float
        value = lambda r, kind: change(r[kind][extractor][metric])
        groups = {way: [value(r, 'drawn') for r in results if r['way'] == way] for way in ways}
        groups['without average'] = [value(r, 'without_average') for r in results if r['way'] == base]
        numbers[name] = groups
    return pooled(numbers, [(way, base) for way in [*ways, 'without average'] if way != base])


def print_table(stored: dict):
    print(stored['protocol'])
    columns = [(e, m) for e in EXTRACTORS for m in MEASURED]
    print(f'{"":18}{"images":>8}' + ''.join(f'{m[:5] + " " + e[:3]:>11}' for e, m in columns))
    mean = lambda rows, e, m: statistics.mean(row[e][m] for row in rows)
    for way in stored['ways']:
        rows = [r for r in stored['results'] if r['way'] == way]
        found = [mean([r['drawn'] for r in rows], e, m) for e, m in columns]
        print(f'{way:18}{statistics.mean(r["images"] for r in rows):8.0f}' + ''.join(f'{v:11.3f}' for v in found))
    print(f'{"real heads":26}' + ''.join(f'{mean(stored["floors"], e, m):11.3f}' for e, m in columns))
    for row in stored.get('verdict', {}).get('rows', []):
        print(row)


# ---- the ring of Gaussians: many games at once, one in each row of every tensor
MODES, RADIUS, SPREAD, Z, WIDTH = 8, 2.0, 0.05, 16, 64


@dataclass(frozen=True)
class Game:
    "One game on the ring; γ is the weight of the penalties that it has."

    paired: bool
    r1: bool = False
    r2: bool = False
    gamma: float = 0.0
    rate: float = 1e-3  # of the discriminator
    ratio: float = 1.0  # the generator's rate, in discriminator's rates
    seed: int = 0

    @property
    def kind(self) -> str:
        penalties = ' + R1' * self.r1 + ' + R2' * self.r2
        return ('paired' if self.paired else 'plain') + penalties


KINDS = [(paired, r1, r2) for paired in (False, True) for r1, r2 in ((0, 0), (1, 0), (1, 1))]
RATES, RATIOS, GAMMAS = (1e-3, 3e-3), (1.0, 3.0), (0.1, 0.5)


class Networks:
    "Networks with two hidden layers, one for each game, and Adam with a rate for each."

    def __init__(self, sizes, seeds, rates, betas=(0.5, 0.999)):
        sources = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.parameters = []
        for a, b in itertools.pairwise(sizes):
            weights = [torch.randn(a, b, generator=source) * math.sqrt(2 / a) for source in sources]
            self.parameters += [torch.stack(weights), torch.zeros(len(seeds), 1, b)]
        for p in self.parameters:
            p.requires_grad_()
        self.rates, self.betas, self.steps = rates[:, None, None], betas, 0
        self.moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self.parameters]

    def __call__(self, x: Tensor) -> Tensor:  # [games, n, inputs] → [games, n, outputs]
        layers = list(zip(self.parameters[::2], self.parameters[1::2]))
        for weight, bias in layers[:-1]:
            x = F.leaky_relu(torch.baddbmm(bias, x, weight), 0.2)
        return torch.baddbmm(layers[-1][1], x, layers[-1][0])

    def minimise(self, losses: Tensor):
        "One step of Adam; no game's loss depends on another's networks."
        gradients = torch.autograd.grad(losses.sum(), self.parameters)
        self.steps += 1
        (b1, b2), k = self.betas, self.steps
        with torch.no_grad():
            for p, g, (mean, square) in zip(self.parameters, gradients, self.moments):
                mean.lerp_(g, 1 - b1)
                square.lerp_(g.square(), 1 - b2)
                p -= self.rates * (mean / (1 - b1**k)) / ((square / (1 - b2**k)).sqrt() + 1e-8)


def centres() -> Tensor:
    angles = 2 * math.pi * torch.arange(MODES) / MODES
    return RADIUS * torch.stack([angles.cos(), angles.sin()], 1)


def play(games: list[Game], steps: int, batch: int = 64, drawn: int = 1000) -> tuple[Tensor, Tensor, Tensor]:
    """All games at once: how many modes each generator covers [games], the share of its points on one [games], and
    points [games, drawn, 2]."""
    column = lambda name: torch.tensor([float(getattr(g, name)) for g in games])
    rate, gamma, seeds = column('rate'), column('gamma'), [g.seed for g in games]
    generators = Networks((Z, WIDTH, WIDTH, 2), seeds, rate * column('ratio'))
    critics = Networks((2, WIDTH, WIDTH, 1), [seed + 1000 for seed in seeds], rate)
    source, paired = torch.Generator().manual_seed(0), column('paired')[:, None] > 0
    noise = lambda n: torch.randn(len(games), n, Z, generator=source)

    def real():
        which = torch.randint(MODES, (len(games), batch), generator=source)
        return centres()[which] + SPREAD * torch.randn(len(games), batch, 2, generator=source)

    for _ in range(steps):
        x, y = real().requires_grad_(), generators(noise(batch)).detach().requires_grad_()
        dx, dy = critics(x)[..., 0], critics(y)[..., 0]
        losses = torch.where(paired, F.softplus(dy - dx), F.softplus(-dx) + F.softplus(dy)).mean(1)
        slopes = torch.autograd.grad((dx + dy).sum(), (x, y), create_graph=True)
        for name, slope in zip(('r1', 'r2'), slopes):
            losses = losses + column(name) * gamma / 2 * slope.square().sum(2).mean(1)
        critics.minimise(losses)
        dx, dy = critics(real())[..., 0].detach(), critics(generators(noise(batch)))[..., 0]
        generators.minimise(torch.where(paired, F.softplus(dx - dy), F.softplus(-dy)).mean(1))
    with torch.no_grad():
        points = generators(noise(drawn))
    return *covered(points), points


def covered(points: Tensor) -> tuple[Tensor, Tensor]:  # [games, n, 2] → [games], [games]
    "Modes with at least a tenth of their fair share of points within four deviations; the share of such points."
    distance, mode = (points[:, :, None] - centres()).norm(dim=-1).min(2)
    near = distance < 4 * SPREAD
    counts = torch.stack([(near & (mode == k)).sum(1) for k in range(MODES)], 1)
    return (counts >= points.shape[1] / MODES / 10).sum(1), near.float().mean(1)


def ring(a):
    "Tune every kind of game on some seeds, play it with its best numbers on others."
    torch.set_num_threads(1)
    settings, chosen = list(itertools.product(RATES, RATIOS)), []
    tuned = {}
    for paired, r1, r2 in KINDS:
        games = [
            Game(bool(paired), bool(r1), bool(r2), gamma, rate, ratio, 500 + seed)
            for gamma in (GAMMAS if r1 else (0.0,))
            for rate, ratio in settings
            for seed in range(a.seeds)
        ]
        modes, near, _ = play(games, a.steps)
        rows = [
            dict(asdict(games[i]), modes=modes[i : i + a.seeds].tolist(), near=near[i : i + a.seeds].mean().item())
            for i in range(0, len(games), a.seeds)
        ]
        best = max(rows, key=lambda row: (sum(row['modes']), row['near']))
        tuned[games[0].kind] = rows
        chosen.append(Game(**{k: best[k] for k in ('paired', 'r1', 'r2', 'gamma', 'rate', 'ratio')}))
        print(chosen[-1].kind, best, flush=True)
    games = [replace(game, seed=seed) for game in chosen for seed in range(a.final)]
    modes, near, points = play(games, a.steps)
    rows = []
    for k, game in enumerate(chosen):
        mine = slice(k * a.final, (k + 1) * a.final)
        numbers = dict(modes=modes[mine].tolist(), near=[round(v, 4) for v in near[mine].tolist()])
        shown = [[[round(v, 2) for v in p] for p in seed[:150].tolist()] for seed in points[mine][:4]]
        rows.append(dict(asdict(game), kind=game.kind, points=shown, **numbers))
        print(game.kind, numbers, flush=True)
    stored = {
        'command': f'python benchmarks/modern.py --ring --seeds {a.seeds} --final {a.final} --steps {a.steps}',
        'protocol': f'{MODES} Gaussians (deviation {SPREAD}) on a circle of radius {RADIUS:g}; networks with two hidden'
        f' layers of {WIDTH}, {Z} latent numbers, batches of 64, Adam (0.5, 0.999), {a.steps} steps; rates {RATES},'
        f' generator to discriminator {RATIOS}, γ {GAMMAS}: each kind of game with its best of them on {a.seeds} other'
        ' seeds',
        'tuning': tuned,
        'rows': rows,
    }
    write_atomically(a.out / 'modern_ring.json', json.dumps(stored) + '\n')


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--ablation', action='store_true')
    p.add_argument('--ring', action='store_true')
    p.add_argument('--table', action='store_true')
    p.add_argument('--seeds', type=int, default=3)
    p.add_argument('--seconds', type=float, default=120, help='processor seconds of a training')
    p.add_argument('--steps', type=int, default=2000, help='of a game on the ring')
    p.add_argument('--final', type=int, default=10, help='seeds that decide on the ring')
    p.add_argument('--runs', type=Path, default=ROOT / '_out' / 'modern')
    p.add_argument('--out', type=Path, default=ROOT / 'data' / 'results')
    a = p.parse_args()
    if a.ablation:
        return collect(a) if a.table else ablation(a)
    if a.ring:
        return ring(a)
    p.error('--ablation or --ring')


if __name__ == '__main__':
    main()
