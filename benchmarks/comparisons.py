"""Which of many trainings differ? Used by the benchmarks that compare recipes."""

import math
import statistics
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import stats

from animegan_nb import metrics


def pooled(numbers: dict[str, dict[str, list[float]]], pairs: list[tuple[str, str]]) -> dict:
    """Compare pairs of ways by Student's t with the spread of all ways pooled, for each of several numbers, corrected
    by Holm over all comparisons. `numbers` holds, for each number and way, one value a seed. `half` is half a 95 %
    interval, `smallest` the difference that would have been seen by the first of Holm's steps. Pooling assumes that all
    ways spread alike: `spread` holds the smallest and the largest standard deviation, `welch` the p-value of the pair
    with its own two, and `apart` is true if all values of the one way lie beyond all of the other."""
    rows, smallest, spread = [], {}, {}
    for number, groups in numbers.items():
        (seeds,) = {len(values) for values in groups.values()}
        freedom = len(groups) * (seeds - 1)
        error = math.sqrt(2 / seeds * statistics.mean(statistics.variance(values) for values in groups.values()))
        half = stats.t.ppf(0.975, freedom) * error
        deviations = [statistics.stdev(values) for values in groups.values()]
        spread[number] = [min(deviations), max(deviations)]
        for way, base in pairs:
            difference = statistics.mean(groups[way]) - statistics.mean(groups[base])
            p = 2 * stats.t.sf(abs(difference) / error, freedom)
            row = dict(way=way, base=base, number=number, difference=difference, half=half, p=p)
            row['welch'] = float(stats.ttest_ind(groups[way], groups[base], equal_var=False).pvalue)
            low, high = sorted((groups[way], groups[base]), key=statistics.mean)
            rows.append(row | dict(apart=max(low) < min(high)))
        smallest[number] = stats.t.ppf(1 - 0.05 / 2 / len(pairs) / len(numbers), freedom) * error
    rows.sort(key=lambda row: row['p'])
    for row, corrected in zip(rows, metrics.holm([row['p'] for row in rows])):
        row['holm'] = float(corrected)
    return {'rows': rows, 'smallest': smallest, 'spread': spread, 'comparisons': len(rows)}


def strip(paths: list[Path], images: int) -> np.ndarray:
    "The first images of several rows of them (as `core.grid` makes them), row beside row, with a border below."
    rows = [np.asarray(Image.open(path).convert('RGB')) for path in paths]
    side = rows[0].shape[0]
    gap = np.full((side, 6, 3), 255, np.uint8)
    row = np.concatenate([part for r in rows for part in (r[:, : images * (side + 2) - 2], gap)][:-1], 1)
    return np.concatenate([row, np.full((2, row.shape[1], 3), 255, np.uint8)])
