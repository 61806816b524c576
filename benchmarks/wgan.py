"""Liu's experiment (2020, tables 3.1 and 3.2): DCGAN, WGAN and WGAN-GP on the same networks, images, steps and time.

    python benchmarks/wgan.py
        # all data sets that are here, 32 px, 3 seeds; prints the tables
    python benchmarks/wgan.py --preset liu-128
        # the thesis's size on a GPU: 128 px, batch 64, 4,000 and 20,000 iterations
    python benchmarks/wgan.py --data toon --seeds 5
        # only the library's own heads, more seeds
    python benchmarks/wgan.py --pilot 2e-4,1e-3
        # how the preset's learning rates were chosen: each rate, seed 0, one data set
    python benchmarks/wgan.py
        --tables # print what is stored, train nothing

Data sets: `toon` ships with the library; `human` and `anime` are the folders human_faces_89x109 and anime_faces_native
(at 128 px and above anime_faces_256) of ANIMEGAN_DATA, and are left out, saying so, where they are not. A stopped
command goes on where it was: every finished run is one file in --runs, an unfinished one continues from its last
checkpoint. Stored in data/results: numbers, and images drawn by the generators.
"""

import argparse
import json
import os
import statistics
import sys
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from animegan_nb import metrics, toon
from animegan_nb.core import grid, seed_everything, to_uint8, write_atomically
from animegan_nb.data import ImageFolder, ImageSet
from animegan_nb.dcgan import DCGANConfig
from animegan_nb.metrics import interval
from animegan_nb.training import Callback, Trainer, TrainingConfig, build_pair
from animegan_nb.callbacks import Checkpoints, Clock
from animegan_nb.wgan import WGANConfig

ROOT = Path(__file__).resolve().parent.parent
METHODS = {'dcgan': 'DCGAN', 'wgan': 'WGAN', 'wgan-gp': 'WGAN-GP'}
SETS = {'human': 'human_faces_89x109', 'anime': 'anime_faces_native', 'toon': 'the 3,000 heads of the library'}


@dataclass(frozen=True)
class Preset:
    "The size of the experiment. `looks` are the steps at which a run is measured; the last is its end."

    size: int
    channels: int
    batch: int
    rates: dict
    looks: dict
    n: int  # images on each side of a distance
    equal: int  # the step at which all are compared; the last looks take equal time


PRESETS = {
    'cpu': Preset(
        32,
        32,
        32,
        {'dcgan': 2e-4, 'wgan': 1e-3, 'wgan-gp': 1e-3},
        {'dcgan': (640, 3600), 'wgan': (640, 1200), 'wgan-gp': (320, 640)},
        750,
        640,
    ),
    'tiny': Preset(
        32, 8, 16, dict.fromkeys(METHODS, 1e-3), {'dcgan': (4, 12), 'wgan': (4, 6), 'wgan-gp': (2, 4)}, 64, 4
    ),
    'liu-64': Preset(64, 512, 64, dict.fromkeys(METHODS, 2e-4), dict.fromkeys(METHODS, (4_000, 20_000)), 750, 4_000),
    'liu-128': Preset(128, 512, 64, dict.fromkeys(METHODS, 2e-4), dict.fromkeys(METHODS, (4_000, 20_000)), 750, 4_000),
}


@lru_cache
def images(name: str, size: int) -> ImageSet | None:
    "A data set at `size` pixels; None, with a sentence, where it is not here."
    if name == 'toon':
        heads = toon.ready_heads() if size <= 64 else toon.ToonHeads(n=3000, size=size, seed=0)
        return heads.only('image').resized(size)
    base = os.environ.get('ANIMEGAN_DATA')
    folder = Path(base or '.') / ('anime_faces_256' if name == 'anime' and size >= 128 else SETS[name])
    if not base or not folder.is_dir():
        print(f'{name}: left out, because its folder {folder.name} is not in ANIMEGAN_DATA.')
        return None
    return ImageFolder(folder, size, progress=False)


def recipe(method: str, preset: Preset, seed: int):
    "Model name, network and training of one contender."
    size, rate = dict(size=preset.size, channels=preset.channels), preset.rates[method]
    training = TrainingConfig(batch_size=preset.batch, generator_lr=rate, discriminator_lr=rate, seed=seed)
    if method == 'dcgan':
        return 'dcgan', DCGANConfig(**size), training
    if method == 'wgan':
        return (
            'wgan',
            WGANConfig(**size, clip=0.01, penalty=0.0, norm='batch'),
            replace(training, optimizer='rmsprop', n_critic=5),
        )
    return (
        'wgan',
        WGANConfig(**size),
        replace(training, generator_betas=(0.0, 0.9), discriminator_betas=(0.0, 0.9), n_critic=5),
    )


def training_seconds(clock: Clock, device) -> float:
    "Processor seconds of the training alone (on a GPU: seconds)."
    return clock.seconds if torch.device(device).type == 'cuda' else clock.processor_seconds


class Looks(Callback):
    "At certain steps: numbers against the real images, and some images. Its own time does not count."

    order = 5

    def __init__(self, preset, method, real, clock, n_shown=32):
        self.preset, self.steps, self.real, self.clock, self.n_shown, self.found = (
            preset,
            preset.looks[method],
            real,
            clock,
            n_shown,
            {},
        )

    def on_step(self, trainer, record):
        if trainer.step in self.steps:
            drawn = to_uint8(trainer.sample(self.preset.n, seed=77))
            numbers = {
                name: metrics.measure(reference, metrics.extract(drawn, name, device=trainer.device))
                for name, (reference, _) in self.real.items()
            }
            self.found[str(trainer.step)] = {
                'step': trainer.step,
                'seconds': training_seconds(self.clock, trainer.device),
                'images': trainer.images,
                'numbers': numbers,
                'losses': {
                    k: v
                    for k, v in record.items()
                    if k in ('discriminator_loss', 'generator_loss', 'estimate', 'penalty')
                },
                'shown': drawn[: self.n_shown],
            }
        self.clock.restart()

    def state(self):
        return {'found': self.found}

    def load(self, state):
        self.found = state['found']


@lru_cache
def references(name: str, size: int, n: int) -> dict:
    "For each extractor: the features of n real images, and what other n real ones score (4 cuts)."
    faces, found = images(name, size), {}
    n = min(n, len(faces) // 2)
    for extractor in extractors():
        seen = metrics.extract(faces, extractor)
        cuts = [metrics.measure(*metrics._halves(seen, n, seed)) for seed in range(4)]
        found[extractor] = metrics._halves(seen, n, 0)[0], {m: statistics.mean(c[m] for c in cuts) for m in cuts[0]}
    return found


@lru_cache
def extractors() -> tuple[str, ...]:
    "SqueezeNet where its weights are, pixels always."
    try:
        metrics.find_extractor('squeezenet')
    except FileNotFoundError as error:
        print(error)
        return ('pixels',)
    return 'squeezenet', 'pixels'


def run(data: str, method: str, seed: int, preset_name: str, preset: Preset, folder: Path, device) -> dict:
    "One training, finished, continued or read from its file."
    name = f'{data}-{method}-{seed}'
    done = folder / f'{name}.json'
    if done.exists():
        return json.loads(done.read_text())
    seed_everything(seed)
    model, network, training = recipe(method, preset, seed)
    clock = Clock()
    looks = Looks(preset, method, references(data, preset.size, preset.n), clock)
    trainer = Trainer(
        build_pair(model, network),
        images(data, preset.size),
        training,
        [clock, looks, Checkpoints(folder / name, every=max(100, preset.looks[method][-1] // 10), keep=1)],
        device=device,
        recipe={'model': model, 'network': asdict(network)},
    )
    trainer.resume(folder / name).fit(until=preset.looks[method][-1], progress=sys.stderr.isatty())
    found = list(looks.found.values())
    for look in found:
        grid(look.pop('shown'), 8).save(folder / f'{name}-{look["step"]}.png')
    result = dict(
        data=data,
        method=method,
        seed=seed,
        preset=preset_name,
        network=asdict(network),
        training=asdict(training),
        looks=found,
        device=str(device),
    )
    write_atomically(done, json.dumps(result))
    print(
        f'{name}: {found[-1]["seconds"]:.0f} s, '
        + ', '.join(f'{k["step"]}: {k["numbers"][extractors()[0]]["frechet"]:.0f}' for k in found),
        flush=True,
    )
    return result


def summary(results: list[dict], preset: Preset) -> list[dict]:
    "One row for each data set, method, step and extractor: mean, interval and each seed's value."
    rows = []
    for data in SETS:
        for method in METHODS:
            mine = [r for r in results if (r['data'], r['method']) == (data, method)]
            for i, look in enumerate(mine[0]['looks'] if mine else ()):
                for extractor in look['numbers']:
                    values = {
                        m: [r['looks'][i]['numbers'][extractor][m] for r in mine]
                        for m in ('frechet', 'kernel', 'precision', 'recall', 'diversity')
                    }
                    rows.append(
                        dict(
                            data=data,
                            method=method,
                            step=look['step'],
                            seconds=statistics.mean(r['looks'][i]['seconds'] for r in mine),
                            extractor=extractor,
                            last=look is mine[0]['looks'][-1],
                            values=values,
                            seeds=[r['seed'] for r in mine],
                        )
                    )
    return rows


def print_tables(rows: list[dict], floors: dict, preset: Preset):
    "Tables 3.1 and 3.2 twice: after equally many steps, and after equal time."
    for extractor in dict.fromkeys(r['extractor'] for r in rows):
        for data in dict.fromkeys(r['data'] for r in rows):
            print(
                f'\n{data}, {preset.size} px, Fréchet distance on {extractor}; real against real'
                f' {floors[data][extractor]["frechet"]:.4g}'
            )
            print(f'{"":10}{"":16}{"seconds":>9}{"steps":>8}{"distance":>12}{"± 95 %":>10}   seeds')
            for title, chosen in (
                ('equal steps', lambda r: r['step'] == preset.equal),
                ('equal time', lambda r: r['last']),
            ):
                for r in rows:
                    if (r['data'], r['extractor']) != (data, extractor) or not chosen(r):
                        continue
                    mean, half = interval(r['values']['frechet'])
                    seeds = ' '.join(f'{v:.4g}' for v in r['values']['frechet'])
                    row = f'{METHODS[r["method"]]:10}{title:16}{r["seconds"]:9.1f}{r["step"]:8}'
                    print(f'{row}{mean:12.4g}{half:10.3g}   {seeds}')


def pilot(rates: list[float], data: str, preset_name: str, preset: Preset, folder: Path, out: Path, device):
    """The distance of each method at each learning rate, after equal steps and equal time, for a seed that the tables
    do not use."""
    rows = []
    for rate in rates:
        for method in METHODS:
            (place := folder / f'pilot-{rate:g}').mkdir(parents=True, exist_ok=True)
            looks = run(
                data, method, 0, preset_name, replace(preset, rates=dict.fromkeys(METHODS, rate)), place, device
            )['looks']
            for look in looks:
                if look['step'] == preset.equal or look is looks[-1]:
                    rows.append(
                        dict(
                            method=method,
                            rate=rate,
                            step=look['step'],
                            last=look is looks[-1],
                            seconds=look['seconds'],
                            **{e: v['frechet'] for e, v in look['numbers'].items()},
                        )
                    )
            print(
                '  '.join(f'{k} {v:.4g}' if isinstance(v, float) else f'{k} {v}' for k, v in rows[-1].items()),
                flush=True,
            )
    store(
        out,
        {
            'command': (
                f'python benchmarks/wgan.py --preset {preset_name} --pilot {",".join(f"{r:g}" for r in rates)} --data'
                f' {data}'
            ),
            'seed': 0,
            'rows': rows,
        },
    )


def store(path: Path, facts: dict):
    short = json.loads(json.dumps(facts), parse_float=lambda s: float(f'{float(s):.6g}'))
    write_atomically(path, json.dumps(short, indent=1) + '\n')


def sheet(folder: Path, data: str, preset: Preset, seed: int = 1, columns: int = 12) -> Image.Image:
    "The end of each method in one image: a row for each."

    def drawn(method):
        whole = torch.from_numpy(
            np.array(Image.open(folder / f'{data}-{method}-{seed}-{preset.looks[method][-1]}.png').convert('RGB'))
        ).permute(2, 0, 1)
        side = preset.size + 2
        return [
            whole[:, i // 8 * side : i // 8 * side + preset.size, i % 8 * side : i % 8 * side + preset.size]
            for i in range(columns)
        ]

    return grid(torch.stack([image for method in METHODS for image in drawn(method)]), columns)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--preset', default='cpu', choices=PRESETS)
    p.add_argument('--data', default='human,anime,toon')
    p.add_argument('--methods', default=','.join(METHODS))
    p.add_argument('--seeds', type=int, default=3)
    p.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    p.add_argument('--runs', type=Path, default=ROOT / '_out' / 'wgan')
    p.add_argument('--out', type=Path, default=ROOT / 'data' / 'results' / 'wgan')
    p.add_argument('--tables', action='store_true')
    p.add_argument('--pilot', default='', help='learning rates to try')
    a = p.parse_args()
    preset, out = PRESETS[a.preset], a.out.with_name(f'{a.out.name}_{a.preset}.json')
    if a.tables:
        stored = json.loads(out.read_text())
        return print_tables(stored['rows'], stored['floors'], preset)
    if a.device == 'cpu':
        torch.set_num_threads(int(os.environ.get('OMP_NUM_THREADS', 1)))
    names = [name for name in a.data.split(',') if images(name, preset.size) is not None]
    folder = a.runs / a.preset
    folder.mkdir(parents=True, exist_ok=True)
    if a.pilot:
        return pilot(
            [float(r) for r in a.pilot.split(',')],
            names[0],
            a.preset,
            preset,
            folder,
            out.with_name(f'{a.out.name}_pilot.json'),
            a.device,
        )
    # seed 0 chose the learning rates; the tables start at 1
    results = [
        run(data, method, seed, a.preset, preset, folder, a.device)
        for data in names
        for seed in range(1, a.seeds + 1)
        for method in a.methods.split(',')
    ]
    rows = summary(results, preset)
    floors = {name: {e: floor for e, (_, floor) in references(name, preset.size, preset.n).items()} for name in names}
    facts = {
        'command': f'python benchmarks/wgan.py --preset {a.preset} --data {a.data} --seeds {a.seeds}',
        'preset': {k: v for k, v in asdict(preset).items()},
        'sets': {name: {'source': SETS[name], 'pictures': len(images(name, preset.size))} for name in names},
        'rows': rows,
        'floors': floors,
        'protocol': (
            f'{preset.n} drawn against {preset.n} real images of the training set; floor: disjoint halves of as many,'
            ' 4 cuts; seconds: processor time of the training alone, one thread'
        ),
        'cards': {
            e: {'weights_sha256': metrics.find_extractor(e).weights, 'resize': metrics.find_extractor(e).resize}
            for e in extractors()
        },
        'device': a.device,
        'torch': torch.__version__,
    }
    store(out, facts)
    if set(a.methods.split(',')) == set(METHODS):
        for name in names:
            sheet(folder, name, preset).save(out.with_name(f'{out.stem}_{name}.jpg'), quality=88, subsampling=0)
    print_tables(rows, floors, preset)


if __name__ == '__main__':
    main()
