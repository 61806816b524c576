"benchmarks/stylegan_recipe.py: what its variants change, and its verdict on made-up numbers."

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from animegan_nb.core import rng


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / 'benchmarks'))
    import stylegan_recipe

    return stylegan_recipe


def test_compared_variants_differ_in_one_thing(script):
    for a, b in script.COMPARED[:-2]:
        a, b = (asdict(script.recipe_of(name)) for name in (a, b))
        changed = [(part, key) for part in ('network', 'training') for key in a[part] if a[part][key] != b[part][key]]
        assert len(changed) == 1 and {k for k in a if a[k] != b[k]} == {changed[0][0]}, changed


def test_the_verdict_finds_what_is_there_and_nothing_else(script):
    names, rows = list(script.DESCRIBED), []
    noise = torch.randn(len(names), 3, generator=rng(0)).mul(0.02).exp().tolist()
    for name, factors in zip(names, noise):
        level = 700 if name.startswith('plain') else 1000
        for seed, factor in enumerate(factors):
            found = dict(frechet=level * factor, recall=0.5 + 0.01 * factor)
            rows.append(dict(name=name, seed=seed, toon=found, pixels=found))
    found = script.verdict(rows + [dict(rows[0], seed=3)], names)  # a seed of which one variant is there does not count
    decided = {(r['way'], r['base']) for r in found['rows'] if r['holm'] < 0.05}
    assert found['seeds'] == [0, 1, 2] and found['comparisons'] == 2 * len(script.COMPARED)
    assert decided == {('plain', 'slower'), ('plain', 'published'), ('dcgan-cpu', 'plain')}
    assert all(r['apart'] and r['welch'] < 0.01 for r in found['rows'] if r['holm'] < 0.05)
    least, most = found['spread']['frechet on toon, log']
    assert 0 < least < 0.02 < most < 0.06
    other = script.pooled({'x': {'a': [1.0, 2.0, 3.0], 'b': [2.5, 4.0, 5.0]}}, [('a', 'b')])['rows'][0]
    assert not other['apart'] and abs(other["welch"] - 0.12299) < 1e-4  # t = 1.9757 with 3.806 degrees
    assert script.verdict([row for row in rows if row['seed'] == 0], names) == {}
    two = script.verdict(rows, ['dcgan-cpu', 'plain'])
    assert [(r['way'], r['base']) for r in two['rows']] == 2 * [('dcgan-cpu', 'plain')]
