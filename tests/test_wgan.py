"""WGAN and WGAN-GP as a pair:
clipping and penalty at work, the schedule, bad input, resuming, and the experiment's script."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from animegan_nb.core import rng
from animegan_nb.dcgan import DCGANConfig, DCGANPair
from animegan_nb.training import Stage, Trainer, TrainingConfig, TrainingDiverged, build_pair, load_run, recipes
from animegan_nb.wgan import CriticSchedule, WGANConfig, WGANPair, critic_steps, critic_update, layer_norm

ROOT = Path(__file__).parent.parent
CLIPPED = dict(clip=0.01, penalty=0.0, norm='batch')


def trainer(weights=0, callbacks=(), batch=4, training=None, stages=(), **network):
    from tiny import images

    torch.manual_seed(weights)
    config = TrainingConfig(batch_size=batch, **(training or {}))
    pair = WGANPair(WGANConfig(16, channels=8, base=4, **network))
    return Trainer(pair, images(16, 16), config, list(callbacks), device='cpu', stages=stages)


@given(seed=st.integers(0, 10**6), clip=st.floats(1e-4, 0.5))
@settings(max_examples=8, deadline=None)
def test_weights_stay_clipped(seed, clip):
    t = trainer(
        seed,
        clip=clip,
        penalty=0.0,
        norm='batch',
        training=dict(optimizer='rmsprop', n_critic=2, discriminator_lr=1e-2),
    )
    for _ in range(2):
        t.train_step()
        assert all(p.abs().max() <= clip + 1e-9 for p in t.pair.discriminator.parameters())
    assert max(p.abs().max() for p in t.pair.generator.parameters()) > clip or clip > 0.05  # the generator's are free


def test_the_penalised_critic_is_not_clipped_and_logs_its_estimate():
    t = trainer(training=dict(n_critic=3)).fit(2, progress=False)
    record = t.history[-1]
    assert abs(record['discriminator_loss'] - record['penalty'] + record['estimate']) < 1e-4
    assert max(p.abs().max() for p in t.pair.discriminator.parameters()) > 0.01
    assert not any(isinstance(m, nn.BatchNorm2d) for m in t.pair.discriminator.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in t.pair.generator.modules())


def test_the_penalty_pulls_the_slope_to_one():
    from animegan_nb.penalties import gradient_norms

    t = trainer(batch=16, training=dict(discriminator_lr=2e-3, discriminator_betas=(0.0, 0.9)))
    for _ in range(60):
        t.update('discriminator')
    slopes = gradient_norms(t.pair.discriminator, t.batch['image'])
    assert 0.5 < slopes.median() < 2


@pytest.mark.parametrize('size, base', [(16, 8), (16, 4), (32, 8)])
@pytest.mark.parametrize('network', [CLIPPED, {}])
def test_as_many_parameters_as_the_dcgan(size, base, network):
    with torch.device('meta'):
        ours, theirs = (
            WGANPair(WGANConfig(size, channels=16, base=base, **network)),
            DCGANPair(DCGANConfig(size, channels=16, base=base)),
        )
    for role in ('generator', 'discriminator'):
        assert [p.shape for p in getattr(ours, role).parameters()] == [
            p.shape for p in getattr(theirs, role).parameters()
        ]


@pytest.mark.parametrize(
    'wrong, word',
    [
        (dict(norm='batch'), 'BatchNorm mixes'),
        (dict(clip=0.01), 'one way'),
        (dict(penalty=0.0), 'one way'),
        (dict(penalty=-1.0), 'one way'),
        (dict(clip=-0.01, penalty=1.0), 'one way'),
        (dict(norm='none'), "'layer' or 'batch'"),
        (dict(r1_gamma=1.0), 'r1_gamma'),
        (dict(size=100), 'not 100'),
    ],
)
def test_wrong_numbers_in_one_sentence(wrong, word):
    with pytest.raises(ValueError, match=word) as error:
        WGANConfig(**{'size': 32} | wrong)
    assert str(error.value).count('. ') == 0 and '\n' not in str(error.value)


def test_a_batchnorm_critic_is_refused_when_smuggled_in():
    t = trainer()
    t.pair.discriminator.body[3] = nn.BatchNorm2d(8)
    with pytest.raises(ValueError, match='normalises over the batch in body.3'):
        t.train_step()


@pytest.mark.parametrize(
    'model, network',
    [
        ('wgan', WGANConfig(16, channels=8)),
        ('wgan', WGANConfig(16, channels=8, **CLIPPED)),
        ('dcgan', DCGANConfig(16, channels=8)),
        ('dcgan', DCGANConfig(16, channels=8, r1_gamma=1.0)),
    ],
)
def test_a_batch_of_one_in_one_sentence(model, network):
    from tiny import images

    with pytest.raises(ValueError, match='A batch of 1 image has no batch statistics.*batch_size of 2'):
        Trainer(build_pair(model, network), images(8, 16), TrainingConfig(batch_size=1), device='cpu').train_step()


@pytest.mark.parametrize('role', ['generator', 'discriminator'])
@pytest.mark.parametrize('network', [CLIPPED, {}])
def test_nan_logits_in_one_sentence(role, network):
    t = trainer(**network)
    with torch.no_grad():
        next(getattr(t.pair, role).parameters()).fill_(float('nan'))
    with pytest.raises(TrainingDiverged, match='logits contain NaN.*lower the learning rate'):
        t.train_step()


@given(
    step=st.integers(0, 10_000),
    usual=st.integers(1, 9),
    many=st.integers(10, 200),
    first=st.integers(0, 50),
    every=st.integers(1, 900),
)
@settings(max_examples=60, deadline=None)
def test_schedule(step, usual, many, first, every):
    assert critic_steps(step, usual, many, first, every) == (many if step < first or step % every == 0 else usual)


def test_schedule_in_a_trainer_and_after_a_resume(tmp_path):
    numbers = dict(usual=1, many=3, first=2, every=4)
    whole = trainer(callbacks=[CriticSchedule(**numbers)]).fit(6, progress=False)
    assert [r['critic_steps'] for r in whole.history] == [3, 3, 1, 1, 3, 1] and whole.position == 12
    half = trainer(callbacks=[CriticSchedule(**numbers)]).fit(4, progress=False)
    half.save(tmp_path / 'at4')
    rest = trainer(weights=1, callbacks=[CriticSchedule(**numbers)])
    rest.load(tmp_path / 'at4').fit(2, progress=False)
    for a, b in zip(whole.pair.parameters(), rest.pair.parameters()):
        assert torch.equal(a, b)


@pytest.mark.parametrize('stop', [3, 4])
def test_the_schedule_outlives_the_stages_of_a_curriculum(tmp_path, stop):
    numbers, stages = dict(usual=1, many=3, first=2, every=4), (Stage(steps=3), Stage(steps=3, batch_size=8))
    make = lambda: trainer(callbacks=[CriticSchedule(**numbers)], training=dict(n_critic=5), stages=stages)
    whole = make().fit(6, progress=False)
    assert [r['critic_steps'] for r in whole.history] == [3, 3, 1, 1, 3, 1]
    make().fit(stop, progress=False).save(tmp_path / 'half')
    rest = make()
    rest.load(tmp_path / 'half').fit(6 - stop, progress=False)
    assert [r['critic_steps'] for r in rest.history][-(6 - stop) :] == [3, 3, 1, 1, 3, 1][stop:]
    assert rest.position == whole.position


@pytest.mark.parametrize('network', [CLIPPED, {}])
def test_a_stored_run_comes_back(tmp_path, network):
    from tiny import images
    from dataclasses import asdict

    config = WGANConfig(16, channels=8, **network)
    t = Trainer(
        build_pair('wgan', config),
        images(16, 16),
        TrainingConfig(batch_size=4),
        device='cpu',
        recipe={'model': 'wgan', 'network': asdict(config)},
    ).fit(2, progress=False)
    t.save(tmp_path / 'step-00000002')
    pair, _, _ = load_run(tmp_path)
    assert pair.config == config
    for a, b in zip(t.pair.parameters(), pair.parameters()):
        assert torch.equal(a, b)


@given(b=st.integers(1, 5), c=st.integers(1, 6), h=st.integers(1, 5), w=st.integers(2, 5), seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_layer_norm_is_a_group_norm_of_one_group(b, c, h, w, seed):
    x, scale, shift = (
        torch.randn(*shape, generator=rng(seed), dtype=torch.float64) for shape in ((b, c, h, w), (c,), (c,))
    )
    torch.testing.assert_close(layer_norm(x, scale, shift), torch.nn.functional.group_norm(x, 1, scale, shift))


def test_a_penalised_critic_finds_the_distance_of_two_points():
    "The law of the spring: estimate δ + δ²/2λ, slope 1 + δ/2λ."
    line = nn.Sequential(nn.Linear(1, 1), nn.Flatten(0))
    optimizer = torch.optim.SGD(line.parameters(), 0.02)
    nn.init.constant_(line[0].weight, 0.5)
    real, fake = torch.full((8, 1), 3.0), torch.zeros(8, 1)
    for _ in range(300):
        estimate = critic_update(line, optimizer, real, fake, penalty=10.0, rng=rng(0))
    assert abs(estimate - (3 + 9 / 20)) < 0.01 and abs(line[0].weight.item() - 1.15) < 0.01


def test_recipes():
    for name in ('wgan-liu-128', 'wgan-gp-liu-128'):
        r = recipes[name]
        assert (r.network.size, r.training.batch_size, r.training.generator_lr, r.training.n_critic, r.steps) == (
            128,
            64,
            2e-4,
            5,
            20_000,
        )
    assert recipes['dcgan-liu-128'].steps == 4_000
    for name in [n for n in recipes if n.startswith('wgan')]:
        with torch.device('meta'):
            pair = build_pair(recipes[name].model, recipes[name].network)
        assert (
            bool(pair.config.clip) == (recipes[name].training.optimizer == 'rmsprop') == ('-gp' not in name)
            and recipes[name].source
        )
    assert {recipes[n].network.size for n in ('wgan-cpu', 'wgan-gp-cpu', 'wgan-tiny', 'wgan-gp-tiny')} == {32}


def script():
    spec = importlib.util.spec_from_file_location('wgan_benchmark', ROOT / 'benchmarks' / 'wgan.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_experiment_runs_the_recipes():
    b = script()
    preset = b.PRESETS['cpu']
    for method in ('wgan', 'wgan-gp'):
        model, network, training = b.recipe(method, preset, 0)
        assert (model, network, training) == (
            'wgan',
            recipes[f'{method}-cpu'].network,
            recipes[f'{method}-cpu'].training,
        )
        assert preset.looks[method][-1] == recipes[f'{method}-cpu'].steps
        paper = b.recipe(method, b.PRESETS['liu-128'], 0)
        assert paper == ('wgan', recipes[f'{method}-liu-128'].network, recipes[f'{method}-liu-128'].training)
    model, network, training = b.recipe('dcgan', b.PRESETS['liu-128'], 0)
    assert (network, training) == (recipes['dcgan-liu-128'].network, recipes['dcgan-liu-128'].training)
    mean, half = b.interval([1.0, 2.0, 3.0])
    assert mean == 2 and abs(half - 4.302653 / 3**0.5) < 1e-6


def test_a_stopped_experiment_goes_on(tmp_path):
    """One finished run is read, not repeated; an unfinished one continues;
    the result is that of an uninterrupted command."""
    b = script()
    preset = replace(b.PRESETS['tiny'], n=16)
    b.extractors = lambda: ('pixels',)
    first = b.run('toon', 'wgan-gp', 1, 'tiny', preset, tmp_path, 'cpu')
    (tmp_path / 'toon-wgan-gp-1.json').write_text(json.dumps(first | {'marked': True}))
    assert b.run('toon', 'wgan-gp', 1, 'tiny', preset, tmp_path, 'cpu')['marked']
    again = (
        b.run('toon', 'wgan-gp', 1, 'tiny', preset, tmp_path / 'other', 'cpu')
        if (tmp_path / 'other').mkdir() is None
        else None
    )
    numbers = lambda r: [k['numbers'] for k in r['looks']]
    assert numbers(again) == numbers(first) and [k['step'] for k in first['looks']] == [2, 4]


def test_stored_results_say_how_they_were_made():
    for name in ('wgan_cpu', 'wgan_pilot'):
        stored = json.loads((ROOT / 'data' / 'results' / f'{name}.json').read_text())
        assert stored['command'].startswith('python benchmarks/wgan.py') and stored['rows']
    stored = json.loads((ROOT / 'data' / 'results' / 'wgan_cpu.json').read_text())
    assert all(len(r['seeds']) >= 3 for r in stored['rows']) and {'human', 'anime', 'toon'} == {
        r['data'] for r in stored['rows']
    }
    for r in stored['rows']:
        assert min(r['values']['frechet']) > stored['floors'][r['data']][r['extractor']]['frechet']


def test_tables_are_printed_from_the_stored_results():
    run = subprocess.run(
        [sys.executable, str(ROOT / 'benchmarks' / 'wgan.py'), '--tables'], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0 and run.stdout.count('equal time') >= 9, run.stderr


@pytest.mark.real
def test_real_faces_train(data_dir):
    from animegan_nb.data import ImageFolder

    faces = ImageFolder(data_dir / 'anime_faces_256', 32, progress=False)
    for network in (CLIPPED, {}):
        t = Trainer(
            WGANPair(WGANConfig(32, channels=8, **network)),
            faces,
            TrainingConfig(batch_size=8, n_critic=2),
            device='cpu',
        ).fit(2, progress=False)
        assert torch.isfinite(t.sample(4)).all()
