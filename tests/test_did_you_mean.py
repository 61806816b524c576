"A word that nobody knows is answered with the one that was probably meant: names, settings, files, commands."

import difflib
import importlib
import pkgutil
import subprocess
import sys

import pytest
import torch
from hypothesis import given, HealthCheck, settings, strategies as st

import animegan_nb
from animegan_nb import cli, core, data as D
from animegan_nb._nearest import did_you_mean, did_you_mean_path
from animegan_nb.training import models, network_config, recipes, train

SOME = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
CHAPTERS = sorted(m.name for m in pkgutil.iter_modules(animegan_nb.__path__) if not m.name.startswith('_'))
MODULES = [importlib.import_module(f'animegan_nb.{name}') for name in CHAPTERS]
importlib.import_module('animegan_nb.exercises.losses')  # exercises are found by name, too
FOUND = {id(x): x for module in MODULES for x in vars(module).values() if isinstance(x, core.Registry)}
REGISTRIES = {registry.kind: registry for registry in FOUND.values() if len(registry)}


@st.composite
def mistyped(draw, words):
    "A word of more than three letters, and the same with a slip of the fingers."
    word = draw(st.sampled_from(sorted(w for w in words if len(w) > 3)))
    k = draw(st.integers(0, len(word) - 2))
    slips = {
        'left out': word[:k] + word[k + 1 :],
        'doubled': word[:k] + word[k] + word[k:],
        'exchanged': word[:k] + word[k + 1] + word[k] + word[k + 2 :],
        'another': word[:k] + 'q' + word[k + 1 :],
        'capital': word.upper(),
        'sign': word.replace('-', '_') if '-' in word else word.replace('_', '-'),
    }
    return word, slips[draw(st.sampled_from(sorted(slips)))]


def check(message: str, word: str, wrong: str, words):
    "The message names one of `words` that resembles what was typed at least as much as what was meant."
    text = str(message)
    assert '(did you mean ' in text and '\n' not in text, text
    said = text.split('(did you mean ')[1].split('?)')[0]
    alike = lambda a: difflib.SequenceMatcher(None, a.casefold(), wrong.casefold()).ratio()
    assert said in words and alike(said) >= alike(word) - 0.05, (said, word, wrong)


@given(st.sampled_from(sorted(REGISTRIES)), st.data())
@SOME
def test_every_registry(kind, data):
    registry = REGISTRIES[kind]
    word, wrong = data.draw(mistyped(map(str, registry)))
    if wrong not in registry:
        with pytest.raises(KeyError) as error:
            registry[wrong]
        check(error.value.args[0], word, wrong, list(registry))


def test_there_are_registries_of_all_that_a_recipe_names():
    assert {'recipe', 'model', 'loss', 'extractor', 'augmentation', 'oracle', 'pose prior'} <= set(REGISTRIES)


@given(st.sampled_from(sorted(models)), st.data())
@SOME
def test_every_setting_of_a_network(model, data):
    names = [f.name for f in core.fields(models[model][0])]
    word, wrong = data.draw(mistyped(names))
    if wrong not in names and wrong not in getattr(models[model][0], 'former', ()):
        with pytest.raises(ValueError) as error:
            network_config(model, {wrong: 1})
        check(error.value, word, wrong, names)


@given(st.sampled_from(sorted(recipes)), st.data())
@SOME
def test_every_number_behind_set(name, data):
    names = cli.setting_names(recipes[name])
    word, wrong = data.draw(mistyped(names))
    if wrong not in names:
        with pytest.raises(ValueError) as error:
            cli.changed_recipe(recipes[name], [f'{wrong}=1'])
        check(error.value, word, wrong, names)


SHIPPED = core.shipped_networks()
NAMED = {
    'networks': (SHIPPED, core.find_pretrained, FileNotFoundError),
    'budgets': (list(core.BUDGETS), core.get_budget, ValueError),
    'public sets': (list(D.PUBLIC), D.public_dataset, ValueError),
    'chapters': (CHAPTERS, lambda name: getattr(animegan_nb, name), AttributeError),
}


@given(st.sampled_from(sorted(NAMED)), st.data())
@SOME
def test_names_that_no_registry_keeps(kind, data):
    words, find, expected = NAMED[kind]
    word, wrong = data.draw(mistyped(words))
    if wrong not in words:
        with pytest.raises(expected) as error:
            find(wrong)
        check(error.value, word, wrong, words)


COMMANDS = {
    (): ('data', 'presets', 'train', 'resume', 'tour', 'sample', 'evaluate', 'course'),
    ('data',): ('check', 'clean'),
    ('course',): ('build', 'check', 'grade', 'export'),
    ('train', 'dcgan-tiny', '--out', 'x'): '--data --steps --batch --seed --precision --augment --device'.split(),
    ('resume', 'x'): ('--data', '--steps', '--device'),
    ('sample', 'x'): ('--out', '--columns', '--seed', '--device'),
    ('evaluate', 'x'): ('--data', '--extractor', '--seed', '--device'),
    ('tour',): ('--out', '--data'),
    ('train', 'x', '--out', 'x', '--precision'): ('bf16', 'fp16'),
}


@given(st.sampled_from(sorted(COMMANDS)), st.data())
@SOME
def test_every_word_of_the_command_line(before, data):
    word, wrong = data.draw(mistyped(COMMANDS[before]))
    if wrong in COMMANDS[before] or wrong.startswith('-') and any(w.startswith(wrong) for w in COMMANDS[before]):
        return  # argparse takes the beginning of an option for it
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'stderr', type('Ear', (), {'write': lambda self, text: said.append(text)})())
        with pytest.raises(SystemExit) as end:
            cli.parser().parse_args([*before, wrong])
    assert end.value.code == 2
    if len(wrong.lstrip('-')) > 3 and not wrong.startswith('_'):
        check(''.join(said).splitlines()[-1], word, wrong, [*COMMANDS[before], '--set'])


def test_a_wrong_command_is_answered_without_torch():
    program = 'import sys; from animegan_nb import cli\ntry: cli.main(["trian"])\nexcept SystemExit: pass\n'
    done = subprocess.run(
        [sys.executable, '-c', program + 'assert "torch" not in sys.modules'], capture_output=True, text=True
    )
    assert done.returncode == 0 and 'did you mean train?' in done.stderr, done.stderr


@pytest.mark.parametrize(
    'words, meant',
    [
        (['train', 'dcgan-tiny', '--out', 'x', '--data', 'picturse'], 'pictures'),
        (['train', 'dcgan-tiny', '--out', 'x', '--data', 'ton'], 'toon'),
        (['train', 'dcgan-tiny', '--out', 'x', '--data', 'Toon'], 'toon'),
        (['train', 'my-recpie.toml', '--out', 'x'], 'my-recipe.toml'),
        (['data', 'check', 'picture'], 'pictures'),
        (['resume', 'runn'], 'run'),
        (['sample', 'ru n'], 'run'),
        (['evaluate', 'rune'], 'run'),
    ],
)
def test_files_and_folders(words, meant, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ('pictures', 'run'):
        (tmp_path / name).mkdir()
    (tmp_path / 'my-recipe.toml').touch()
    assert cli.main(words) == 1
    said = capsys.readouterr().err
    assert f'(did you mean {meant}?)' in said and said.count('\n') == 1, said


@given(st.text(max_size=300), st.lists(st.text(max_size=30), max_size=20))
@SOME
def test_any_word_has_an_answer(word, known):
    assert did_you_mean(word, known) in ['', *(f' (did you mean {name}?)' for name in known)]


def test_nothing_is_said_where_nothing_is_near(tmp_path):
    assert did_you_mean('wasserstein', ['hinge']) == did_you_mean('x', []) == ''
    assert did_you_mean_path(tmp_path / 'no' / 'such', 'toon') == ''
    (tmp_path / 'bom.toml').touch()
    assert did_you_mean_path(tmp_path / 'missing.toml') == ''


@pytest.mark.parametrize(
    'words, says',
    [
        (['--augment', 'adda'], 'did you mean ada?'),
        (['--precision', 'fp16', '--device', 'cpu'], 'fp16 needs a GPU'),
        (['--device', 'cdua'], 'There is no device'),
    ],
)
def test_a_wrong_word_costs_no_time(words, says, tmp_path, monkeypatch, capsys):
    "It is refused before the images are opened, which may take minutes."
    monkeypatch.setattr(cli, 'open_data', lambda *_: pytest.fail('the images were opened'))
    assert cli.main(['train', 'dcgan-tiny', '--out', str(tmp_path / 'x'), *words]) == 1
    assert says in capsys.readouterr().err and not (tmp_path / 'x').exists()


def test_a_wrong_extractor_costs_no_time(tmp_path, monkeypatch, capsys):
    run = tmp_path / 'run'
    train('dcgan-tiny', torch.zeros(8, 3, 16, 16), run, steps=1, progress=False)
    monkeypatch.setattr(cli, 'open_data', lambda *_: pytest.fail('the images were opened'))
    assert cli.main(['evaluate', str(run), '--data', 'toon', '--extractor', 'incepton']) == 1
    assert 'did you mean inception?' in capsys.readouterr().err
