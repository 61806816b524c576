"The command line, in processes of its own: words, exit codes, Ctrl-C, one sentence for every mistake."

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from animegan_nb import cli
from animegan_nb.training import checkpoints, recipes

ANIMEGAN = [sys.executable, '-c', 'import sys; from animegan_nb.cli import main; sys.exit(main())']


def run(*words, **kwargs):
    return subprocess.run([*ANIMEGAN, *map(str, words)], capture_output=True, text=True, timeout=200, **kwargs)


@pytest.fixture
def folder(tmp_path):
    images = tmp_path / 'pictures'
    images.mkdir()
    for i in range(24):
        Image.effect_noise((40, 40), 20 + i).convert('RGB').save(images / f'{i}.png')
    return images


@pytest.mark.parametrize(
    'words',
    [
        (),
        ('data',),
        ('data', 'check'),
        ('data', 'clean'),
        ('train',),
        ('resume',),
        ('sample',),
        ('evaluate',),
        ('presets',),
        ('tour',),
    ],
)
def test_help(words, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([*words, '--help'])
    assert stop.value.code == 0 and 'usage: animegan' in capsys.readouterr().out


def test_help_does_not_wait_for_torch():
    result = subprocess.run(
        [sys.executable, '-X', 'importtime', '-c', 'from animegan_nb.cli import parser; parser()'],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0 and '| torch\n' not in result.stderr


@pytest.mark.parametrize(
    'words', [('draw',), ('train', 'dcgan-tiny'), ('train', 'dcgan-tiny', '--out', 'x', '--steps', '-3'), ('sample',)]
)
def test_a_wrong_word_is_exit_2(words, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(list(words))
    assert stop.value.code == 2


@pytest.mark.parametrize(
    'words, says',
    [
        (('train', 'no-such', '--out', 'x'), 'no recipe called'),
        (('train', 'mine.toml', '--out', 'x'), 'no file mine.toml'),
        (('train', 'dcgan-tiny', '--data', 'nowhere', '--out', 'x'), 'nowhere'),
        (('resume', 'nowhere'), 'There is no folder nowhere: name that of a run'),
        (('resume', '.'), 'not the folder of a training'),
        (('evaluate', '.'), 'not the folder of a training'),
        (('sample', 'nowhere'), 'There is no folder nowhere: name that of a run'),
        (('evaluate', 'nowhere'), 'There is no folder nowhere: name that of a run'),
        (('presets', 'no-such'), 'no recipe'),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_1(words, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(list(words)) == 1
    error = capsys.readouterr().err
    assert says in error and error.count('\n') == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', sorted(recipes))
def test_every_preset_survives_its_file(name):
    assert cli.recipe_from_toml(cli.recipe_to_toml(recipes[name])) == recipes[name]


@pytest.mark.parametrize(
    'text, says',
    [
        ('model = ', 'not valid TOML'),
        ('steps = 3', 'names no model'),
        ('model = "x"', 'no model called'),
        ('model = "dcgan"\n[training]\nbatchsize = 3', 'batchsize'),
        ('model = "dcgan"\n[network]\nsize = 100', 'not 100'),
    ],
)
def test_wrong_recipes(text, says):
    with pytest.raises((ValueError, KeyError), match=says):
        cli.recipe_from_toml(text)


def test_train_resume_sample_evaluate(folder, tmp_path):
    out = tmp_path / 'run'
    first = run('train', 'dcgan-tiny', '--data', folder, '--out', out, '--steps', 5, '--device', 'cpu')
    assert first.returncode == 0, first.stderr
    assert (out / 'recipe.toml').exists() and checkpoints(out)[-1].name == 'step-00000005'
    again = run('train', 'dcgan-tiny', '--data', folder, '--out', out)
    assert again.returncode == 1 and 'holds a training already' in again.stderr
    assert run('resume', out, '--steps', 8, '--device', 'cpu').returncode == 0
    assert checkpoints(out)[-1].name == 'step-00000008'
    assert run('sample', out, '--n', 6, '--columns', 3, '--out', tmp_path / 's.png').returncode == 0
    with Image.open(tmp_path / 's.png') as image:
        assert image.size == (3 * 16 + 4, 2 * 16 + 2)
    measured = run('evaluate', out, '--extractor', 'pixels', '--n', 12)
    assert measured.returncode == 0, measured.stderr
    assert json.loads(next(out.glob('evaluation-*.json')).read_text())


def test_ctrl_c_saves_and_says_how_to_go_on(folder, tmp_path):
    out = tmp_path / 'run'
    process = subprocess.Popen(
        [
            *ANIMEGAN,
            'train',
            'dcgan-tiny',
            '--data',
            str(folder),
            '--out',
            str(out),
            '--steps',
            '100000',
            '--device',
            'cpu',
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    log = out / 'log.jsonl'
    for _ in range(600):
        if log.exists() and log.stat().st_size:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 130 and 'animegan resume' in said
    step = int(checkpoints(out)[-1].name[5:])
    assert step >= 1 and len(log.read_text().splitlines()) == step


def test_data_check_and_clean(folder, tmp_path, capsys):
    (folder / 'broken.png').write_bytes((folder / '0.png').read_bytes()[:60])
    (folder / 'twin.png').write_bytes((folder / '1.png').read_bytes())
    assert cli.main(['data', 'check', str(folder)]) == 3
    assert 'broken.png' in capsys.readouterr().out
    assert cli.main(['data', 'clean', str(folder), '--out', str(tmp_path / 'clean')]) == 0
    kept = {p.name for p in (tmp_path / 'clean').rglob('*') if p.is_file()}
    assert 'broken.png' not in kept and len({'1.png', 'twin.png'} & kept) == 1 and len(list(folder.iterdir())) == 26


def test_a_preset_as_a_file(tmp_path, folder):
    text = run('presets', 'dcgan-tiny').stdout
    (tmp_path / 'mine.toml').write_text(text.replace('latent = 100', 'latent = 12'))
    assert (
        run(
            'train', tmp_path / 'mine.toml', '--data', folder, '--out', tmp_path / 'r', '--steps', 1, '--device', 'cpu'
        ).returncode
        == 0
    )
    assert 'latent = 12' in (tmp_path / 'r' / 'recipe.toml').read_text()


@pytest.mark.real
def test_real_faces_from_the_command_line(data_dir, tmp_path):
    result = run(
        'train',
        'dcgan-tiny',
        '--data',
        data_dir / 'anime_faces_native',
        '--out',
        tmp_path / 'r',
        '--steps',
        2,
        '--device',
        'cpu',
    )
    assert result.returncode == 0, result.stderr


def test_the_tour_names_wrong_images(tmp_path, capsys):
    assert cli.main(['tour', '--data', str(tmp_path / 'nothing'), '--out', str(tmp_path / 'out')]) == 1
    assert 'nothing' in capsys.readouterr().err and not (tmp_path / 'out').exists()
    assert 'ANIMEGAN_TOUR_DATA' not in os.environ


def test_the_tour_of_a_checkout_is_the_index(root):
    assert cli.tour_notebook() == Path(root) / 'nbs' / 'index.ipynb'


def test_the_page_of_the_tour_hides_and_links(tmp_path, root):
    nbformat, nbconvert = pytest.importorskip('nbformat'), pytest.importorskip('nbconvert')
    book = nbformat.read(cli.tour_notebook(), as_version=4)
    page = cli.write_page(book, tmp_path / 'out', nbconvert.HTMLExporter())
    text = page.read_text(encoding='utf-8')
    assert '#| hide' not in text and [p.name for p in (tmp_path / 'out').iterdir()] == ['index.html']
    targets = [t for t in re.findall(r'href="([^"#]+\.ipynb)"', text) if not t.startswith('http')]
    assert len(targets) > 10 and all((tmp_path / 'out' / t).resolve().exists() for t in targets)


def test_a_setting_that_the_stages_overrule_is_refused():
    staged = next(r for r in recipes.values() if r.stages and r.stages[0].batch_size is not None)
    with pytest.raises(ValueError, match='a batch_size of their own'):
        cli.changed_recipe(staged, ['training.batch_size=7'])
    assert cli.changed_recipe(staged, ['stages.0.batch_size=7']).stages[0].batch_size == 7
    assert cli.changed_recipe(staged, ['training.seed=7']).training.seed == 7


def test_help_names_no_default_where_there_is_none(capsys):
    for command in (['train'], ['sample'], ['evaluate'], ['data', 'check']):
        with pytest.raises(SystemExit):
            cli.main([*command, '--help'])
        text = capsys.readouterr().out
        assert 'default: None' not in text and 'default: False' not in text
