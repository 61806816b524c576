"The folder of a run: damaged files, changed settings, two processes, half set-ups. One sentence, or the training."

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import threading

import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from tiny import folder_of, make

from animegan_nb import callbacks, cli, training
from animegan_nb.data import ImageSet
from animegan_nb.training import checkpoints, checksum, DamagedCheckpoint, load_state, TrainingConfig

STEPS = ('--steps', '2', '--batch', '4', '--device', 'cpu')


def animegan(capsys, *words):
    "The exit code, and the lines on stderr that are no progress bar."
    code = cli.main([str(word) for word in words])
    said = capsys.readouterr().err.replace('\r', '\n').splitlines()
    return code, [line for line in said if line.startswith('animegan: ')], said


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    "A run of two steps, with two checkpoints."
    root = tmp_path_factory.mktemp('runs')
    folder_of(root / 'faces', 12, (20, 20))
    assert cli.main(['train', 'dcgan-tiny', '--data', str(root / 'faces'), '--out', str(root / 'run'), *STEPS]) == 0
    assert [c.name for c in checkpoints(root / 'run')] == ['step-00000001', 'step-00000002']
    return root


@pytest.fixture
def run(trained, tmp_path):
    "A copy of it that may be damaged."
    return shutil.copytree(trained / 'run', tmp_path / 'run')


TEXTS = [b'', b'null', b'3', b'[]', b'{}', b'"text"', b'\x00\xff\xfe', b'{"a"', b'[' * 5000]


@pytest.mark.parametrize('name', ['recipe.toml', 'data.json', 'log.jsonl'])
@pytest.mark.parametrize('content', TEXTS, ids=lambda content: str(content[:8]))
def test_a_damaged_file_of_a_run_is_one_sentence(run, capsys, name, content):
    (run / name).write_bytes(content)
    for words in (('resume', run, '--device', 'cpu'), ('evaluate', run, '--extractor', 'pixels', '--n', 4)):
        if name == 'log.jsonl' and words[0] == 'evaluate':
            continue
        code, sentences, said = animegan(capsys, *words)
        if name == 'log.jsonl':
            assert code == 0 and not sentences
            continue
        assert code == 1 and len(sentences) == 1 and 'Traceback' not in '\n'.join(said)


@pytest.mark.parametrize('record', ['{"step": "3"}', '{"step": null}', '{"step": [1]}', '{"step": true}', '3', '[3]'])
def test_a_log_with_other_types_does_not_end_a_training(run, record):
    log = run / 'log.jsonl'
    log.write_text(record + '\n' + log.read_text() + record + '\n')
    assert [r['step'] for r in callbacks.read_log(log)] == [1, 2]


def rewrite(checkpoint, change):
    "Change what a state.json says, with a checksum that is right."
    facts = json.loads((checkpoint / 'state.json').read_text())
    change(facts)
    facts['checksum'] = checksum(facts)
    (checkpoint / 'state.json').write_text(json.dumps(facts))


WRONG = [None, 3, -1, 1.5, 'text', [], {}, True, {'dict': []}, {'list': [1]}, {'tensor': 'none'}, {'dict': [[1, 2, 3]]}]
NAMES = [
    'step',
    'images',
    'position',
    'batch_size',
    'stage',
    'steps',
    'pair',
    'draws',
    'optimizers',
    'engine',
    'callbacks',
]


@pytest.mark.parametrize('name', NAMES)
def test_every_value_of_a_state_is_checked(trained, tmp_path, name):
    whole = checkpoints(trained / 'run')[-1]
    recipe = cli.recipe_from_toml((trained / 'run' / 'recipe.toml').read_text())
    trainer = cli.make_trainer(recipe, str(trained / 'faces'), tmp_path / 'other', 'cpu')
    before = copy.deepcopy(trainer.pair.state_dict())
    for number, value in enumerate(WRONG):
        folder = shutil.copytree(whole, tmp_path / f'step-{number:08d}')

        def change(facts, value=value):
            next(pair for pair in facts['state']['dict'] if pair[0] == name)[1] = value

        rewrite(folder, change)
        for load in (trainer.load, training.load_checkpoint):
            try:
                load(folder)
            except (DamagedCheckpoint, ValueError) as error:
                assert '\n' not in str(error)
                if load == trainer.load:
                    now = trainer.pair.state_dict()
                    assert trainer.step == 0 and all(torch.equal(now[k], v) for k, v in before.items())
            else:
                assert value in (3, {}, {'dict': []}, True, None, -1) or name in ('batch_size', 'stage'), (name, value)
                trainer.step = 0
                trainer.pair.load_state_dict(before)


@pytest.mark.parametrize('name', ['info', 'state', 'sha256', 'model', 'network', 'config', 'step'])
def test_every_fact_of_a_checkpoint_is_checked(run, capsys, name, tmp_path):
    for value in (None, 3, 'text', [], {'a': 1}, [[1]]):
        for folder in checkpoints(run):
            rewrite(
                folder, lambda facts, value=value: (facts if name in facts else facts['info']).update({name: value})
            )
        code, sentences, said = animegan(
            capsys, 'sample', run, '--n', 2, '--device', 'cpu', '--out', tmp_path / 'a.png'
        )
        assert code == 0 or (code == 1 and sentences)
        assert 'Traceback' not in '\n'.join(said) and not any('unexpected' in s for s in sentences), sentences


@given(st.integers(0, 10**6), st.integers(1, 255), st.sampled_from(['state.json', 'tensors.safetensors']))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_flipped_byte_anywhere_is_noticed(trained, tmp_path_factory, where, bits, name):
    folder = tmp_path_factory.mktemp('flip') / 'step-1'
    shutil.copytree(checkpoints(trained / 'run')[0], folder)
    content = bytearray((folder / name).read_bytes())
    content[where % len(content)] ^= bits
    (folder / name).write_bytes(bytes(content))
    same = name == 'state.json' and json_of(content) == json_of((checkpoints(trained / 'run')[0] / name).read_bytes())
    try:
        load_state(folder)
    except DamagedCheckpoint as error:
        assert '\n' not in str(error)
    else:
        assert same  # a space between two words


def json_of(content):
    try:
        return json.loads(bytes(content))
    except ValueError:
        return None


def test_damage_everywhere_is_an_error_and_damage_at_the_end_is_repaired(run, capsys):
    for folder in checkpoints(run)[1:]:
        (folder / 'tensors.safetensors').write_bytes(b'')
    with pytest.warns(UserWarning, match='Trying the one before'):
        assert animegan(capsys, 'resume', run, '--device', 'cpu')[0] == 0
    for folder in checkpoints(run):
        load_state(folder)
        (folder / 'state.json').write_text('{}')
    for command in ('resume', 'sample'):
        with pytest.warns(UserWarning, match='damaged'):
            code, sentences, said = animegan(capsys, command, run, '--device', 'cpu')
        assert code == 1 and 'good' in sentences[-1] and 'Traceback' not in '\n'.join(said)


# ---- settings that change between two halves of a run ----


@pytest.mark.parametrize('now, position', [(8, 4), (4, 8), (2, 16), (3, 10)])
def test_another_batch_size_goes_on_at_the_same_image(tmp_path, now, position):
    make(config=TrainingConfig(batch_size=8)).fit(4, progress=False).save(tmp_path / 'step-4')
    trainer = make(config=TrainingConfig(batch_size=now)).load(tmp_path / 'step-4')
    assert (trainer.images, trainer.position) == (32, position)
    assert trainer.fit(1, progress=False).images == 32 + now
    seen = make(config=TrainingConfig(batch_size=now))
    seen.loader.position = position
    assert torch.equal(trainer.batch['index'], seen.loader.batch(position)['index'])


def test_an_older_checkpoint_says_its_batch_size_in_its_facts(tmp_path):
    folder = make(config=TrainingConfig(batch_size=8)).fit(4, progress=False).save(tmp_path / 'step-4')

    def forget(facts):
        facts['state']['dict'] = [pair for pair in facts['state']['dict'] if pair[0] != 'batch_size']

    rewrite(folder, forget)
    assert make(config=TrainingConfig(batch_size=4)).load(folder).position == 8


@pytest.mark.parametrize(
    'old, new, words',
    [
        ('latent = 100', 'latent = 50', 'latent = 100, and the recipe says 50'),
        ('optimizer = "adam"', 'optimizer = "rmsprop"', "another optimizer than 'rmsprop'"),
        ('model = "dcgan"', 'model = "wgan"', ''),
        ('size = 16', 'size = 32', 'size = 16, and the recipe says 32'),
    ],
)
def test_what_cannot_change_in_a_run_is_one_sentence(run, capsys, old, new, words):
    text = (run / 'recipe.toml').read_text()
    assert old in text
    (run / 'recipe.toml').write_text(text.replace(old, new))
    code, sentences, _ = animegan(capsys, 'resume', run, '--device', 'cpu')
    assert code == 1 and len(sentences) == 1 and words in sentences[0]


def test_the_numbers_of_the_recipe_win(run, capsys):
    text = (run / 'recipe.toml').read_text()
    for old, new in (
        ('generator_lr = 0.0002', 'generator_lr = 1e-7'),
        ('    0.5,\n', '    0.25,\n'),
        ('batch_size = 4', 'batch_size = 2'),
        ('steps = 2', 'steps = 3'),
        ('schedule = "constant"', 'schedule = "linear"'),
        ('total_steps = 0', 'total_steps = 4'),
    ):
        assert old in text, old
        text = text.replace(old, new)
    (run / 'recipe.toml').write_text(text)
    assert animegan(capsys, 'resume', run, '--device', 'cpu')[0] == 0
    state = load_state(checkpoints(run)[-1])
    group = state['optimizers']['generator']['param_groups'][0]
    assert (group['initial_lr'], group['betas']) == (1e-7, (0.25, 0.999))
    assert group['lr'] == 1e-7 * 0.5  # of a line from step 0 to step 4
    assert (state['images'], state['position'], state['batch_size']) == (8 + 2, 5, 2)


# ---- one owner, and a folder that is whole ----

TRAIN = """
import sys, time
from animegan_nb.callbacks import own_run
with own_run(sys.argv[1]):
    print('owner', flush=True)
    time.sleep(600)
"""


def test_a_run_has_one_owner_and_a_killed_one_does_not_count(run, capsys, trained):
    owner = subprocess.Popen([sys.executable, '-c', TRAIN, str(run)], stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout.readline() == 'owner\n'
        before = sorted((p.name, p.stat().st_mtime_ns) for p in run.rglob('*') if p.is_file())
        code, sentences, _ = animegan(capsys, 'resume', run, '--steps', 3, '--device', 'cpu')
        assert code == 1 and f'Process {owner.pid} ' in sentences[0] and 'trains in' in sentences[0]
        with pytest.raises(callbacks.RunInUse):
            make([callbacks.Checkpoints(run)]).fit(1, progress=False)
        with pytest.raises(callbacks.RunInUse):  # the log comes first, and is not rewritten
            make([callbacks.JSONLog(run / 'log.jsonl'), callbacks.Checkpoints(run)]).fit(1, progress=False)
        (run / 'recipe.toml').rename(run / 'kept')  # a training that is just being set up
        code, sentences, _ = animegan(capsys, 'train', 'dcgan-tiny', '--data', trained / 'faces', '--out', run, *STEPS)
        assert code == 1 and 'trains in' in sentences[-1]
        (run / 'kept').rename(run / 'recipe.toml')
        assert before == sorted((p.name, p.stat().st_mtime_ns) for p in run.rglob('*') if p.is_file())
        os.kill(owner.pid, signal.SIGSTOP)  # asleep is not dead
        assert animegan(capsys, 'resume', run, '--device', 'cpu')[0] == 1
    finally:
        owner.kill()
        owner.wait()
    assert (run / '.owner').exists()
    assert animegan(capsys, 'resume', run, '--device', 'cpu')[0] == 0
    assert not (run / '.owner').exists()


def test_an_owner_may_own_twice_and_gives_back(tmp_path):
    with callbacks.own_run(tmp_path), callbacks.own_run(tmp_path):
        make([callbacks.Checkpoints(tmp_path)]).fit(1, progress=False)
        assert (tmp_path / '.owner').exists()
    with callbacks.own_run(tmp_path):
        pass
    assert not (tmp_path / '.owner').exists()


@pytest.mark.parametrize('fails', ['data.json', 'recipe.toml'])
@pytest.mark.parametrize('there', [False, True])
def test_a_set_up_that_dies_leaves_no_run(trained, tmp_path, monkeypatch, capsys, fails, there):
    from animegan_nb import core

    write = core.write_atomically

    def full(path, content):
        if path.name == fails:
            raise OSError(28, 'No space left on device', str(path))
        return write(path, content)

    monkeypatch.setattr(core, 'write_atomically', full)
    run = tmp_path / "it's mine" / 'run'
    if there:
        run.mkdir(parents=True)
        (run / 'notes.txt').write_text('mine')
    words = ('train', 'dcgan-tiny', '--data', trained / 'faces', '--out', run, *STEPS)
    code, sentences, _ = animegan(capsys, *words)
    assert code == 1 and 'make room on the disk' in sentences[0] and not (run / 'recipe.toml').exists()
    assert run.exists() == there and not list(run.parent.glob('.*.part'))
    monkeypatch.undo()
    assert animegan(capsys, *words)[0] == 0  # and begins again
    assert (run / 'notes.txt').exists() == there


@pytest.mark.parametrize('there', [False, True])
def test_a_training_that_never_began_leaves_no_run(trained, tmp_path, monkeypatch, capsys, there):
    "Images without the labels or the cameras that a network needs; too little memory for its first step."
    from animegan_nb.dcgan import DCGANPair

    run = tmp_path / 'run'
    if there:
        run.mkdir()
        (run / 'notes.txt').write_text('mine')
    words = ('--data', trained / 'faces', '--out', run, *STEPS)
    assert animegan(capsys, 'train', 'conditional-tiny', *words)[0] == 1
    with monkeypatch.context() as patch:
        patch.setattr(DCGANPair, 'discriminator_step', lambda *_: (_ for _ in ()).throw(MemoryError()))
        code, sentences, _ = animegan(capsys, 'train', 'dcgan-tiny', *words)
    assert code == 1 and 'choose a smaller batch' in sentences[-1]
    assert run.exists() == there and not (run / 'recipe.toml').exists()
    assert animegan(capsys, 'train', 'dcgan-tiny', *words)[0] == 0
    assert (run / 'notes.txt').exists() == there


def test_a_training_that_fails_later_is_kept(trained, tmp_path, monkeypatch, capsys):
    from animegan_nb.dcgan import DCGANPair

    step, count = DCGANPair.generator_step, []

    def fails_at_the_second(*arguments):
        count.append(1)
        if len(count) == 2:
            raise RuntimeError('no more')
        return step(*arguments)

    run = tmp_path / 'run'
    monkeypatch.setattr(DCGANPair, 'generator_step', fails_at_the_second)
    assert animegan(capsys, 'train', 'dcgan-tiny', '--data', trained / 'faces', '--out', run, *STEPS)[0] == 1
    assert (run / 'recipe.toml').exists()
    assert animegan(capsys, 'resume', run)[0] == 0


def test_a_file_in_the_place_of_a_run(trained, tmp_path, capsys):
    (tmp_path / 'file').touch()
    for out in (tmp_path / 'file', tmp_path / 'file' / 'run'):
        words = ('train', 'dcgan-tiny', '--data', trained / 'faces', '--out', out, *STEPS)
        code, sentences, _ = animegan(capsys, *words)
        assert code == 1 and len(sentences) == 1 and 'file' in sentences[0] and 'Errno' not in sentences[0]


# ---- what a command says ----


def test_one_line_says_which_files_are_used(tmp_path, capsys):
    folder = folder_of(tmp_path / 'some', 9, (20, 20))
    for i in range(3):
        (folder / f'page{i}.jpg').write_text('<html>')
        (folder / f'text{i}').write_text('hello')
    code, sentences, _ = animegan(capsys, 'train', 'dcgan-tiny', '--data', folder, '--out', tmp_path / 'r', *STEPS)
    assert code == 0 and len(sentences) == 1
    assert '9 of 15 files are used' in sentences[0] and '3 broken, 3 format' in sentences[0].replace(
        '3 format, 3 broken', '3 broken, 3 format'
    )
    for name in os.listdir(folder)[:]:
        if name.endswith('.png') and name != '000.png':
            (folder / name).unlink()
    code, sentences, _ = animegan(capsys, 'train', 'dcgan-tiny', '--data', folder, '--out', tmp_path / 's', *STEPS)
    assert code == 1 and '1 of 7 files are used' in sentences[0] and 'too few images' in sentences[1]
    assert not (tmp_path / 's').exists()


def test_images_that_moved_are_named_again(trained, run, tmp_path, capsys):
    (run / 'data.json').write_text(json.dumps({'data': str(tmp_path / 'gone')}))
    for command in ('resume', 'evaluate'):
        code, sentences, _ = animegan(capsys, command, run)
        assert code == 1 and f'animegan {command} ' in sentences[0] and '--data FOLDER' in sentences[0]
    assert animegan(capsys, 'resume', run, '--data', trained / 'faces', '--device', 'cpu')[0] == 0
    assert json.loads((run / 'data.json').read_text()) == {'data': str(trained / 'faces')}


def test_a_second_interrupt_says_what_is_saved(run, capsys, monkeypatch):
    def interrupted(self, *args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(training.Trainer, 'fit', interrupted)
    code, sentences, _ = animegan(capsys, 'resume', run, '--device', 'cpu')
    assert code == 130 and 'newest checkpoint is that of step 2' in sentences[0] and 'animegan resume' in sentences[0]


NOT_BEGUN = {
    'train': (['train', 'dcgan-tiny', '--data', 'toon:20', '--out', 'new'], 'no training has begun'),
    'resume': (['resume', 'RUN'], 'the run is as it was'),
    'sample': (['sample', 'RUN'], 'no image was written'),
    'evaluate': (['evaluate', 'RUN', '--extractor', 'pixels'], 'no result was written'),
    'data': (['data', 'check', '.'], 'the images are as they were'),
}


@pytest.mark.parametrize('command', NOT_BEGUN)
def test_an_interrupt_of_any_command_says_what_is_kept(run, capsys, monkeypatch, tmp_path, command):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    words, says = NOT_BEGUN[command]
    args = cli.parser().parse_args([str(run) if word == 'RUN' else word for word in words])
    monkeypatch.setattr(cli, args.run_command.__name__, interrupted)
    code, sentences, _ = animegan(capsys, *[str(run) if word == 'RUN' else word for word in words])
    assert code == 130 and len(sentences) == 1 and says in sentences[0]


def test_the_first_interrupt_says_what_happens_now(capfd):
    stopping = threading.Event()
    with training.stop_on_interrupt(stopping, 'It ends.'):
        os.kill(os.getpid(), signal.SIGINT)
        assert stopping.wait(10)
    assert capfd.readouterr().err == '\nIt ends.\n'
    assert 'second Ctrl-C' in training.Trainer.__init__.__globals__['_NOTICE']


def test_more_samples_than_a_file_holds_are_refused(run, capsys, monkeypatch):
    monkeypatch.setattr(training, 'generate_images', lambda *a, **k: pytest.fail('it began'))
    code, sentences, _ = animegan(capsys, 'sample', run, '--n', '999999999', '--device', 'cpu')
    assert code == 1 and '--n is at most 197,530' in sentences[0]


def test_samples_need_no_larger_batches_than_the_training(trained, run, monkeypatch, tmp_path, capsys):
    sizes = []
    generate = training.ModelPair.generate
    monkeypatch.setattr(
        training.ModelPair, 'generate', lambda self, g, z: (sizes.append(len(z)), generate(self, g, z))[1]
    )
    assert animegan(capsys, 'sample', run, '--n', 10, '--device', 'cpu', '--out', tmp_path / 'a.png')[0] == 0
    assert animegan(capsys, 'resume', run, '--steps', 3, '--device', 'cpu')[0] == 0
    assert sizes and max(sizes) <= 4


@pytest.mark.parametrize(
    'words, says',
    [
        (('sample', 'RUN', '--out', 'RUN'), 'no name of an image'),
        (('sample', 'RUN', '--out', 'x.docx'), 'no name of an image'),
        (('sample', 'RUN', '--out', 'x.psd'), 'no name of an image'),
        (('sample', 'RUN', '--device', 'cuda:99'), 'no device'),
        (('resume', 'RUN', '--device', 'gpu'), 'no device'),
        (('evaluate', 'RUN', '--extractor', 'x'), 'no extractor'),
        (('train', 'dcgan-tiny', '--data', 'FACES', '--out', 'x', '--augment', 'x'), 'no augmentation'),
        (('train', 'x.toml', '--data', 'FACES', '--out', 'x'), 'no file x.toml'),
        (('train', '', '--data', 'FACES', '--out', 'x'), 'no recipe'),
        (('presets', ''), 'no recipe'),
        (('train', 'dcgan-tiny', '--data', 'FACES', '--out', 'RUN'), 'holds a training already'),
        (('data', 'check', 'FACES/000.png'), 'a file of that name'),
    ],
)
def test_wrong_words_are_one_sentence(trained, tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    words = [str(w).replace('RUN', str(trained / 'run')).replace('FACES', str(trained / 'faces')) for w in words]
    code, sentences, said = animegan(capsys, *words)
    assert code == 1 and len(sentences) == 1 and says in sentences[0] and not list(tmp_path.iterdir())


def test_a_run_may_begin_in_one_thread_and_end_in_another(tmp_path):
    "A training in the background owns its folder as one in front does, and gives it back."
    run = tmp_path / 'run'
    for _ in range(2):
        trainer = make([callbacks.Checkpoints(run, 2)]).resume(run)
        trainer.fit_background(2).join()
        trainer.fit(2, progress=False)
    with callbacks.own_run(run):
        pass
    assert checkpoints(run) and not (run / '.owner').exists()


def test_fewer_steps_than_a_run_has_made_are_refused(run, capsys):
    before = (run / 'recipe.toml').read_bytes()
    code, sentences, _ = animegan(capsys, 'resume', run, '--steps', '1', '--device', 'cpu')
    assert code == 1 and 'has made 2 steps already' in sentences[0]
    assert (run / 'recipe.toml').read_bytes() == before


def test_the_function_says_what_the_folder_says(run, trained):
    "`training.train` with other images, or for fewer steps, as the command does it."
    folder_of(trained / 'others', 12, (20, 20))
    recipe = cli._read_recipe(run)
    with pytest.raises(ValueError, match='has made 2 steps already'):
        training.train(recipe, trained / 'faces', run, steps=1, device='cpu', progress=False)
    training.train(recipe, trained / 'others', run, steps=3, device='cpu', progress=False)
    assert json.loads((run / 'data.json').read_text()) == {'data': str(trained / 'others')}
    assert checkpoints(run)[-1].name == 'step-00000003'
    data = ImageSet({'image': torch.zeros(8, 3, 20, 20, dtype=torch.uint8).numpy()})  # that no word names
    training.train(recipe, data.resized(recipe.network.size), run, steps=4, device='cpu', progress=False)
    assert json.loads((run / 'data.json').read_text()) == {'data': str(trained / 'others')}
