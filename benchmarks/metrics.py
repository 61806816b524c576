"""Metrics on real images, and their cost.

    python benchmarks/metrics.py
        # ratios: one pass and all metrics, against torch-fidelity's calls one after another
    python benchmarks/metrics.py
        --evaluate # processor time of evaluate, and its ratio to resampling the points themselves
    python benchmarks/metrics.py
        --table33 # Liu's table 3.3, repeated with a floor, several extractors and seeds
    python benchmarks/metrics.py
        --ladder # every metric for every corruption, on real anime faces

The two tables read the folders named by ANIMEGAN_DATA and ANIMEGAN_WEIGHTS and store numbers only, no images.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch

from animegan_nb import core
from animegan_nb import metrics
from animegan_nb.core import rng
from animegan_nb.data import ImageFolder

ROOT = Path(__file__).resolve().parent.parent


def data_folder() -> Path:
    folder = os.environ.get('ANIMEGAN_DATA')
    if not folder or not Path(folder).is_dir():
        sys.exit('The real images are not here: set ANIMEGAN_DATA to their folder.')
    return Path(folder)


def save(path: Path, result: dict):
    core.write_atomically(path, json.dumps(result, indent=1) + '\n')
    print('stored', path.name)


def rounded(table, digits=6):
    return json.loads(json.dumps(table), parse_float=lambda s: float(f'{float(s):.{digits}g}'))


def join(*parts: metrics.Features) -> metrics.Features:
    first = parts[0]
    return metrics.Features(
        torch.cat([p.features for p in parts]),
        None if first.logits is None else torch.cat([p.logits for p in parts]),
        first.extractor,
        first.weights,
        first.resize,
        first.size,
        '+'.join(p.images[:16] for p in parts),
    )


def table33(out: Path, extractors: list[str], seeds: int, size: int):
    "Liu (2020), table 3.3: real against real at 64 and more images, anime against human faces."
    folder, rows = data_folder(), []
    sets = {
        'anime': ['anime_faces_native', 'anime_faces_256'],
        'TV anime': ['anime_faces_256'],
        'Kaggle anime': ['anime_faces_native'],
        'human': ['human_faces_89x109'],
    }
    images = {name: ImageFolder(folder / name, size) for names in sets.values() for name in names}
    cards = {}
    for extractor in extractors:
        start, features = time.time(), {}
        for name, ds in images.items():
            features[name] = metrics.extract(ds, extractor, progress=True)
        whole = {label: join(*(features[name] for name in names)) for label, names in sets.items()}
        card = whole['anime']
        cards[extractor] = dict(
            weights_sha256=card.weights,
            resize=card.resize,
            size=size,
            seeds=list(range(seeds)),
            torch=torch.__version__,
            pictures={name: s.images for name, s in features.items()},
            counts={name: len(s) for name, s in features.items()},
            dtype='float32 features, float64 metrics',
        )
        pairs = [
            ('human', 'human', (64, 300, 750)),
            ('anime', 'anime', (64, 300, 750, 945)),
            ('Kaggle anime', 'TV anime', (64, 300, 600)),
            ('human', 'anime', (64, 300, 750, 945)),
        ]
        for a, b, counts in pairs:
            for n in counts:
                values = []
                for seed in range(seeds):
                    if a == b:
                        x, y = metrics._halves(whole[a], n, seed)
                    else:
                        x, y = (whole[k].rows(torch.randperm(len(whole[k]), generator=rng(seed))[:n]) for k in (a, b))
                    values.append(metrics.measure(x, y))
                row = {m: [v[m] for v in values] for m in values[0]}
                rows.append(dict(extractor=extractor, a=a, b=b, n=n, **row))
                f = row['frechet']
                print(
                    f'{extractor:12} {a:12} {b:12} n={n:4}  frechet {np.mean(f):10.2f} ± {np.std(f, ddof=1):8.2f}  '
                    f' kernel {np.mean(row["kernel"]):.4g}',
                    flush=True,
                )
        print(f'{extractor}: {time.time() - start:.0f} s')
    save(
        out,
        rounded(
            dict(
                command=f'python benchmarks/metrics.py --table33 --seeds {seeds} --size {size}',
                source='Liu (2020), table 3.3',
                rows=rows,
                cards=cards,
            )
        ),
    )


def ladder(out: Path, extractor: str, size: int):
    ds = ImageFolder(data_folder() / 'anime_faces_native', size)
    images = ds.batch(np.arange(len(ds)))['image']
    table = metrics.ladder(images, extractor, progress=True)
    half = len(images) // 2
    shares = {name: metrics.CORRUPTIONS[name][1] for name in ('dropped mode', 'fewer images')}
    counts = {name: [len(metrics.keep_some(images[:half], s)) for s in row] for name, row in shares.items()}
    network = metrics.find_extractor(extractor)
    card = metrics.Card(
        network.name, network.weights, half, half, size, network.resize, 0, 'anime_faces_native', 'animegan_nb'
    )
    save(
        out,
        rounded(
            dict(
                command=f'python benchmarks/metrics.py --ladder --size {size}',
                data=f'{len(images)} anime faces at {size} px',
                table=table,
                fewer_fakes=counts,  # every other row has as many as the card says
                card=metrics.asdict(card),
            )
        ),
    )


def seconds(function, repeats=3) -> float:
    best = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        best.append(time.perf_counter() - start)
    return float(np.median(best))


def speed(n: int, extractor: str):
    "One pass and all metrics here, against torch-fidelity's public calls (one metric a call, and all in one call)."
    from torch_fidelity import calculate_metrics

    images = [torch.randint(0, 256, (n, 3, 64, 64), dtype=torch.uint8, generator=rng(k)) for k in (0, 1)]
    look = metrics.find_extractor(extractor)
    name = metrics.register_with_fidelity(f'bench-{look.name}', lambda rows: look(core.to_float(rows)))
    common = dict(
        input1=metrics.Rows(images[0]),
        input2=metrics.Rows(images[1]),
        feature_extractor=name,
        cuda=False,
        cache=False,
        verbose=False,
        save_cpu_ram=True,
        batch_size=32,
        kid_subset_size=n,
        kid_subsets=1,
    )
    kinds = ['fid', 'kid', 'prc'] + (['isc'] if extractor != 'pixels' else [])
    common |= dict(isc_splits=1)
    with torch.inference_mode():
        ours = seconds(lambda: metrics.measure(*(metrics.extract(p, extractor, device='cpu') for p in images)))
        single = seconds(lambda: [calculate_metrics(**common, **{kind: True}) for kind in kinds])
        together = seconds(lambda: calculate_metrics(**common, **dict.fromkeys(kinds, True)))
        seen = [metrics.extract(p, extractor, device='cpu') for p in images]
        formulas = seconds(lambda: metrics.measure(*seen))
        theirs = seconds(lambda: metrics.fidelity(*seen))
    print(f'{n} against {n} images of 64 px, extractor {extractor}, {torch.get_num_threads()} thread(s), median of 3')
    print(f'torch-fidelity, one metric a call   1.00   ({single:.2f} s)')
    print(f'torch-fidelity, all in one call     {single / together:.2f}x faster   ({together:.2f} s)')
    print(f'animegan_nb, one pass, all metrics  {single / ours:.2f}x faster   ({ours:.2f} s)')
    print(
        f'the formulas alone, on features that exist: {theirs / formulas:.2f}x faster than torch-fidelity'
        f' ({formulas:.2f} s against {theirs:.2f} s)'
    )


def resampled(n: int, d: int, seed: int) -> metrics.Features:
    "n points whose variances fall like those of natural features."
    scale = torch.arange(1, d + 1) ** -0.5
    return metrics.Features(torch.randn(n, d, generator=rng(seed)) * scale, None, 'points', 'none', 'none', 1, '')


def direct(real: metrics.Features, fake: metrics.Features, replicates: int, cuts: int) -> list:
    "What `evaluate` computes, from the definitions: every replicate and every cut from its own points."
    generator, n = rng(0), len(fake)
    halves = [metrics._halves(real, n, seed) for seed in range(cuts)]
    draws = [[torch.randint(n, (n,), generator=generator) for _ in range(2)] for _ in range(replicates)]
    kept = [[torch.randperm(n, generator=generator)[: n // 2] for _ in range(2)] for _ in range(replicates)]
    rows = lambda pairs: [(halves[0][0].rows(i), fake.rows(j)) for i, j in pairs]
    whole = [(halves[0][0], fake), *halves]
    means, balls = whole + rows(draws), whole + rows(kept)
    names = [('frechet_distance', means), ('kernel_distance', means), ('diversity', means)]
    names += [('precision_recall', balls), ('density_coverage', balls)]
    return [[getattr(metrics, name)(x.features, y.features) for x, y in sets] for name, sets in names]


def evaluation(counts: list[int], coordinates: list[int], replicates: int = 40, cuts: int = 4):
    "Processor time of `evaluate`, and the ratio for the definitions (measured with fewer replicates, and scaled)."
    few = 3
    for d in coordinates:
        for n in counts:
            real, fake = resampled(2 * n, d, 0), resampled(n, d, 1)
            start = time.process_time()
            metrics.evaluate(fake, real, n=n, replicates=replicates, cuts=cuts, engine='animegan_nb')
            ours, start = time.process_time() - start, time.process_time()
            direct(real, fake, few, cuts)
            theirs = (time.process_time() - start) * (1 + cuts + replicates) / (1 + cuts + few)
            print(f'n = {n:6}, d = {d:5}: {ours:7.1f} s, {theirs / ours:5.1f} times less than set by set', flush=True)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--table33', action='store_true')
    parser.add_argument('--ladder', action='store_true')
    parser.add_argument('--evaluate', action='store_true')
    parser.add_argument('--extractors', default='squeezenet,pixels')
    parser.add_argument('--extractor', default='squeezenet')
    parser.add_argument('--seeds', type=int, default=5)
    parser.add_argument('--size', type=int, default=64)
    parser.add_argument('--n', type=int, default=256)
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    results = ROOT / 'data' / 'results'
    if args.table33:
        table33(args.out or results / 'metrics_table33.json', args.extractors.split(','), args.seeds, args.size)
    elif args.ladder:
        ladder(args.out or results / 'metrics_ladder.json', args.extractor, args.size)
    elif args.evaluate:
        evaluation([300, 1000, 3000], [256, 512, 2048])
    else:
        speed(args.n, args.extractor)
