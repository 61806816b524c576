"""What the presets need, counted without computing anything: results/presets.json, which `animegan presets` prints.

    python benchmarks/presets.py            # all presets, about ten minutes
    python benchmarks/presets.py NAME …     # only these; the others stay

pi-GAN renders under a limit, by default half of the device's memory: here that of a card with 80 GB.
"""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from tqdm import tqdm

from animegan_nb.core import write_atomically
from animegan_nb.training import recipes, step_cost

OUT = Path(__file__).resolve().parents[1] / 'data' / 'results' / 'presets.json'


def counted(recipe):
    "The numbers of one preset."
    if hasattr(recipe.network, 'memory'):
        recipe = replace(recipe, network=replace(recipe.network, memory=40.0))
    return asdict(step_cost(recipe))


def main(names):
    known = json.loads(OUT.read_text(encoding='utf-8')) if OUT.exists() else {}
    for name in tqdm(names or sorted(recipes), unit='preset'):
        known[name] = counted(recipes[name])
        write_atomically(OUT, json.dumps(known, indent=1, sort_keys=True) + '\n')


if __name__ == '__main__':
    main(sys.argv[1:])
