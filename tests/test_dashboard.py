"The dashboard without a browser: throttling, bit-identity, controls, failures, images."

import base64
import io
import re
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from animegan_nb import dashboard as d
from animegan_nb.core import Figure, rng
from animegan_nb.training import Callback, ModelPair, Trainer, TrainingConfig, TrainingDiverged, checkpoints
from animegan_nb.callbacks import Checkpoints
from animegan_nb import widgets
from animegan_nb.widgets import static_file

pytest.importorskip('anywidget', reason='anywidget is not installed: pip install -e ".[notebook]"')
CONFIG = TrainingConfig(batch_size=8, ema_half_life=100, generator_lr=1e-3, discriminator_lr=1e-3)


class Stripes:
    "Endless 8-pixel images."

    def __init__(self, batch_size=8):
        self.batch_size, self.position, self.rank, self.world = batch_size, 0, 0, 1

    def batch(self, k):
        return {'image': torch.rand(self.batch_size, 3, 8, 8, generator=rng(k)) * 2 - 1}

    def __iter__(self):
        while True:
            yield self.batch(self.position)
            self.position += 1


class Pair(ModelPair):
    "Batch normalisation and dropout: both notice a careless look."

    poison = 0  # the step at which the loss becomes NaN

    def __init__(self, slow=0.0):
        self.slow = slow
        super().__init__(
            nn.Sequential(
                nn.Linear(4, 32),
                nn.BatchNorm1d(32),
                nn.ReLU(),
                nn.Linear(32, 192),
                nn.Tanh(),
                nn.Unflatten(1, (3, 8, 8)),
            ),
            nn.Sequential(
                nn.Flatten(), nn.Linear(192, 16), nn.Dropout(0.3), nn.ReLU(), nn.Linear(16, 1), nn.Flatten(0)
            ),
        )

    def latents(self, n, draws):
        return draws.normal(n, 4)

    def discriminator_step(self, batch, draws):
        time.sleep(self.slow)
        with torch.no_grad():
            fake = self.generator(self.latents(len(batch['image']), draws))
        real_logits, fake_logits = self.discriminator(batch['image']), self.discriminator(fake)
        return dict(
            loss=F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean(),
            real_logits=real_logits,
            fake_logits=fake_logits,
        )

    def generator_step(self, batch, draws):
        self.calls = getattr(self, 'calls', 0) + 1
        loss = F.softplus(-self.discriminator(self.generator(self.latents(len(batch['image']), draws)))).mean()
        return dict(loss=loss * float('nan') if self.calls == self.poison else loss)


def trainer(callbacks=(), slow=0.0, pair=None):
    torch.manual_seed(0)
    return Trainer(pair or Pair(slow), Stripes(), CONFIG, callbacks, device='cpu')


def weights(t):
    return torch.cat(
        [x.detach().flatten().double() for x in [*t.pair.state_dict().values(), *t.average.state_dict().values()]]
    )


def until(condition, seconds=20):
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, 'it did not come true'
        time.sleep(0.005)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


# ---- throttle, redrawer, pace, curve


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(1e-4, 2), min_size=1, max_size=200), st.floats(0.05, 1))
def test_throttle_grants_are_apart_and_never_starve(gaps, interval):
    clock = Clock()
    throttle, granted = d.Throttle(interval, clock), []
    for clock.now in np.cumsum(gaps):
        if throttle.ready():
            granted.append(clock.now)
        assert clock.now - granted[-1] < interval
    assert (np.diff(granted) >= interval).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(1e-4, 0.5), min_size=1, max_size=100), st.floats(0, 0.2))
def test_redrawer_at_most_four_a_second_and_the_last_state_is_drawn(gaps, took):
    clock, state, shown = Clock(), {'n': 0}, []

    def draw():
        shown.append((clock.now, state['n']))
        clock.now += took

    redrawer = d.Redrawer(draw, clock=clock)
    redrawer.thread = threading.current_thread()
    for gap in gaps:
        clock.now += gap
        state['n'] += 1
        redrawer.request()
        redrawer.poll()
    while redrawer.requested.is_set():
        clock.now += max(redrawer.poll(), 1e-3)
    assert shown[-1][1] == len(gaps)
    assert (np.diff([t for t, _ in shown]) >= max(0.25, took / 0.2) - 1e-6).all()


def test_redrawer_thread_draws_and_goes_to_sleep():
    shown, state = [], {'n': 0}
    redrawer = d.Redrawer(lambda: shown.append((time.monotonic(), state['n'])))
    begin = time.monotonic()
    while time.monotonic() - begin < 1.1:
        state['n'] += 1
        redrawer.request()
        time.sleep(0.0005)
    until(lambda: shown and shown[-1][1] == state['n'])
    assert len(shown) <= 7 and (np.diff([t for t, _ in shown]) >= 0.25 - 1e-3).all()
    until(lambda: redrawer.thread is None, 6)
    n = len(shown)
    redrawer.request()
    until(lambda: len(shown) > n)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=3000), st.sampled_from([2, 4, 16, 256]))
def test_curve_is_bounded_and_keeps_the_mean(values, points):
    curve = d.Curve(points=points)
    for step, v in enumerate(values, 1):
        curve.append(step, v)
    done = len(curve.values) * curve.each
    assert len(curve.values) < points and len(values) - done < curve.each
    if done:
        assert abs(np.mean(curve.values) - np.mean(values[:done])) < 1e-9
    assert len(curve.x) == len(curve.values) and (not done or 1 <= curve.x[0] <= curve.x[-1] <= len(values))


@pytest.mark.parametrize('points', [0, 1, 5, -2])
def test_a_curve_that_would_drop_values_is_refused(points):
    with pytest.raises(ValueError, match=f'even number of points, 2 or more, not {points}'):
        d.Curve(points)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(1e-3, 3), min_size=1, max_size=100), st.floats(0.5, 20))
def test_pace_lies_between_the_slowest_and_the_fastest_step(durations, half_life):
    rate = d.steps_per_second(durations, half_life)
    assert 1 / max(durations) - 1e-9 <= rate <= 1 / min(durations) + 1e-6


def test_pace_does_not_count_rests():
    clock = Clock()
    pace = d.Pace(clock=clock)
    for _ in range(50):
        clock.now += 0.1
        pace.tick()
    pace.rest()
    clock.now += 3600
    for _ in range(50):
        clock.now += 0.1
        pace.tick()
    assert abs(pace.rate - 10) < 1e-6


@pytest.mark.parametrize(
    'seconds, text',
    [
        (0, '0 s'),
        (59.4, '59 s'),
        (59.6, '1 min 00 s'),
        (125, '2 min 05 s'),
        (7800, '2 h 10 min'),
        (float('inf'), '–'),
        (float('nan'), '–'),
    ],
)
def test_durations(seconds, text):
    assert d.duration_text(seconds) == text


# ---- looking changes nothing


def test_with_and_without_are_bit_identical():
    alone = trainer().fit(40, progress=False)
    inline = d.TrainingDashboard(trainer(), steps=40).run()
    board = d.TrainingDashboard(trainer(), steps=40)
    board.start()
    while board.busy:
        board._repr_mimebundle_()
        board.redrawer.flush()
        time.sleep(0.1)
    board.wait()
    watched = trainer([d.Monitor(n=3, seed=5)]).fit(40, progress=False)
    for other in (inline.trainer, board.trainer, watched):
        assert torch.equal(weights(alone), weights(other))
        assert [r['generator_loss'] for r in alone.history] == [r['generator_loss'] for r in other.history]


def test_a_generator_that_draws_from_the_global_list_is_not_disturbed():
    class Noisy(Pair):
        def generate(self, generator, latents):
            return generator(latents) + 0 * torch.randn(1)

        def latents(self, n, draws):
            return draws.normal(n, 4) + 0.1 * torch.randn(n, 4)

    alone = trainer(pair=(torch.manual_seed(0), Noisy())[1])
    torch.manual_seed(3)
    alone.fit(10, progress=False)
    looked = trainer([d.Monitor()], pair=(torch.manual_seed(0), Noisy())[1])
    torch.manual_seed(3)
    looked.fit(10, progress=False)
    assert torch.equal(weights(alone), weights(looked))


def test_snapshots_span_the_training_and_stay_few():
    monitor = d.Monitor(n=4, keep=10)
    trainer([monitor]).fit(105, progress=False)
    steps = list(monitor.snapshots.images)
    assert len(steps) <= 10 and steps[0] == 0 and steps[-1] == 105 and steps == sorted(steps)
    assert all(p.dtype == torch.uint8 and p.shape == (4, 3, 8, 8) for p in monitor.snapshots.images.values())


def test_fewer_than_two_snapshots_are_refused():
    with pytest.raises(ValueError, match='keep=1 is too few'):
        d.Monitor(keep=1)
    snapshots = d.Snapshots(keep=2)
    for step in range(9):
        snapshots.add(step, torch.zeros(1))
    assert list(snapshots.images) == [0, 8]


def test_samples_take_at_most_a_tenth_of_the_time():
    clock, t = Clock(), trainer()
    snapshots = d.Snapshots(n=2, clock=clock)
    sample, taken = t.sample, []

    def slow(*args):
        clock.now += 0.02
        taken.append(clock.now)
        return sample(*args)

    t.sample = slow
    for t.step in range(1000):
        clock.now += 0.001
        if snapshots.due(t.step):
            snapshots.take(t)
    assert 1 < len(taken) and 0.02 * len(taken) <= 0.1 * clock.now + 0.02


def test_what_a_loaded_checkpoint_undid_is_not_shown(tmp_path):
    board = d.TrainingDashboard(trainer(), steps=12)
    board.monitor.snapshots.clock = lambda: 0.0
    board.run(6)
    board.trainer.save(tmp_path / 'six')
    board.run(6)
    board.redrawer.flush()
    undone, shown = board.monitor.snapshots.images, board.panel.widget.snapshot
    board.trainer.load(tmp_path / 'six')
    with torch.no_grad():
        for p in board.trainer.pair.generator.parameters():
            p.neg_()
    board.run(6)
    board.redrawer.flush()
    kept = board.monitor.snapshots.images
    assert list(kept) == list(range(13))
    assert torch.equal(kept[5], undone[5]) and not torch.equal(kept[12], undone[12])
    assert shown['step'] == board.panel.widget.snapshot['step'] == 12 and shown != board.panel.widget.snapshot


def test_a_monitor_alone_is_a_callback():
    monitor = d.Monitor()
    t = trainer([monitor]).fit(12, progress=False)
    monitor.collect()
    assert (
        set(monitor.losses) == {'discriminator_loss', 'generator_loss'}
        and len(monitor.losses['generator_loss'].values) == 12
    )
    assert monitor.phase == 'idle' and monitor.step == 12 and isinstance(d.dashboard_figure(monitor, t), Figure)


def test_the_queue_is_bounded_without_anybody_looking():
    monitor = d.Monitor()
    monitor.losses.queue.extend({'step': i, 'generator_loss': 1.0} for i in range(1, 10_002))
    t = trainer([monitor])
    t.step = 10_001
    t.fit(1, progress=False)
    assert len(monitor.losses.queue) < 10


def test_losses_that_are_not_finite_are_left_out_and_a_loaded_checkpoint_starts_anew():
    monitor = d.Monitor()
    monitor.losses.queue.extend(
        [
            {'step': 1, 'generator_loss': 1.0},
            {'step': 2, 'generator_loss': float('nan')},
            {'step': 3, 'generator_loss': 2.0},
        ]
    )
    monitor.collect()
    assert monitor.losses['generator_loss'].values == [1.0, 2.0]
    monitor.losses.queue.append({'step': 2, 'generator_loss': 5.0, 'penalty': 1.0, 'real_logits': 3.0})
    monitor.collect()
    assert monitor.losses['generator_loss'].values == [5.0] and set(monitor.losses) == {'generator_loss', 'penalty'}


def test_a_loss_is_drawn_at_its_steps():
    losses = d.LossCurves()
    for step in range(1, 2001):
        losses.queue.append({'step': step, 'generator_loss': 1.0})
        if step % 4 == 1:
            losses.queue[-1]['penalty'] = float(step)
    losses.collect()
    assert np.allclose(losses['penalty'].x, losses['penalty'].values)
    assert losses['penalty'].x[-1] > 1980 and losses['generator_loss'].x[-1] > 1980


def test_a_loss_that_is_not_finite_is_said():
    monitor = d.Monitor()
    monitor.step = 2
    monitor.losses.queue.append({'step': 1, 'generator_loss': float('inf'), 'r1_penalty': 1.0})
    monitor.collect()
    assert d.status_lights(monitor)[0] == ('loss', 'not finite', 'bad')
    assert d.diagnosis(monitor).startswith('The last generator loss is not finite')
    monitor.losses.queue.append({'step': 2, 'generator_loss': 1.0, 'r1_penalty': 1.0})
    monitor.collect()
    assert d.status_lights(monitor)[0] == ('loss', 'finite', 'good') and d.diagnosis(monitor) == ''


# ---- controls


def test_stop_acts_within_a_second_and_the_training_can_go_on():
    board = d.TrainingDashboard(trainer(slow=0.02), steps=100_000)
    board.start()
    until(lambda: board.trainer.step > 3)
    begin = time.perf_counter()
    board.press('stop')
    returned = time.perf_counter() - begin
    until(lambda: not board.trainer.running)
    assert time.perf_counter() - begin < 1 and returned < 0.1
    stood = board.trainer.step
    board.start()
    until(lambda: board.trainer.step > stood)
    board.stop()
    board.wait()
    assert board.state == 'stopped'


def test_stop_while_paused():
    board = d.TrainingDashboard(trainer(), steps=100_000)
    board.start()
    until(lambda: board.trainer.step > 2)
    board.pause()
    board.stop()
    board.wait()
    assert board.state == 'stopped'


@pytest.mark.parametrize('_', range(8))
def test_stop_right_after_start_is_not_lost(_):
    board = d.TrainingDashboard(trainer(slow=0.005), steps=100_000)
    board.start()
    board.stop()
    until(lambda: not (board.busy or board.trainer.running), 5)
    assert board.trainer.step <= 2
    board.trainer.fit(2, progress=False)  # and it does not stop a later training
    assert board.trainer.step >= 2


def test_start_twice_is_one_start():
    board = d.TrainingDashboard(trainer(slow=0.01), steps=30)
    board.press('start')
    first = board.trainer.thread
    board.press('start')
    assert board.trainer.thread is first and board.note == ''
    board.wait()
    assert board.trainer.step == 30 and board.state == 'finished'
    board.start()
    board.wait()
    assert board.trainer.step == 60  # at the end: as many more


def test_pause_toggles_and_changes_its_label():
    board = d.TrainingDashboard(trainer(slow=0.005), steps=100_000)
    pause = lambda: board.panel.buttons['pause']
    off = lambda name: board.panel.buttons[name]['disabled']
    assert off('pause') and not off('start')
    board.panel.receive({'press': 'start'})
    until(lambda: board.trainer.step > 2)
    board.redrawer.flush()
    assert pause()['text'] == 'Pause' and off('start')
    board.panel.receive({'press': 'pause'})
    until(lambda: pause()['text'] == 'Resume')
    time.sleep(0.1)
    stood = board.trainer.step
    time.sleep(0.15)
    assert board.trainer.step == stood and board.state == 'paused'
    board.panel.receive({'press': 'pause'})
    until(lambda: board.trainer.step > stood and pause()['text'] == 'Pause')
    board.panel.receive({'press': 'stop'})
    board.wait()
    assert board.state == 'stopped' and off('pause') and not off('start')


def test_step_does_one_step_from_any_state():
    board = d.TrainingDashboard(trainer(slow=0.005), steps=50)
    board.step()
    until(lambda: board.trainer.paused)
    assert board.trainer.step == 1 and board.state == 'paused'
    for n in (2, 3):
        board.step()
        until(lambda n=n: board.trainer.step == n and board.trainer.paused)
    board.start()
    until(lambda: board.trainer.step > 5)
    assert not board.trainer.paused
    board.step()
    until(lambda: board.trainer.paused)
    stood = board.trainer.step
    time.sleep(0.1)
    assert board.trainer.step == stood
    board.start()
    board.wait()
    assert board.state == 'finished'


def test_save(tmp_path):
    t = trainer(slow=0.005)
    board = d.TrainingDashboard(t, steps=10_000, run=tmp_path / 'run')
    board.save()
    assert 'nothing to save' in board.note
    board.start()
    until(lambda: t.step > 3)
    board.press('save')
    until(lambda: (board.redrawer.flush(), 'Saving' not in board.note)[1], 60)  # a busy disk may take its time
    assert board.note.startswith('Saved step-'), board.note
    assert checkpoints(tmp_path / 'run')
    board.pause()
    time.sleep(0.1)
    board.save()
    assert board.note == f'Saved step-{t.step:08d}.' and (tmp_path / 'run' / f'step-{t.step:08d}').exists()
    board.stop()
    board.wait()
    other = trainer().resume(tmp_path / 'run')
    assert other.step == t.step and torch.equal(weights(other), weights(t))


def test_a_save_that_is_asked_for_late_is_not_called_a_full_disk(tmp_path):
    "Between the press and the request the training may do many steps: on a busy machine it does."
    t = trainer(slow=0.002)
    board = d.TrainingDashboard(t, steps=10_000, run=tmp_path / 'run')
    board.start()
    until(lambda: t.step > 3)
    ask = t.snapshot

    def late():
        stood = t.step
        until(lambda: t.step > stood + 5)
        board.saver.check()
        assert board.note.startswith('Saving')
        ask()

    t.snapshot = late
    board.save()
    until(lambda: (board.saver.check(), 'Saving' not in board.note)[1], 60)
    board.stop()
    board.wait()
    assert board.note.startswith('Saved step-') and checkpoints(tmp_path / 'run')


def test_save_without_a_folder_says_so_and_with_a_full_disk_too(tmp_path):
    board = d.TrainingDashboard(trainer(), steps=3).run()
    board.save()
    assert 'Nothing is saved' in board.note and board.panel.buttons['save']['disabled']
    keeper = Checkpoints(tmp_path, every=1000)
    keeper.save = lambda trainer: None
    board = d.TrainingDashboard(trainer([keeper]), steps=3).run()
    board.save()
    assert 'could not be written' in board.note


def test_two_dashboards_of_two_trainers():
    boards = [d.TrainingDashboard(trainer(slow=0.003), steps=60) for _ in range(2)]
    for b in boards:
        b.start()
    boards[0].stop()
    boards[0].wait()
    boards[1].wait()
    assert boards[0].state in ('stopped', 'ready') and boards[1].state == 'finished' and boards[1].trainer.step == 60


def test_two_dashboards_of_one_trainer_share_a_monitor():
    t = trainer(slow=0.003)
    first, second = d.TrainingDashboard(t, steps=50), d.TrainingDashboard(t, steps=50)
    assert first.monitor is second.monitor and sum(isinstance(c, d.Monitor) for c in t.callbacks) == 1
    first.start()
    until(lambda: t.step > 2)
    second.pause()
    assert first.state == 'paused'
    second.start()
    first.wait()
    second.redrawer.flush()
    assert first.state == second.state == 'finished' and first.panel.texts['losses'] == second.panel.texts['losses']
    first.close()
    assert len(first.monitor.listeners) == 1 and first.panel is None
    second.close()


def test_it_attaches_to_a_running_trainer():
    t = trainer(slow=0.005).fit_background(100_000)
    until(lambda: t.step > 10)
    board = d.TrainingDashboard(t, steps=500)
    assert board.state == 'training'
    until(lambda: board.monitor.step > 15)
    board.redrawer.flush()
    assert board.monitor.losses['generator_loss'].x[0] <= 2  # what happened before is there, too
    board.stop()
    board.wait()
    assert board.state == 'stopped'


def test_who_joins_takes_over_the_goal():
    t = trainer(slow=0.02).fit_background(until=30)
    t.pause()
    board = d.TrainingDashboard(t, steps=1000)
    assert board.monitor.target == 30 and board.state == 'paused'
    t.proceed()
    board.wait()
    assert board.state == 'finished'


def test_who_joins_learns_of_the_error():
    pair = Pair()
    pair.poison = 6
    t = trainer(pair=pair).fit_background(until=30)
    t.pause()
    board = d.TrainingDashboard(t)
    t.proceed()
    t.thread.join()
    until(lambda: 'agnb-failed' in board.panel.texts['header'])
    assert board.state == 'failed' and d.status_lights(board.monitor)[0] == ('training', 'failed', 'bad')
    assert d.facts(board.monitor, t)['to go'] == '–'  # nothing runs any more

    pair = Pair()
    pair.poison = 3
    t = trainer(pair=pair).fit_background(until=30)
    t.thread.join()
    board = d.TrainingDashboard(t)
    assert board.state == 'failed' and 'became nan' in d.diagnosis(board.monitor)


def test_a_monitor_has_a_state_without_a_goal():
    monitor = d.Monitor()
    t = trainer([monitor])
    assert d.training_state(monitor, t) == 'ready'
    t.fit(2, progress=False)
    assert d.training_state(monitor, t) == 'stopped'


def test_the_trainer_may_be_driven_by_hand():
    board = d.TrainingDashboard(trainer(), steps=5)
    board.trainer.fit(7, progress=False)
    board.redrawer.flush()
    assert board.state == 'finished' and 'step 7 of 5' in board.panel.texts['header']
    with pytest.raises(RuntimeError, match='running already'):
        board.start(10**6)
        board.run()
    board.stop()
    board.wait()


# ---- failures


def test_an_exception_in_the_thread_is_shown_in_one_sentence():
    class Broken(Callback):
        def on_step(self, trainer, record):
            if trainer.step == 3:
                raise ValueError('the <b>disk</b> is gone\nand more')

    board = d.TrainingDashboard(trainer([Broken()]), steps=10)
    board.start()
    until(lambda: not board.busy)
    until(lambda: 'disk' in board.panel.texts['health'])
    assert board.state == 'failed' and 'ValueError: the &lt;b&gt;disk&lt;/b&gt; is gone<' in board.panel.texts['health']
    with pytest.raises(ValueError):
        board.wait()
    assert 'failed' in board._repr_mimebundle_()[0]['text/plain']


def test_nan_is_named_and_start_goes_on():
    pair = Pair()
    pair.poison = 6
    board = d.TrainingDashboard(trainer(pair=pair), steps=20)
    board.start()
    with pytest.raises(TrainingDiverged):
        board.wait()
    assert board.state == 'failed' and "generator's loss became nan at step 5" in board.panel.texts['health']
    assert ('training', 'failed', 'bad') in d.status_lights(board.monitor)
    pair.poison = 0
    board.start()
    board.wait()
    assert board.state == 'finished' and d.diagnosis(board.monitor) == ''


def test_an_error_that_is_being_handled_outside_is_not_ours():
    board = d.TrainingDashboard(trainer(), steps=3)
    try:
        raise KeyError('outside')
    except KeyError:
        board.run()
    assert board.state == 'finished'


def test_an_error_in_looking_does_not_end_a_training():
    board = d.TrainingDashboard(trainer(), steps=6)
    board.monitor.observe = lambda *a: 1 / 0
    board.run()
    board.redrawer.flush()
    assert board.state == 'finished' and 'cannot look: ZeroDivisionError' in board.panel.texts['health']


def test_health_sees_a_winner_and_a_collapse():
    monitor = d.Monitor()
    monitor.step = 500
    monitor.health.accuracy.extend([1.0] * 100)
    monitor.snapshots.variety = 0.5
    assert 'has won' in d.diagnosis(monitor)
    monitor.health.accuracy.extend([0.6] * 100)
    monitor.snapshots.variety = 0.05
    assert 'collapsed' in d.diagnosis(monitor) and ('variety', '0.05', 'bad') in d.status_lights(monitor)
    monitor.snapshots.variety = 0.9
    assert d.diagnosis(monitor) == '' and all(level == 'good' for _, _, level in d.status_lights(monitor))


# ---- images and pages


def decoded(bundle):
    data = base64.b64decode(bundle['image/png'])
    assert len(data) <= 40_000
    image = Image.open(io.BytesIO(data))
    image.load()
    assert image.format == 'PNG'
    return image.convert('RGB')


def test_the_bundle_is_a_png_in_whose_place_the_widget_stands():
    board = d.TrainingDashboard(trainer(), steps=30)
    before = decoded(board._repr_mimebundle_()[0])
    bundle, facts = board.run()._repr_mimebundle_()
    assert set(bundle) == {'image/png', 'text/plain'}
    assert bundle['text/plain'].startswith('<TrainingDashboard: finished, step 30 of 30;')
    assert facts['image/png']['alt'].startswith('finished, step 30 of 30')
    assert board.panel.widget.key.encode() in base64.b64decode(bundle['image/png'])[:300]
    assert decoded(bundle).size[0] > 600 and decoded(bundle).tobytes() != before.tobytes()


def test_small_png_keeps_its_promise():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 120, 3), dtype=np.uint8))
    for limit in (30_000, 3_000):
        assert len(d.small_png(noise, limit)) <= limit


def test_without_anywidget_it_is_an_image(monkeypatch):
    widgets.widget_class.cache_clear()
    monkeypatch.setitem(sys.modules, 'anywidget', None)
    board, replaced = d.TrainingDashboard(trainer(), steps=4), []
    board.update_display = lambda: replaced.append(board.state)
    board.start()
    board.trainer.join()
    until(lambda: replaced)
    board.wait()
    assert (
        replaced[-1] == 'finished'
        and board.panel is None
        and set(board._repr_mimebundle_()[0]) == {'image/png', 'text/plain'}
        and board.state == 'finished'
    )
    board.close()


def test_points_in_a_plane_are_drawn_as_a_cloud():
    cloud = d.as_images(torch.tensor([[0.0, 0.0], [1.0, 1.0], [5.0, -5.0]]))
    assert (
        cloud.shape == (1, 3, 96, 96) and cloud[0, :, 0, 95].tolist() == [220, 20, 60] == cloud[0, :, 95, 95].tolist()
    )


def test_the_slider_follows_the_end_and_stays_where_it_is_put():
    board = d.TrainingDashboard(trainer(), steps=40)
    board.monitor.snapshots.clock = lambda: 0.0  # a snapshot after every step
    board.run(10)
    board.redrawer.flush()
    state, snapshot = lambda: board.panel.widget.state, lambda: board.panel.widget.snapshot
    assert state()['index'] == state()['last'] == len(board.monitor.snapshots.images) - 1
    assert snapshot()['step'] == 10 and snapshot()['url'].startswith('data:image/png')
    newest = snapshot()['url']
    board.panel.receive({'look': 2})
    assert snapshot()['step'] == 2 and snapshot()['url'] != newest and state()['index'] == 2
    board.run(30)
    board.redrawer.flush()
    assert snapshot()['step'] == 2 and state()['index'] < state()['last']
    board.panel.receive({'look': state()['last']})
    assert snapshot()['step'] == 40
    board.run(5)
    board.redrawer.flush()
    assert snapshot()['step'] == 45


def test_messages_that_make_no_sense_are_ignored():
    board = d.TrainingDashboard(trainer(), steps=5)
    for message in ({}, {'press': 'close'}, {'press': '__init__'}, {'look': 10**9}, {'look': -5}):
        board.panel.receive(message)
    assert board.state == 'ready' and board.panel.texts['header']


def test_charts_and_progress_say_what_they_show():
    board = d.TrainingDashboard(trainer(), steps=30).run()
    board.redrawer.flush()
    for name in ('losses', 'logits'):
        assert re.search(r'<svg [^>]*role="img" aria-label="[^"]{20,}"', board.panel.texts[name])
    assert 'role="progressbar"' in board.panel.texts['header'] and 'aria-valuenow="100"' in board.panel.texts['header']


def test_every_css_class_is_prefixed_and_nothing_is_loaded_from_elsewhere():
    board = d.TrainingDashboard(trainer(), steps=30).run()
    board.redrawer.flush()
    pages = [
        static_file('agnb.css'),
        board.panel.texts['header'],
        board.panel.texts['losses'],
        board.panel.texts['logits'],
        board.panel.texts['health'],
    ]
    classes = {c for page in pages for group in re.findall(r'class="([^"]*)"', page) for c in group.split()}
    assert classes and all(c.startswith('agnb-') for c in classes)
    ours = {c for c in re.findall(r'\.([a-z][\w-]*)', re.sub(r'\{[^}]*\}', '{}', static_file('agnb.css')))}
    assert all(c.startswith(('agnb-', 'widget-')) for c in ours)
    assert not any(bad in page for page in pages for bad in ('http', '<script', 'url(', 'nan'))


def test_redraws_are_few_and_cheap():
    board = d.TrainingDashboard(trainer(), steps=10**6)
    draws, draw = [], board.redrawer.draw
    board.redrawer.draw = lambda: (draws.append(time.monotonic()), draw())
    board.start()
    time.sleep(1.6)
    board.stop()
    board.wait()
    inside = np.array(draws[:-1])  # the last one is wait()'s own
    assert len(draws) >= 3 and (np.diff(inside) >= 0.25 - 1e-3).all()


def test_nothing_is_printed_and_pyplot_is_never_imported():
    code = (
        "import sys, torch; sys.path.insert(0, 'tests'); import test_dashboard as t; from animegan_nb import dashboard"
        " as d\nb = d.TrainingDashboard(t.trainer(), steps=20); b.start(); b.wait(); b._repr_mimebundle_()\nassert"
        " 'matplotlib.pyplot' not in sys.modules and 'matplotlib.backends.backend_agg' in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, '-W', 'error::UserWarning:animegan_nb', '-c', code],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == '' and done.stderr == ''


def test_importing_the_module_needs_neither_anywidget_nor_ipython():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['anywidget', 'ipywidgets', 'IPython']))\n"
        'import animegan_nb.dashboard'
    )
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, timeout=280).returncode == 0


def test_no_warning_while_drawing_odd_states():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        monitor = d.Monitor(n=1)
        t = trainer([monitor])
        d.dashboard_figure(monitor, t)  # nothing yet
        monitor.losses.queue.append({'step': 1, 'generator_loss': 3.0})
        monitor.logits['real'].append(np.zeros(1))
        monitor.collect()
        d.dashboard_figure(monitor, t).image()
        d.losses_html(monitor.losses)
        d.logits_html(monitor.logits)
        monitor.logits['real'].append(np.array([1e30, -1e30]))
        d.logits_html(monitor.logits)


def test_the_monitor_knows_how_often_the_discriminator_is_right():
    from tiny import make

    from animegan_nb.dashboard import Monitor, accuracy_light

    monitor = Monitor(2)
    make([monitor]).fit(3, progress=False)
    assert len(monitor.health.accuracy) == 3 and accuracy_light(monitor)[1] != '–'


def test_a_drawing_that_fails_does_not_end_the_drawing():
    shown = []

    def draw():
        shown.append(len(shown))
        if len(shown) == 1:
            raise RuntimeError('a full disk')

    redrawer = d.Redrawer(draw, interval=0.01, share=1.0)
    for wanted in (1, 2):
        redrawer.request()
        end = time.monotonic() + 60
        while len(shown) < wanted and time.monotonic() < end:
            time.sleep(0.01)
    assert shown[:2] == [0, 1] and str(redrawer.error) == 'a full disk'


def test_a_drawing_that_fails_is_noted():
    board = d.TrainingDashboard(trainer(), steps=4)
    board.panel.show = lambda controls: 1 / 0
    with pytest.raises(ZeroDivisionError):
        board.redrawer.flush()
    assert board.note == 'The dashboard cannot be drawn: ZeroDivisionError: division by zero'
    del board.panel.show
    board.redrawer.flush()
    assert 'cannot be drawn' in board.panel.texts['health']
