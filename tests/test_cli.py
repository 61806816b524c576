"The command line, in processes of its own: words, exit codes, Ctrl-C, one sentence for every mistake."

import argparse
import errno
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

from animegan_nb import cli, core, data
from animegan_nb.training import augmentations, checkpoints, recipes

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
        ('animefy',),
        ('course',),
        ('course', 'build'),
        ('course', 'check'),
        ('course', 'grade'),
        ('course', 'export'),
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
    for words, says in (((), '; for more:  animegan resume'), (('--steps', 8), 'has made its 8 steps already')):
        done = run('resume', out, '--device', 'cpu', *words)
        assert done.returncode == 0 and says in done.stdout and 'Trained' not in done.stdout
    assert run('sample', out, '--n', 6, '--columns', 3, '--out', tmp_path / 's.png').returncode == 0
    with Image.open(tmp_path / 's.png') as image:
        assert image.size == (3 * 16 + 4, 2 * 16 + 2)
    measured = run('evaluate', out, '--extractor', 'pixels', '--n', 12)
    assert measured.returncode == 0, measured.stderr
    written = next(out.glob('evaluation-*.json'))
    assert json.loads(written.read_text()) and measured.stdout.endswith(f'These numbers are in {written}\n')
    before = written.read_text()
    for words in (('--data', folder), ('--data', 'toon:40')):
        other = run('evaluate', out, '--extractor', 'pixels', '--n', 12, *words)
        assert other.returncode == 0, other.stderr
    assert written.read_text() == before
    (beside,) = set(out.glob('evaluation-*.json')) - {written}
    images = json.loads(beside.read_text())['card']['real_images']
    assert beside.name == f'evaluation-pixels-n12-seed0-data-{images[:8]}-step-8.json'
    for command in ('evaluate', 'resume'):
        wrong = run(command, out / 'step-00000008')
        assert wrong.returncode == 1 and f'is a checkpoint of a run: name the run, {out}.' in wrong.stderr


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


@pytest.mark.parametrize(
    'words, says',
    [
        ('--batch 8 --set training.batch_size=4', 'training.batch_size is given twice, by --set and by --batch'),
        ('--batch 8 --set stages.*.batch_size=4', 'stages.*.batch_size is given twice, by --set and by --batch'),
        ('--augment ada --set augment=none', 'augment is given twice, by --set and by --augment'),
        ('--steps 3 --set steps=4', 'steps is given twice, by --set and by --steps'),
        ('--seed 0 --set training.seed=1', 'training.seed is given twice, by --set and by --seed'),
        (
            '--precision bf16 --set training.mixed_precision=no',
            'training.mixed_precision is given twice, by --set and by --precision',
        ),
        ('--set steps=3 --set steps=4', 'steps is given twice, by --set and by another --set'),
    ],
)
def test_a_setting_is_given_once(words, says, tmp_path, capsys):
    assert cli.main(['train', 'dcgan-tiny', '--out', str(tmp_path / 'x'), *words.split()]) == 1
    error = capsys.readouterr().err
    assert says in error and error.count('\n') == 1 and not (tmp_path / 'x').exists()


def leaves(parser):
    "Every command that does something, with its words."
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from (([name, *words], leaf) for words, leaf in leaves(below))
            return
    yield [], parser


LEAVES = list(leaves(cli.parser()))


@pytest.mark.parametrize('words, parser', LEAVES, ids=['-'.join(words) for words, _ in LEAVES])
def test_help_names_no_default_where_there_is_none(words, parser, capsys):
    with pytest.raises(SystemExit):
        cli.main([*words, '--help'])
    text = capsys.readouterr().out
    assert 'default: None' not in text and 'default: False' not in text
    for action in parser._actions:
        if isinstance(action.default, (int, float, str)) and action.default is not False and action.dest != 'help':
            assert f'(default: {action.default})' in ' '.join(text.split()), action.dest
        elif action.default is None and not action.required:
            assert action.help.endswith(('if not given', 'else this folder')), (words, action.dest)


def test_every_command_has_been_looked_at():
    assert ['sample'] in [w for w, _ in LEAVES] and ['course', 'export'] in [w for w, _ in LEAVES] and len(LEAVES) == 13


def test_the_help_names_every_augmentation(capsys):
    with pytest.raises(SystemExit):
        cli.main(['train', '--help'])
    text = capsys.readouterr().out
    assert all(f"'{name}'" in text for name in [*augmentations, 'none'])


def test_an_error_names_the_path_that_was_given(folder, tmp_path, capsys):
    file = tmp_path / 'a.txt'
    file.write_text('text')
    for named, words in (
        (file / 'run', ('train', 'dcgan-tiny', '--data', folder, '--out', file / 'run', '--device', 'cpu')),
        (file / 'in', ('data', 'clean', folder, '--out', file / 'in' / 'it')),
    ):
        assert cli.main([str(word) for word in words]) == 1
        assert capsys.readouterr().err.startswith(f"animegan: {str(named)!r} cannot be used (Not a directory)")
    with pytest.raises(OSError) as caught, core.atomic_path(file / 'x.png') as part:
        part.write_bytes(b'')
    assert cli.error_sentence(caught.value).startswith(repr(str(file / 'x.png')))
    target = tmp_path / 'none' / 'new.set'
    unfinished = data._part(target) / 'b' / '1.png'
    error = FileNotFoundError(errno.ENOENT, 'No such file', str(unfinished))
    assert cli.error_sentence(error).startswith(repr(str(target / 'b' / '1.png')))


def test_a_run_without_a_good_checkpoint(tmp_path, capsys):
    out = tmp_path / 'run'
    out.mkdir()
    (out / 'recipe.toml').write_text(cli.recipe_to_toml(recipes['dcgan-tiny']))
    (out / 'data.json').write_text('{"data": "toon:16"}')
    for command in ('sample', 'evaluate'):
        assert cli.main([command, str(out)]) == 1
        assert f'has no checkpoint yet: go on with animegan resume {out}' in capsys.readouterr().err
    damaged = out / 'step-00000003'
    damaged.mkdir()
    for name in ('state.json', 'tensors.safetensors'):
        (damaged / name).write_text('?')
    for command in ('sample', 'evaluate', 'resume'):
        with pytest.warns(UserWarning, match='cannot be read'):
            assert cli.main([command, str(out), '--device', 'cpu']) == 1
        assert 'None of the checkpoints in' in capsys.readouterr().err
        assert cli.main([command, str(out / 'data.json'), '--device', 'cpu']) == 1
        assert 'data.json is a file: name the folder of a run.' in capsys.readouterr().err
    assert cli.main(['sample', str(damaged)]) == 1
    assert 'step-00000003 cannot be read' in capsys.readouterr().err


def test_a_command_names_its_own_options(folder, tmp_path, capsys):
    texts, out = tmp_path / 'texts', tmp_path / 'out'
    texts.mkdir()
    (texts / 'b.png').write_text('hi')
    assert cli.main(['data', 'clean', str(texts), '--out', str(out)]) == 1
    error = capsys.readouterr().err
    assert f'see animegan data check {texts}' in error and 'loosen' not in error and not out.exists()
    train = ['train', 'dcgan-tiny', '--data', str(folder), '--out', str(out), '--device', 'cpu', '--precision', 'fp16']
    assert cli.main(train) == 1
    assert 'choose --precision bf16 or --precision no' in capsys.readouterr().err and not out.exists()
    out.mkdir()
    recipe = cli.recipe_to_toml(recipes['dcgan-tiny']).replace('mixed_precision = "no"', 'mixed_precision = "fp16"')
    (out / 'recipe.toml').write_text(recipe)
    assert cli.main(['resume', str(out), '--data', str(folder), '--device', 'cpu']) == 1
    assert 'mixed_precision = "bf16" in' in capsys.readouterr().err
    assert cli.main(['animefy', str(texts / 'b.png'), '--out', 'x.png', '--preset', 'thesiss']) == 1
    assert 'did you mean thesis?' in capsys.readouterr().err


def test_the_only_image_is_cut_short(folder, capsys):
    for path in list(folder.iterdir())[1:]:
        path.unlink()
    only = next(folder.iterdir())
    only.write_bytes(only.read_bytes()[:60])
    assert cli.main(['train', 'dcgan-tiny', '--data', str(folder), '--out', str(folder / 'x'), '--device', 'cpu']) == 1
    error = capsys.readouterr().err
    assert f'The only image file, {only.name}, could not be read: image file is truncated.' in error
