"The library in other people's code: one call that trains, what a run folder opens, one's own loop, one's own numbers."

import os
import subprocess
import sys
import types
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from tiny import folder_of, images, TinyPair, weights

from animegan_nb import cli
from animegan_nb.callbacks import Checkpoints, Tracker
from animegan_nb.core import rng
from animegan_nb.dcgan import DCGANConfig, DCGANPair
from animegan_nb.metrics import evaluate
from animegan_nb.stylegan import StyleGANConfig, StyleGANGenerator, StyleGANPair
from animegan_nb.training import build_pair, load_run, recipes, train, Trainer, TrainingConfig

TINY = DCGANConfig(16, channels=16, latent=8)
CONFIG = TrainingConfig(batch_size=4)


def test_train_is_the_command(tmp_path):
    "A function and a terminal make the same weights and the same folder; both go on with it."
    pictures = folder_of(tmp_path / 'pictures', 12, (20, 20))
    by_call = train('dcgan-tiny', pictures, tmp_path / 'call', steps=2, device='cpu', progress=False)
    words = ['train', 'dcgan-tiny', '--data', str(pictures), '--out', str(tmp_path / 'word'), '--device', 'cpu']
    assert cli.main([*words, '--steps', '2']) == 0
    pairs = {name: load_run(tmp_path / name)[0] for name in ('call', 'word')}
    assert torch.equal(*(torch.nn.utils.parameters_to_vector(pair.parameters()) for pair in pairs.values()))
    texts = [(tmp_path / name / 'recipe.toml').read_text(encoding='utf-8') for name in ('call', 'word')]
    assert texts[0] == texts[1] and by_call.step == 2
    assert cli.main(['resume', str(tmp_path / 'call'), '--steps', '3', '--device', 'cpu']) == 0
    told = replace(recipes['dcgan-tiny'], source='the same recipe, told in other words')
    again = train(told, pictures, tmp_path / 'call', steps=4, device='cpu', progress=False)
    assert again.step == 4 and load_run(tmp_path / 'call')[2]['step'] == 4
    with pytest.raises(ValueError, match='holds the training of another recipe'):
        train('stylegan-tiny', pictures, tmp_path / 'call', device='cpu')


def test_train_takes_a_data_set_and_callbacks(tmp_path):
    data, seen = images(n=12, size=16), []

    class Note(Checkpoints):
        def on_step(self, trainer, record):
            seen.append(trainer.step)

    train(recipes['dcgan-tiny'], data, tmp_path / 'run', 2, [Note(tmp_path / 'other')], 'cpu', progress=False)
    assert seen == [1, 2]
    assert cli.main(['resume', str(tmp_path / 'run'), '--steps', '3']) == 1  # nobody knows where its images are


@pytest.mark.parametrize('recipe', [None, 'the recipe', 'a dictionary'])
def test_what_checkpoints_saves_load_run_opens(recipe, tmp_path):
    of_preset = recipes['dcgan-tiny']
    given = {None: None, 'the recipe': of_preset, 'a dictionary': {'model': 'dcgan', 'network': {'size': 16}}}[recipe]
    network = TINY if recipe is None else of_preset.network if recipe == 'the recipe' else DCGANConfig(16)
    pair = DCGANPair(network)
    Trainer(pair, images(size=16), CONFIG, [Checkpoints(tmp_path)], 'cpu', given).fit(2, progress=False)
    again, generator, facts = load_run(tmp_path)
    assert again.config == network and facts['model'] == 'dcgan'
    assert all(torch.equal(a, b) for a, b in zip(pair.state_dict().values(), again.state_dict().values()))


def test_a_pair_of_ones_own_is_opened_with_such_a_pair(tmp_path):
    trainer = Trainer(TinyPair(), images(), CONFIG, [Checkpoints(tmp_path)], 'cpu').fit(2, progress=False)
    with pytest.raises(ValueError, match=r'load_run\(run, pair=…\)'):
        load_run(tmp_path)
    pair, generator, _ = load_run(tmp_path, pair=TinyPair(seed=5))
    assert torch.equal(weights(trainer), torch.nn.utils.parameters_to_vector(pair.parameters()))


STYLE = StyleGANConfig(16, z_dim=8, w_dim=8, mapping_layers=2, channel_base=128, channel_max=16, path_weight=0.0)


def test_w_avg_moves_in_ones_own_loop():
    torch.manual_seed(0)
    generator, z = StyleGANGenerator(STYLE).train(), torch.randn(64, 8, generator=rng(0))
    with torch.no_grad():
        generator(z)
        generator.eval()(z)
    assert not generator.mapping.w_avg.any()
    optimizer = torch.optim.Adam(generator.parameters(), 1e-3)
    for _ in range(3):
        generator.train()(z).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    mean = generator.mapping.w(z).mean(0)
    assert torch.nn.functional.cosine_similarity(generator.mapping.w_avg, mean, dim=0) > 0.9


def test_its_absence_is_said_and_a_tracked_mean_is_not():
    torch.manual_seed(0)
    generator, z = StyleGANGenerator(STYLE).eval(), torch.randn(4, 8, generator=rng(0))
    with pytest.warns(UserWarning, match=r'call mapping.track\(w\)'):
        generator(z, truncation=0.7)
    generator.mapping.track(generator.mapping.w(z))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        generator(z, truncation=0.7)
        generator(z)


def test_the_training_of_the_pair_moves_it_once_a_step():
    "The pair tracks by itself, and as before: forward in training mode is not a part of its step."
    torch.manual_seed(0)
    pair = StyleGANPair(STYLE)
    trainer = Trainer(pair, images(size=16), TrainingConfig(batch_size=4), device='cpu')
    calls = []
    pair.generator.mapping.track = lambda w, beta: calls.append(len(w))
    trainer.fit(3, progress=False)
    trainer.sample(4)
    assert calls == [4, 4, 4]


def test_evaluate_takes_a_generator_and_a_pair():
    torch.manual_seed(0)
    real = torch.rand(120, 3, 16, 16, generator=rng(0)) * 2 - 1
    pair = DCGANPair(TINY)
    pair.generator.train()
    options = dict(extractor='pixels', n=60, engine='animegan_nb', replicates=4, cuts=1)
    one, two = evaluate(pair.generator, real, **options), evaluate(pair, real, **options)
    assert one.to_dict() == two.to_dict() == evaluate(pair.generator, real, **options).to_dict()
    assert pair.generator.training
    rows = torch.utils.data.TensorDataset(real)
    assert evaluate(pair, torch.utils.data.DataLoader(rows, 7), **options).card.n_real == one.card.n_real
    conditional = build_pair('conditional', dict(size=16, base=8, channels=8, blocks=1, d_channels=4))
    evaluate(conditional, real, **options)
    with pytest.raises(TypeError, match='give a function of n'):
        evaluate(conditional.generator, real, **options)


@pytest.mark.parametrize(
    'settings, found',
    [
        (['training.batch_size=8', 'steps=7'], lambda r: (r.training.batch_size, r.steps) == (8, 7)),
        (['training.generator_betas=0,0.99'], lambda r: r.training.generator_betas == (0, 0.99)),
        (['training.generator_betas=[0.0, 0.9]'], lambda r: r.training.generator_betas == (0.0, 0.9)),
        (['training.mirror=False', 'augment = ada'], lambda r: (r.training.mirror, r.augment) == (False, 'ada')),
        (['network.loss=hinge'], lambda r: r.network.loss == 'hinge'),
        (['training.channels_last=true'], lambda r: r.training.channels_last is True),
        (['augment=ada', 'augment=none'], lambda r: r.augment == ''),
    ],
)
def test_numbers_are_set(settings, found):
    assert found(cli.changed_recipe(recipes['dcgan-tiny'], settings))


def test_numbers_of_stages_and_of_nested_tables_are_set():
    changed = cli.changed_recipe(recipes['stylegan-liu-a'], ['stages.1.images=1000'])
    assert changed.stages[1].images == 1000
    assert cli.changed_recipe(recipes['pigan-cpu'], ['network.view.samples=5']).network.view.samples == 5


@pytest.mark.parametrize(
    'setting, says',
    [
        ('batch_size=8', 'did you mean training.batch_size?'),
        ('training.batchsize=8', 'did you mean training.batch_size?'),
        ('network.chanels=8', 'did you mean network.channels?'),
        ('stages.0.images=8', 'no setting'),
        ('training.batch_size', 'write --set training.batch_size=VALUE'),
        ('training.batch_size=many', 'whole number'),
        ('training.batch_size=0', 'between 1 and'),
        ('network.size=100', 'not 100'),
        ('steps=0', 'at least 1'),
    ],
)
def test_wrong_numbers_are_one_sentence(setting, says, capsys, tmp_path):
    assert cli.main(['train', 'dcgan-tiny', '--out', str(tmp_path / 'x'), '--set', setting]) == 1
    error = capsys.readouterr().err
    assert says in error and error.count('\n') == 1 and not (tmp_path / 'x').exists()


def test_help_shows_how(capsys):
    with pytest.raises(SystemExit):
        cli.main(['train', '--help'])
    assert '--set training.batch_size=8' in ' '.join(capsys.readouterr().out.split())


def test_one_callback_for_trackio_and_wandb(monkeypatch, tmp_path):
    said = []
    module = types.ModuleType('wandb')
    module.init = lambda **options: said.append(('init', options['project'], options['config']['batch_size']))
    module.log = lambda numbers, step: said.append(('log', step, numbers))
    module.finish = lambda: said.append(('finish',))
    monkeypatch.setitem(sys.modules, 'wandb', module)
    trainer = Trainer(DCGANPair(TINY), images(size=16), CONFIG, [Tracker('heads', package='wandb')], 'cpu')
    trainer.fit(2, progress=False)
    assert [row[0] for row in said] == ['init', 'log', 'log', 'finish'] and said[0] == ('init', 'heads', 4)
    assert [row[1] for row in said[1:3]] == [1, 2]
    assert all('step' not in row[2] and row[2]['images'] == 4 * row[1] for row in said[1:3])  # trackio keeps the name
    monkeypatch.setitem(sys.modules, 'trackio', None)
    with pytest.raises(ImportError, match='pip install trackio'):
        Trainer(DCGANPair(TINY), images(size=16), CONFIG, [Tracker('heads')], 'cpu').fit(1, progress=False)


REAL = '''
import json, sqlite3, sys, warnings
from pathlib import Path
warnings.simplefilter('error', UserWarning)
sys.path.insert(0, {tests!r})
from tiny import images
from animegan_nb.callbacks import Tracker
from animegan_nb.dcgan import DCGANConfig, DCGANPair
from animegan_nb.training import Trainer, TrainingConfig
pair = DCGANPair(DCGANConfig(16, channels=16, latent=8))
trainer = Trainer(pair, images(size=16), TrainingConfig(batch_size=4), [Tracker('heads', 'first')], 'cpu')
trainer.fit(3, progress=False)
(store,) = Path({store!r}).glob('heads*.db')
rows = sqlite3.connect(store).execute('select run_name, step, metrics from metrics order by step').fetchall()
assert [row[:2] for row in rows] == [('first', 1), ('first', 2), ('first', 3)], rows
assert json.loads(rows[2][2])['images'] == 12
'''


def test_the_real_trackio_offline(tmp_path):
    pytest.importorskip('trackio', reason='needs pip install trackio')
    text = REAL.format(tests=str(Path(__file__).parent), store=str(tmp_path))
    environment = {**os.environ, 'TRACKIO_DIR': str(tmp_path), 'HF_HUB_OFFLINE': '1'}
    done = subprocess.run([sys.executable, '-c', text], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
