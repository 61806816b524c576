"benchmarks/mimic3d.py: its table and its verdicts on made-up numbers, what ships, and what is stored."

import importlib
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_mimic3d import SMALL

from animegan_nb.callbacks import Checkpoints, JSONLog, read_log
from animegan_nb.cameras import pose
from animegan_nb.core import rng, tiles
from animegan_nb.data import ImageSet
from animegan_nb.mimic3d import Mimic3DPair, MimicGenerator, pretrained_mimic3d, two_stages
from animegan_nb.training import Recipe, Trainer, TrainingConfig


@pytest.fixture
def script(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / 'benchmarks'))
    return importlib.import_module('mimic3d')


def entry(variant, seed, frechet, agreement=20.0, own=18.0, images=1000):
    "An entry as a run stores it."
    numbers = lambda x: {
        'Fréchet distance': dict(metric='frechet', value=x, floor=30.0),
        'precision': dict(metric='precision', value=0.5, floor=0.6),
    }
    views = lambda x: dict(consistency=x, board=15.0, ellipsoid=16.0, correlation=0.5, depth_error=0.01)
    measured = dict(squeezenet=numbers(frechet), toon=numbers(2 * frechet), ms_a_view=60.0)
    if variant == 'super-resolution':
        branches = {'2D': views(own)}
    elif variant in ('direct', 'pigan'):
        branches = {'3D': views(agreement)}
    else:
        branches = {'3D': views(agreement), '2D': views(own)}
        measured |= dict(gap=agreement - own)
    facts = dict(variant=variant, seed=seed, images=images, steps=100, seconds=60.0)
    return facts | dict(measured=measured | dict(branches=branches))


def experiment(script, shift=None, seeds=3, noise=1.0, seed=0):
    "Entries of all variants: noise around 100, and the distance of some shifted."
    source, shift = np.random.default_rng(seed), shift or {}
    found = []
    for variant in script.VARIANTS:
        for k in range(seeds):
            frechet = 100 + shift.get(variant, 0.0) + noise * source.normal()
            views = 18 + source.normal(size=2)
            found.append(entry(variant, k, frechet, *views))
    return found


def said(script, rows):
    return {claim: found['verdict'] for claim, found in script.verdicts(rows).items()}


def test_noise_gives_nothing(script):
    "Of 40 experiments without any effect, about as many decide something as the correction allows."
    found = [said(script, experiment(script, {'aware, by role': 10.0}, noise=5.0, seed=k)) for k in range(40)]
    decided = [any(verdict != 'undecided' for verdict in some.values()) for some in found]
    assert sum(decided) <= 6, found


def test_planted_effects_are_found(script):
    shift = {'imitation': 60.0, 'aware, published order': 30.0, 'super-resolution': 5.0}
    rows = experiment(script, shift, seeds=5)
    for row in rows:
        branches = row['measured']['branches']
        if '3D' in branches:
            branches['3D']['consistency'] += 12
        if '2D' in branches and '3D' in branches:
            row['measured']['gap'] = branches['3D']['consistency'] - branches['2D']['consistency']
    found = said(script, rows)
    assert set(found.values()) == {'holds at this size'}, found


def test_the_opposite_of_a_claim_is_found(script):
    found = said(script, experiment(script, {'aware, published order': 40.0, 'aware, by role': 80.0}, seeds=5))
    assert found['3D-aware convolutions improve quality'] == 'does not hold at this size'
    assert found['the order by role is better than the published one'] == 'does not hold at this size'
    assert found['high-quality while strictly consistent'] == 'does not hold at this size'


def test_too_few_seeds_and_missing_variants_give_no_verdict(script):
    few = said(script, experiment(script, {'imitation': 500.0}, seeds=2))
    assert set(few.values()) == {'not decided: 2 seeds'}
    one = [entry('aware, by role', 0, 90.0)]
    found = script.verdicts(one)
    verdict = found['high-quality while strictly consistent']['verdict']
    assert verdict == 'not run: super-resolution; not decided: 1 seed'
    assert found['3D-aware convolutions improve quality']['verdict'] == 'not run: aware, published order; imitation'
    assert all(some['verdict'].startswith('not run') for some in script.verdicts([]).values())
    apart = [entry('imitation', k, 90.0) for k in range(3)] + [entry('aware, by role', k + 3, 90.0) for k in range(3)]
    row = script.verdicts(apart)['3D-aware convolutions by role improve quality']
    assert row['verdict'] == 'not decided: 0 seeds'
    equal = [entry(name, k, 90.0) for name in ('imitation', 'aware, by role') for k in range(3)]
    assert script.verdicts(equal)['3D-aware convolutions by role improve quality']['verdict'] == 'undecided'


def test_holm_counts_all_comparisons_that_were_tested(script):
    found = script.verdicts(experiment(script, noise=3.0))
    rows = sorted((row for some in found.values() for row in some['comparisons']), key=lambda row: row['p'])
    assert len(rows) == 6 and all(row['holm'] >= row['p'] for row in rows)
    assert rows[0]['holm'] == pytest.approx(min(1, 6 * rows[0]['p']), rel=0.06)


def test_questions_are_answered_and_corrected_for_themselves(script):
    shift = {'direct': 60.0, 'by role, target l1': -40.0}
    found = script.verdicts(experiment(script, shift, seeds=5), claims=script.QUESTIONS)
    rows = [row for some in found.values() for row in some['comparisons']]
    assert all(row['holm'] <= min(1, 4 * row['p'] * 1.06) for row in rows)
    said = [some['verdict'] for some in found.values()]
    assert said == ['holds at this size', 'does not hold at this size', 'undecided', 'undecided']


def test_only_trainings_on_the_same_processor_are_paired(script):
    "The same seed on another processor is another training: it counts in the table, and in no pair."
    rows = experiment(script, {'by role, target l1': 40.0}, seeds=3)
    other = [entry('aware, by role', k, 1000.0) | dict(processor='another') for k in range(3)]
    found = script.verdicts(rows, claims=script.QUESTIONS), script.verdicts(rows + other, claims=script.QUESTIONS)
    assert found[0] == found[1]
    table = {row['variant']: row for row in script.table(rows + other)}
    assert table['aware, by role']['seeds'] == [0, 0, 1, 1, 2, 2]
    mean, half = table['aware, by role']['numbers']['frechet, squeezenet']
    assert 540 < mean < 560 and half < 10  # of three means of two
    alone = [entry('imitation', k, 90.0) for k in range(3)] + other
    row = script.verdicts(alone)['3D-aware convolutions by role improve quality']
    assert row['verdict'] == 'not decided: 0 seeds'
    views = script.verdicts(rows + other)['high-quality while strictly consistent']['comparisons']
    assert [row['seeds'] for row in views] == [[0, 1, 2]] * 3  # trainings of one seed count once


def test_verdicts_are_about_one_number_of_images(script):
    rows = experiment(script, seeds=3) + [entry('aware, by role', 0, 5.0, images=9000)]
    assert script.most_seeds(rows) == 1000 and script.most_seeds([]) is None
    assert script.verdicts(rows) == script.verdicts([row for row in rows if row['images'] == 1000])


def test_the_table_has_what_there_is(script):
    rows = experiment(script, seeds=3) + [entry('aware, by role', 0, 5.0, images=9000)]
    found = script.table(rows)
    assert [(row['variant'], row['images']) for row in found][:2] == [('aware, by role', 9000), ('direct', 1000)]
    assert found[0]['seeds'] == [0] and found[0]['numbers']['frechet, squeezenet'] == [5.0, None]
    three = {row['variant']: row['numbers'] for row in found if row['images'] == 1000}
    values = [row['measured']['squeezenet']['Fréchet distance']['value'] for row in rows if row['variant'] == 'direct']
    mean, half = three['direct']['frechet, squeezenet']
    assert mean == pytest.approx(np.mean(values), abs=1e-3)
    assert half == pytest.approx(4.303 * np.std(values, ddof=1) / 3**0.5, rel=1e-3)
    assert three['direct']['floor, toon'] == [30.0, 0.0] and 'gap' not in three['direct']
    assert 'consistency, 2D' in three['super-resolution'] and 'gap' in three['imitation']
    summary = script.summary(rows[:3])
    assert summary['not_run'] == [name for name in script.VARIANTS if name != 'direct'] and summary['images'] == 1000
    assert script.summary([])['table'] == []


def test_the_stored_summary_is_that_of_the_stored_entries(script):
    stored = script.RESULTS / 'mimic3d.json'
    if not stored.exists():
        pytest.skip('the experiment has not been run')
    summary = json.loads((script.RESULTS / 'mimic3d_summary.json').read_text(encoding='utf-8'))
    assert summary == json.loads(json.dumps(script.summary(json.loads(stored.read_text(encoding='utf-8')))))


def test_the_stored_heads_from_one_view_are_of_the_shipped_network(script):
    stored = script.RESULTS / 'mimic3d_one_view.json'
    if not stored.exists():
        pytest.skip('no head was searched yet')
    found = json.loads(stored.read_text(encoding='utf-8'))
    weights = script.ROOT / 'data' / 'pretrained' / f'{script.NAME}.safetensors'
    assert found['generator_sha256'] == script.file_sha256(weights)[:16], (
        'the network has changed: python benchmarks/mimic3d.py one-view'
    )
    assert len(found['seeds']) >= 3


def test_a_shared_first_stage_changes_nothing(script, tmp_path, monkeypatch):
    "A target that starts from another one's first stage ends with the weights of a run of its own."

    def small_recipe(variant, images):
        network = replace(SMALL, imitation='toon' if variant == 'aware, by role' else 'discriminator')
        training = TrainingConfig(4, 1e-3, 1e-3, ema_half_life=20)
        return Recipe('mimic3d', network, training, 5, 'a small one', two_stages(network, 3, 2))

    monkeypatch.setattr(script, 'recipe_of', small_recipe)
    train = lambda variant, work: script.trained(variant, 1, 20, 0, work, small_heads(24))
    role, _ = train('aware, by role', tmp_path / 'one')
    assert role.step == 5 and len(list((tmp_path / 'one').glob('first-stage_*'))) == 1
    steps = [row['step'] for row in read_log(tmp_path / 'one' / 'aware_by-role_20_1' / 'log.jsonl')]
    shared, more = train('by role, target discriminator', tmp_path / 'one')
    alone, _ = train('by role, target discriminator', tmp_path / 'two')
    rows = read_log(tmp_path / 'one' / 'by-role_target-discriminator_20_1' / 'log.jsonl')
    assert [steps[0], rows[0]['step']] == [1, 4] and shared.step == alone.step == 5
    weights = [trainer.pair.generator.state_dict() for trainer in (shared, alone, role)]
    assert all(torch.equal(a, b) for a, b in zip(weights[0].values(), weights[1].values()))
    assert not all(torch.equal(a, b) for a, b in zip(weights[0].values(), weights[2].values()))
    averages = [trainer.average.state_dict() for trainer in (shared, alone)]
    assert all(torch.equal(averages[0][name], averages[1][name]) for name in averages[0])
    first = json.loads(next(tmp_path.glob('one/first-stage_*/seconds.json')).read_text())
    assert more > first > 0


def test_the_stored_heads_of_the_variants_are_of_the_stored_experiment(script):
    stored = script.RESULTS / 'mimic3d_variants_one_view.json'
    if not stored.exists():
        pytest.skip('no variant was searched yet')
    found = json.loads(stored.read_text(encoding='utf-8'))
    summary = json.loads((script.RESULTS / 'mimic3d_summary.json').read_text(encoding='utf-8'))
    trained = {row['variant']: len(set(row['seeds'])) for row in summary['table'] if row['images'] == summary['images']}
    searched = {name: len(scores['chamfer']['sets']) for name, scores in found['rows'].items()}
    assert searched.pop('billboard of the image') == searched.pop('another toon head') == max(trained.values())
    assert found['images'] == summary['images'] and searched == trained


def test_a_variant_without_a_run_keeps_its_row(script, tmp_path, monkeypatch):
    "In the sheet of heads and in the table of heads found from one view; where there is none, one sentence ends it."
    grey = dict(direct=40, imitation=200)
    row = lambda run, variant, n, turn: torch.full((n + 6, 3, 64, 64), grey[variant], dtype=torch.uint8)
    monkeypatch.setattr(script, 'heads_of_a_run', row)
    known, path = {('direct', 0), ('direct', 1)}, tmp_path / 'sheet.jpg'
    (tmp_path / 'direct_80_0').mkdir()
    path.write_bytes(script.sheet(tmp_path, 80, known, path))
    (tmp_path / 'direct_80_0').rename(tmp_path / 'imitation_80_0')
    path.write_bytes(script.sheet(tmp_path, 80, known | {('imitation', 0)}, path))
    with Image.open(path) as picture:
        assert picture.info['comment'] == b'direct; imitation'
        means = tiles(picture, 64).float().mean((1, 2, 3))
    assert torch.allclose(means, torch.tensor([40.0] * 10 + [200.0] * 10), atol=2)
    with pytest.raises(SystemExit, match='no run of "direct" with seed 0'):
        script.sheet(tmp_path, 80, known)
    scores = dict(chamfer=dict(sets=[1.0, 2.0], mean=[1.5, 6.4]), around=dict(sets=[9.0, 8.0], mean=[8.5, 6.4]))
    before = dict(images=80, heads=2, rows=dict(direct=scores))
    kept = script.kept_row(before, 'direct', 80, 2, 2)
    assert kept == [dict(chamfer=1.0, around=9.0), dict(chamfer=2.0, around=8.0)]
    for other in (('imitation', 80, 2, 2), ('direct', 90, 2, 2), ('direct', 80, 3, 2), ('direct', 80, 2, 3)):
        with pytest.raises(SystemExit, match='no runs of'):
            script.kept_row(before, *other)


def test_the_stored_sheet_names_the_variants_of_the_stored_experiment(script):
    stored = script.RESULTS / 'mimic3d.jpg'
    if not stored.exists():
        pytest.skip('no sheet was made yet')
    summary = json.loads((script.RESULTS / 'mimic3d_summary.json').read_text(encoding='utf-8'))
    names = [row['variant'] for row in summary['table'] if row['images'] == summary['images']]
    with Image.open(stored) as picture:
        assert picture.info['comment'].decode().split('; ') == names
        assert len(tiles(picture, 64)) == 10 * len(names)


# ---- what ships


def small_heads(n):
    cams = pose(0.3 * torch.randn(n, generator=rng(1))).numpy()
    image = torch.randint(0, 256, (n, 3, 16, 16), generator=rng(2)).to(torch.uint8).numpy()
    return ImageSet({'image': image, 'cam2world': cams})


def run_of(folder, steps):
    torch.manual_seed(0)
    recipe = {'model': 'mimic3d', 'network': asdict(SMALL)}
    callbacks = [Checkpoints(folder, 1), JSONLog(folder / 'log.jsonl')]
    config = TrainingConfig(4, 1e-3, 1e-3, ema_half_life=20)
    stages = two_stages(SMALL, 2, 2)
    trainer = Trainer(Mimic3DPair(SMALL), small_heads(24), config, callbacks, 'cpu', recipe, stages)
    return trainer.fit(steps, progress=False)


def test_a_run_ships_in_half_precision_with_its_card(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, 'heads', lambda: (small_heads(24), small_heads(8)))
    compared = script.networks.compared
    pixels = lambda drawn, known, fresh, _: compared(drawn, known, fresh, ('pixels',))
    monkeypatch.setattr(script.networks, 'compared', pixels)
    trainer = run_of(tmp_path / 'run', 4)
    script.ship(tmp_path / 'run', tmp_path, n=8, seeds=2)
    facts = json.loads((tmp_path / 'mimic3d_toon_64.json').read_text(encoding='utf-8'))
    assert facts['steps'] == 4 and facts['images'] == 16 and facts['data']['images'] == 24
    for branch, sets in (('measures', 2), ('measures_2d', 1)):
        found = facts[branch]['pixels']
        assert (
            len(found['frechet']) == len(found['recall']) == sets and found['floor'] > 0 and 'copied_control' in found
        )
    monkeypatch.setattr('animegan_nb.core.shipped', lambda path='': tmp_path / str(path).split('/')[-1])
    G, facts = pretrained_mimic3d()
    assert G.direct and not G.training and facts['seed'] == 0
    z, cams = torch.randn(2, 8, generator=rng(0)), pose(torch.zeros(2))
    with torch.no_grad():
        assert torch.allclose(G(z, cams), trainer.average(z, cams), atol=0.02)


def test_a_run_in_its_first_stage_does_not_ship(script, tmp_path):
    run_of(tmp_path / 'run', 1)
    with pytest.raises(SystemExit, match='first stage'):
        script.ship(tmp_path / 'run', tmp_path)
    assert not list(tmp_path.glob('*.safetensors'))


# ---- heads from one view


def test_a_search_finds_a_head_of_the_generator(script):
    "The camera is known, so the distance to the image falls to a part of the mean head's."
    torch.manual_seed(0)
    G = MimicGenerator(SMALL).eval().requires_grad_(False)
    G.grow(16)
    cams = (torch.tensor([0.2, -0.1]), torch.zeros(2))
    with torch.no_grad():
        images = G(torch.randn(2, 8, generator=rng(5)), pose(*cams))
    config = script.inv.InversionConfig(
        ((1, 100),), lr=0.1, pose_lr=0.0, perceptual=0.0, prior=0.0, pose_prior=0.0, noise=0.0
    )
    for layers in (1, G.synthesis.num_ws):
        found = script.found_from_one_view(G, images, cams, lambda a, b: 0.0, layers, config)
        assert found.ws.shape == (2, G.synthesis.num_ws, 8) and torch.allclose(found.cam2world, pose(*cams))
        errors = []
        for ws in (found.ws, script.prior_of(G).w_mean.expand_as(found.ws)):
            volume = G.volumes(ws)[-1]
            seen = script.render_plane_views(volume, pose(*cams), 16, G.view)['features'][:, :3]
            errors.append((seen - images).square().mean((1, 2, 3)))
        assert (errors[0] < 0.5 * errors[1]).all(), errors


def test_a_board_shows_its_image_to_its_camera_and_nothing_from_the_side(script):
    cams = pose(torch.tensor([0.0]))
    image = torch.rand(1, 3, 32, 32, generator=rng(0)) * 2 - 1
    cover = torch.zeros(1, 1, 32, 32)
    cover[..., 8:24, 8:24] = 1
    found = script.board_around(image, cover, cams)
    assert torch.allclose(found.images[0], (image * cover + 1 - cover)[0], atol=1e-3)
    assert torch.allclose(found.images[3], torch.ones(3, 32, 32), atol=1e-3)  # edge-on
    assert torch.allclose(found.images[6], found.images[0].flip(-1), atol=1e-3)  # from behind
    assert (found.points[:, 2] == 0).all() and len(found.points) > 500
