"Checkpoints, logs, samples, the clock and the watch over a training's health."

import errno
import math
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from tiny import TinyPair, make, untimed, weights

from animegan_nb import training
from animegan_nb.callbacks import (
    Checkpoints,
    Clock,
    Evaluate,
    Health,
    JSONLog,
    Samples,
    TensorBoard,
    ranked_right,
    read_log,
    warn_if_full,
)
from animegan_nb.training import Callback, checkpoints


def test_watching_changes_nothing(tmp_path):
    alone = make().fit(6, progress=False)
    watched = make(
        [
            Samples(1, 8, folder=tmp_path / 's'),
            Health(),
            JSONLog(tmp_path / 'log.jsonl'),
            Checkpoints(tmp_path, 2),
            Evaluate(lambda t: {'m': t.sample(4).mean().item()}, every=2),
        ]
    )
    torch.rand(5)
    watched.fit(3, progress=False)
    watched.sample(16)
    torch.rand(7)
    watched.fit(3, progress=False)
    assert torch.equal(weights(alone), weights(watched))
    assert sorted(p.name for p in (tmp_path / 's').iterdir())[0] == 'step-00000000.png'


def test_snapshot_saves_at_once(tmp_path):
    t = make([Checkpoints(tmp_path, every=10**9)]).fit_background(10**6)
    while t.step < 2:
        time.sleep(0.01)
    t.snapshot()
    for _ in range(200):
        if checkpoints(tmp_path):
            break
        time.sleep(0.02)
    assert checkpoints(tmp_path)
    t.stop()


def test_full_disk_keeps_the_last_good_one_and_trains_on(tmp_path, monkeypatch):
    t = make([Checkpoints(tmp_path, 2)]).fit(2, progress=False)

    def full(path, data):
        open(path, 'wb').write(data[:10])
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as m:
        m.setattr(training, 'write_atomically', full)
        with pytest.warns(UserWarning, match='make room on the disk'):
            t.fit(3, progress=False)
    assert t.step == 5 and [p.name for p in tmp_path.glob('[!.]*')] == ['step-00000002']
    t.fit(1, progress=False)
    assert checkpoints(tmp_path)[-1].name == 'step-00000006'


def test_only_a_full_disk_asks_for_room(tmp_path):
    file = tmp_path / 'file'
    file.touch()
    said = 'samples of step 0 could not be written .*: check that the folder exists and may be written; the training'
    with pytest.warns(UserWarning, match=said) as caught:
        assert make([Samples(2, 2, folder=file / 'below')]).fit(1, progress=False).step == 1
    assert not any('room' in str(w.message) for w in caught)
    for number in (errno.ENOSPC, errno.EDQUOT):
        with pytest.warns(UserWarning, match='It could not be written .*: make room on the disk; the training'):
            with warn_if_full('It'):
                raise OSError(number, 'no room')


def test_a_checkpoint_that_may_not_be_written_does_not_ask_for_room(tmp_path, monkeypatch):
    t = make([Checkpoints(tmp_path, 2)]).fit(2, progress=False)

    def refuse(folder, overwrite):
        raise PermissionError(errno.EACCES, 'Permission denied')

    monkeypatch.setattr(t, 'save', refuse)
    with pytest.warns(UserWarning, match='denied.: check that the folder exists .* last good one is step-00000002'):
        t.fit(2, progress=False)
    assert t.step == 4


def test_a_folder_that_cannot_be_used_is_one_sentence_before_the_first_step(tmp_path):
    file = tmp_path / 'file'
    file.touch()
    said = 'The folder of the run, .*file.*, cannot be used .*: check that the folder exists'
    watching = Checkpoints(file), Checkpoints(file / 'run'), JSONLog(file / 'log.jsonl')
    for callback in watching:
        t = make([callback])
        with pytest.raises(OSError, match=said) as error:
            t.fit(1, progress=False)
        assert t.step == 0 and '\n' not in str(error.value)
    t = make([JSONLog(tmp_path)])
    with pytest.raises(IsADirectoryError, match='is a folder: name a file in it, such as .*log.jsonl'):
        t.fit(1, progress=False)
    assert t.step == 0 and [p.name for p in tmp_path.iterdir()] == ['file']


def test_only_the_last_checkpoints_are_kept(tmp_path):
    make([Checkpoints(tmp_path, 1, keep=2)]).fit(5, progress=False)
    assert [p.name for p in checkpoints(tmp_path)] == ['step-00000004', 'step-00000005']


def test_the_log_of_a_resumed_run_is_the_log_of_an_uninterrupted_one(tmp_path):
    make([JSONLog(tmp_path / 'a.jsonl')]).fit(6, progress=False)
    t = make([JSONLog(tmp_path / 'b.jsonl')]).fit(3, progress=False)
    t.save(tmp_path / 'step-3')
    t.fit(2, progress=False)
    (tmp_path / 'b.jsonl').open('a').write('{"step": 6, "cut')
    make([JSONLog(tmp_path / 'b.jsonl')]).load(tmp_path / 'step-3').fit(3, progress=False)
    assert untimed(tmp_path / 'a.jsonl') == untimed(tmp_path / 'b.jsonl')
    assert [r['step'] for r in read_log(tmp_path / 'b.jsonl')] == [1, 2, 3, 4, 5, 6]


def test_health_names_what_is_wrong():
    def run(real, fake, spread):
        h = Health(window=5)
        for _ in range(5):
            trainer = type('T', (), {})()
            trainer.logs = {
                'real_logits': torch.full((8,), real),
                'fake_logits': torch.full((8,), fake),
                'fake_images': torch.randn(8, 3, 4, 4) * spread,
            }
            trainer.batch = {'image': torch.randn(8, 3, 4, 4)}
            h.on_logs(trainer)
            h.on_step(trainer, {name: trainer.logs[name].item() for name in ('accuracy', 'spread')})
        return h.status

    assert run(5.0, -5.0, 1.0) == 'the discriminator has won'
    assert run(0.1, 0.1, 0.01) == 'the fakes have collapsed'
    assert run(0.1, 0.1, 1.0) == 'healthy'
    assert run(-21.0, -26.0, 1.0) == 'the discriminator has won'  # a critic, whose zero means nothing


def test_pairs_that_are_ranked_right_are_counted():
    g = torch.Generator().manual_seed(0)
    real, fake = (torch.randn(n, generator=g).mul(8).round() / 8 + mean for n, mean in ((40, 1), (30, 0)))
    pairs = (real[:, None] > fake).float() + 0.5 * (real[:, None] == fake).float()
    assert (real[:, None] == fake).any()
    for shift in (0, -64, 64):
        assert ranked_right(real + shift, fake + shift).item() == pytest.approx(pairs.mean().item(), abs=1e-6)
    assert ranked_right(real, real).item() == 0.5 and ranked_right(fake + 99, fake) == 1
    assert ranked_right(torch.tensor(1.0), torch.tensor(0.0)) == 1  # a pair that logs means
    assert ranked_right(torch.tensor([1.0, math.nan]), torch.tensor([0.0])).isnan()


def test_the_clock_goes_on_counting_after_a_resume(tmp_path):
    class Slow(TinyPair):
        def generator_step(self, batch, draws):
            time.sleep(0.02)
            return super().generator_step(batch, draws)

    clock = Clock()
    t = make([clock, JSONLog(tmp_path / 'log.jsonl')], pair=Slow()).fit(4, progress=False)
    t.save(tmp_path / 'step-4')
    log = read_log(tmp_path / 'log.jsonl')
    times = [record['seconds'] for record in log]
    assert times == sorted(times) and times[0] >= 0.02 and times[-1] >= 0.08
    assert all(0 <= record['processor_seconds'] for record in log)
    assert all(0 < record['images_per_second'] <= 8 / 0.02 for record in log)

    again = Clock()
    make([again], pair=Slow()).load(tmp_path / 'step-4').fit(1, progress=False)
    assert again.seconds >= clock.seconds + 0.02
    assert again.processor_seconds >= clock.processor_seconds


def test_the_clock_ends_a_training_and_leaves_out_what_it_is_told_to():
    assert make([Clock(minutes=0)]).fit(5, progress=False).step == 1
    assert make([Clock(minutes=0, processor=True)]).fit(5, progress=False).step == 1

    class Measuring(Callback):
        def on_step(self, trainer, record):
            time.sleep(0.3)
            if self.clock is not None:
                self.clock.restart()

    found = {}
    for name in ('with', 'without'):
        clock, measuring = Clock(), Measuring()
        measuring.clock = clock if name == 'without' else None
        make([clock, measuring]).fit(3, progress=False)
        found[name] = clock.seconds
    assert found['with'] > 0.6 > found['without']


def test_a_training_that_went_back_keeps_its_newest_checkpoints(tmp_path):
    "The later ones belong to steps that were undone, so `resume` must not find them."
    make([Checkpoints(tmp_path, 1, keep=9)]).fit(8, progress=False)
    again = make([Checkpoints(tmp_path, 2, keep=2)]).load(tmp_path / 'step-00000002')
    again.fit(3, progress=False)
    assert [p.name for p in checkpoints(tmp_path)] == ['step-00000004', 'step-00000005']
    assert make().resume(tmp_path).step == 5


def test_a_second_training_does_not_undo_the_first(tmp_path):
    watching = lambda: [JSONLog(tmp_path / 'log.jsonl'), Checkpoints(tmp_path, 2)]
    make(watching()).fit(6, progress=False)
    before = {p: p.read_bytes() for p in tmp_path.rglob('*') if p.is_file() and p.name != '.lock'}
    for callbacks in (watching(), watching()[:1], watching()[1:]):
        with pytest.raises(FileExistsError, match='go on with it'):
            make(callbacks).fit(3, progress=False)
    assert before == {p: p.read_bytes() for p in tmp_path.rglob('*') if p.is_file() and p.name != '.lock'}
    assert make(watching()).resume(tmp_path).fit(2, progress=False).step == 8
    assert [record['step'] for record in read_log(tmp_path / 'log.jsonl')] == list(range(1, 9))


@pytest.mark.parametrize(
    'make_it',
    [
        lambda run: Checkpoints(run, every=0),
        lambda run: Checkpoints(run, keep=0),
        lambda run: Samples(every=0),
        lambda run: Evaluate(lambda trainer: {}, every=0),
        lambda run: Health(window=0),
    ],
)
def test_what_would_never_happen_is_refused(tmp_path, make_it):
    with pytest.raises(ValueError, match='1 or more'):
        make_it(tmp_path)


@pytest.mark.parametrize('value', [np.float32(3), torch.tensor(3.0), 3])
def test_numbers_of_other_libraries_are_written(tmp_path, value):
    watch = [Evaluate(lambda t: {'fid': value}, every=2), JSONLog(tmp_path / 'log.jsonl'), Checkpoints(tmp_path, 2)]
    make(watch).fit(2, progress=False)
    assert read_log(tmp_path / 'log.jsonl')[-1]['fid'] == 3.0 and len(checkpoints(tmp_path)) == 1


def test_an_evaluation_that_is_no_table_does_not_end_the_training(tmp_path):
    with pytest.warns(UserWarning, match='evaluation of step 2 failed'):
        assert make([Evaluate(lambda t: 3.0, every=2)]).fit(3, progress=False).step == 3


def test_what_writes_records_comes_after_what_adds_to_them():
    assert min(TensorBoard.order, JSONLog.order) > max(Evaluate.order, Health.order, Clock.order)


def test_the_sign_of_a_home_folder_is_understood(tmp_path, monkeypatch):
    home, work = tmp_path / 'home', tmp_path / 'work'
    home.mkdir(), work.mkdir()
    monkeypatch.setenv('HOME', str(home)), monkeypatch.setenv('USERPROFILE', str(home))
    monkeypatch.chdir(work)
    watch = Samples(2, 4, folder='~/images'), JSONLog('~/run/log.jsonl'), Checkpoints('~/run', every=2)
    trainer = make(watch).fit(3, progress=False)
    assert trainer.save('~/kept/step-3') == home / 'kept' / 'step-3' and not any(work.iterdir())
    assert len(list((home / 'images').iterdir())) == 2 and len(read_log('~/run/log.jsonl')) == 3
    assert checkpoints('~/run')[-1] == home / 'run' / 'step-00000003'
    again = [make().resume('~/run'), make().load('~/run/step-00000003'), make().load('~/kept/step-3')]
    for other in [*again, make().resume('~/kept/step-3')]:
        assert other.step == 3 and torch.equal(weights(other), weights(trainer))
    pair, _, info = training.load_run('~/run', pair=TinyPair(1))
    assert info['step'] == 3 and torch.equal(pair.generator[0].weight, trainer.pair.generator[0].weight)


def test_a_number_called_step_moves_no_line_of_the_log(tmp_path):
    class Note(Callback):
        def on_step(self, trainer, record):
            record['step'] = 1.5

    log = tmp_path / 'log.jsonl'
    metric = Evaluate(lambda trainer: {'step': 0.5}, every=1)
    with pytest.warns(UserWarning, match="the name 'step' is taken"):
        trainer = make([metric, JSONLog(log)]).fit(2, progress=False)
    assert [r['step'] for r in trainer.history] == [1, 2] and metric.results == {}
    trainer.callbacks[trainer.callbacks.index(metric)] = Note()
    trainer.fit(2, progress=False)
    assert [r['step'] for r in read_log(log)] == [1, 2, 3, 4]


def test_scalars_of_other_libraries_are_numbers_in_the_log(tmp_path):
    class Note(Callback):
        def __init__(self, thing):
            self.thing = thing

        def on_step(self, trainer, record):
            record['note'] = self.thing

    for i, thing in enumerate([torch.tensor(0.5), np.float32(0.5), torch.tensor(0.5).bfloat16(), [np.float32(0.5)]]):
        make([Note(thing), JSONLog(tmp_path / str(i) / 'log.jsonl')]).fit(1, progress=False)
        assert read_log(tmp_path / str(i) / 'log.jsonl')[0]['note'] in (0.5, [0.5])
    with pytest.raises(ValueError, match="The log cannot hold 'note', which holds something of the class Tensor"):
        make([Note(torch.zeros(2)), JSONLog(tmp_path / 'bad' / 'log.jsonl')]).fit(1, progress=False)
