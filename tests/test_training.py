import contextlib
import json
import re
import sys
import threading
import time
import warnings
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings, strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from tiny import TinyPair, images, make, weights

from animegan_nb import training
from animegan_nb.training import (
    Callback,
    DamagedCheckpoint,
    Draws,
    EMA,
    Trainer,
    TrainingConfig,
    TrainingDiverged,
    checkpoints,
    pack,
    unpack,
)
from animegan_nb.callbacks import Checkpoints


def test_two_runs_are_the_same():
    assert torch.equal(weights(make().fit(7, progress=False)), weights(make().fit(7, progress=False)))


@given(st.integers(1, 9))
@settings(max_examples=6, deadline=None)
def test_resume_is_exact_wherever_it_stopped(tmp_path_factory, stop):
    folder = tmp_path_factory.mktemp('run')
    whole = make().fit(10, progress=False)
    make().fit(stop, progress=False).save(folder / 'step-1')
    again = make(pair=TinyPair(seed=9)).load(folder / 'step-1').fit(until=10, progress=False)
    assert torch.equal(weights(whole), weights(again))
    assert all(torch.equal(a, b) for a, b in zip(whole.average.parameters(), again.average.parameters()))


def test_background_is_the_same_training():
    t = make().fit_background(6).join()
    assert torch.equal(weights(t), weights(make().fit(6, progress=False)))


def test_sampling_while_it_trains():
    t = make().fit_background(10_000)
    while t.step < 3:
        time.sleep(0.01)
    first = t.sample(4)
    assert first.shape == (4, 3, 8, 8) and not t.pair.generator[0].weight.grad_fn
    started = time.perf_counter()
    t.stop()
    assert time.perf_counter() - started < 1
    assert torch.equal(t.sample(4, device=None), t.sample(4))  # where they are made: here, the CPU
    assert torch.equal(weights(t), weights(make().fit(until=t.step, progress=False)))


def test_a_second_start_is_refused():
    t = make().fit_background(10_000)
    with pytest.raises(RuntimeError, match='running already'):
        t.fit_background(1)
    t.stop()


def test_an_exception_in_the_thread_surfaces():
    class Wrong(Callback):
        def on_step(self, trainer, record):
            raise KeyError('wrong')

    with pytest.raises(KeyError, match='wrong'):
        make([Wrong()]).fit_background(3).join()


def test_a_callback_that_comes_late_is_told_of_the_end():
    ends = []

    class Late(Callback):
        order = 5

        def on_end(self, trainer):
            ends.append(('late', type(sys.exc_info()[1])))
            raise OSError('no room')

    class Early(Callback):
        def on_step(self, trainer, record):
            trainer.callbacks = [*trainer.callbacks, Late()]
            raise KeyError('wrong')

        def on_end(self, trainer):
            ends.append(('early', type(sys.exc_info()[1])))
            raise ValueError('also wrong')

    with pytest.raises(OSError) as caught:
        make([Early()]).fit(3, progress=False)
    assert ends == [('early', KeyError), ('late', KeyError)]  # each is told, also after an error
    assert isinstance(caught.value.__context__, ValueError)
    assert isinstance(caught.value.__context__.__context__, KeyError)


def test_interrupt_finishes_the_step(tmp_path):
    import os, signal

    class Press(Callback):
        def on_step(self, trainer, record):
            if trainer.step == 3:
                os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    t = make([Press(), Checkpoints(tmp_path, 100)]).fit(50, progress=False)
    assert t.step == 3 and [p.name for p in checkpoints(tmp_path)] == ['step-00000003']
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize('role', ['generator', 'discriminator'])
@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_bad_loss_never_reaches_the_weights(role, value, tmp_path):
    class Bad(TinyPair):
        poison = False

        def generator_step(self, b, d):
            return self.spoil(super().generator_step(b, d), 'generator')

        def discriminator_step(self, b, d):
            return self.spoil(super().discriminator_step(b, d), 'discriminator')

        def spoil(self, logs, which):
            if self.poison and which == role:
                logs['loss'] = logs['loss'] * value
            return logs

    pair = Bad()
    t = make([Checkpoints(tmp_path, 2)], pair=pair).fit(2, progress=False)
    before = {k: v.clone() for k, v in getattr(pair, role).state_dict().items()}
    pair.poison = True
    with pytest.raises(TrainingDiverged, match=f"{role}'s loss became (nan|inf|-inf) at step 2"):
        t.fit(2, progress=False)
    assert all(torch.equal(v, before[k]) for k, v in getattr(pair, role).state_dict().items())
    assert checkpoints(tmp_path)


def test_nan_images_name_the_step():
    class NaNGenerator(TinyPair):
        def generator_step(self, b, d):
            return dict(loss=super().generator_step(b, d)['loss'] + self.generator[0].weight.sum() * float('nan'))

    with pytest.raises(TrainingDiverged, match='at step 0'):
        make(pair=NaNGenerator()).fit(1, progress=False)


def test_frozen_weights_stay_frozen():
    pair = TinyPair()
    pair.generator[0].requires_grad_(False)
    before = pair.generator[0].weight.clone()
    make(pair=pair).fit(4, progress=False)
    assert torch.equal(before, pair.generator[0].weight) and not pair.generator[0].weight.requires_grad


def test_a_pair_can_be_trained_twice():
    pair = TinyPair()
    make(pair=pair).fit(1, progress=False)
    assert all(p.requires_grad for p in pair.parameters())
    before = [p.clone() for p in pair.parameters()]
    make(pair=pair).fit(1, progress=False)
    assert not any(torch.equal(a, b) for a, b in zip(before, pair.parameters()))


def test_n_critic_counts_batches():
    t = make(config=TrainingConfig(batch_size=8, n_critic=3, accumulate=2)).fit(2, progress=False)
    assert t.position == 2 * 3 * 2 and t.images == 2 * 8 * 2


def test_clipping():
    t = make(config=TrainingConfig(batch_size=8, clip_gradient=1e-3, optimizer='rmsprop'))
    t.update('discriminator')
    assert t.step == 0


@pytest.mark.parametrize('precision', ['no', 'bf16'])
def test_precisions_train(precision):
    t = make(config=TrainingConfig(batch_size=8, mixed_precision=precision)).fit(3, progress=False)
    assert torch.isfinite(weights(t)).all()
    assert all(p.dtype == torch.float32 for p in t.pair.parameters())


def test_fp16_needs_a_gpu():
    with pytest.raises(ValueError, match='bf16'):
        make(config=TrainingConfig(mixed_precision='fp16'))


@pytest.mark.cuda
def test_on_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip('there is no GPU here')
    t = Trainer(TinyPair(), images(), TrainingConfig(batch_size=8, mixed_precision='bf16'), device='cuda').fit(
        3, progress=False
    )
    assert t.sample(4).device.type == 'cpu'
    assert t.sample(4, device=None).device.type == 'cuda'


def test_compiled_networks_train():
    pair = TinyPair()
    pair.discriminator = torch.compile(pair.discriminator, backend='eager')
    make(pair=pair, config=TrainingConfig(batch_size=8)).fit(2, progress=False)


@pytest.mark.parametrize(
    'wrong',
    [
        dict(batch_size=0),
        dict(generator_lr=0),
        dict(n_critic=0),
        dict(optimizer='sgd'),
        dict(schedule='steps'),
        dict(schedule='cosine'),
        dict(mixed_precision='int8'),
        dict(generator_betas=(1, 1)),
        dict(accumulate=0),
    ],
)
def test_wrong_numbers_get_one_sentence(wrong):
    with pytest.raises(ValueError, match='^TrainingConfig: .*\\.$'):
        TrainingConfig(**wrong)


def test_fit_needs_one_length():
    with pytest.raises(ValueError, match='either steps'):
        make().fit()
    with pytest.raises(ValueError, match='either steps'):
        make().fit(3, until=4)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4) | st.integers(0, 9), inner, max_size=3)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)


@given(VALUES)
@settings(max_examples=150, deadline=None)
def test_pack_has_an_inverse(value):
    tensors = {}
    assert unpack(json.loads(json.dumps(pack(value, tensors))), tensors) == value


def test_tensors_whose_paths_have_the_same_name_stay_apart():
    for value in ({'a/b': torch.zeros(2), 'a': {'b': torch.ones(2)}}, {1: torch.zeros(2), '1': torch.ones(2)}):
        tensors = {}
        again = unpack(json.loads(json.dumps(pack(value, tensors))), tensors)
        first, second = again.values()
        second = second['b'] if isinstance(second, dict) else second
        assert torch.equal(first, torch.zeros(2)) and torch.equal(second, torch.ones(2))
    pair = namedtuple('pair', 'a b')(1, torch.ones(1))
    assert unpack(pack(pair, tensors), tensors) == (1, torch.ones(1))
    with pytest.raises(TypeError, match='cannot hold the key'):
        pack({(1, 2): 3}, {})


def test_sampling_leaves_the_mode_of_every_part():
    trainer = make()
    still = torch.nn.BatchNorm1d(4).eval()
    trainer.pair.generator.still = still
    trainer.sample(4)
    assert trainer.pair.generator.training and not still.training


def test_checkpoints_are_in_the_order_of_their_steps(tmp_path):
    for name in ('step-5', 'step-00000030', 'step-17', 'step-old'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'state.json').touch()
    assert [p.name for p in training.checkpoints(tmp_path)] == ['step-5', 'step-17', 'step-00000030']


def test_what_cannot_be_packed_is_named():
    with pytest.raises(TypeError, match='object'):
        pack({'a': object()}, {})


def damaged(tmp_path, change):
    t = make([Checkpoints(tmp_path, 2, keep=3)]).fit(4, progress=False)
    change(tmp_path / 'step-00000004')
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        again = make().resume(tmp_path)
    return t, again, caught


@pytest.mark.parametrize(
    'change',
    [
        lambda f: (f / 'tensors.safetensors').write_bytes((f / 'tensors.safetensors').read_bytes()[:-7]),
        lambda f: (f / 'tensors.safetensors').unlink(),
        lambda f: (f / 'state.json').write_text('{"info"'),
        lambda f: (f / 'tensors.safetensors').write_bytes(bytes(reversed((f / 'tensors.safetensors').read_bytes()))),
    ],
)
def test_a_damaged_checkpoint_is_passed_over(tmp_path, change):
    t, again, caught = damaged(tmp_path, change)
    assert again.step == 2 and 'Trying the one before' in str(caught[-1].message)
    assert torch.equal(weights(again.fit(until=4, progress=False)), weights(t))


def test_a_checkpoint_of_another_network_is_named(tmp_path):
    make().save(tmp_path / 'step-0')
    other = TinyPair()
    other.generator[0] = torch.nn.Linear(5, 32)
    with pytest.raises(ValueError, match='another network: generator.0.weight'):
        make(pair=other).load(tmp_path / 'step-0')


def test_ema_is_the_weighted_mean_of_the_past():
    pair = TinyPair()
    ema = EMA(half_life=16, ramp=0)
    t = make([ema], TrainingConfig(batch_size=8), pair)
    expected = pair.generator[0].bias.detach().clone()
    for _ in range(4):
        t.fit(1, progress=False)
        expected = expected * 0.5**0.5 + pair.generator[0].bias.detach() * (1 - 0.5**0.5)
    torch.testing.assert_close(ema.average[0].bias, expected)


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_slices_of_processes_are_the_whole(n, world, seed):
    for draw in (lambda d, n: d.normal(n, 3), lambda d, n: d.uniform(n), lambda d, n: d.integers(0, 9, n, 2)):
        whole = draw(Draws(seed), n * world)
        parts = torch.cat([draw(Draws(seed, rank=r, world=world), n) for r in range(world)])
        assert torch.equal(whole, parts)


def test_two_threads_may_look_at_once():
    t = make().fit_background(10**6)
    errors = []

    def look():
        try:
            for _ in range(20):
                t.sample(4)
        except Exception as e:
            errors.append(e)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for x in threads:
        x.start()
    for x in threads:
        x.join()
    t.stop()
    assert not errors


def test_a_pair_must_be_written():
    with pytest.raises(NotImplementedError):
        training.ModelPair(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)).latents(1, None)


def test_missing_run(tmp_path):
    with pytest.raises(FileNotFoundError, match='train first'):
        training.load_run(tmp_path)


def test_a_checkpoint_is_loaded_and_a_run_is_resumed_whichever_is_named(tmp_path):
    whole = make([Checkpoints(tmp_path, 2, keep=3)]).fit(6, progress=False)
    assert make().resume(tmp_path / 'step-00000004').step == make().load(tmp_path / 'step-00000004').step == 4
    again = make().resume(tmp_path / 'step-00000002').fit(until=6, progress=False)
    assert torch.equal(weights(again), weights(whole)) and make().resume(tmp_path / 'new').step == 0
    with pytest.raises(ValueError, match='is a run: use resume.* such as .*step-00000006'):
        make().load(tmp_path)
    for missing in (tmp_path / 'step-00000005', tmp_path / '.lock', tmp_path / 'step-00000004' / 'state.json'):
        with pytest.raises(FileNotFoundError, match=f'There is no checkpoint in .*{missing.name}'):
            make().load(missing)
    with pytest.raises(FileNotFoundError, match='There is no checkpoint in'):
        make().resume(tmp_path / 'step-00000005')  # not a new training
    (tmp_path / 'step-00000004' / 'state.json').unlink()
    for go_on in (make().load, make().resume):
        with pytest.raises(DamagedCheckpoint):
            go_on(tmp_path / 'step-00000004')


def test_resume_goes_through_load_and_knows_an_average_by_its_former_name(tmp_path, monkeypatch):
    class Mine(EMA):
        pass

    with monkeypatch.context() as patch:  # a callback was once called as its class
        patch.setattr(training, 'named_callbacks', lambda trainer: {type(c).__name__: c for c in trainer.callbacks})
        before = make([Mine(5.0), Checkpoints(tmp_path, 2)]).fit(2, progress=False)
    loaded = []

    class Counting(Trainer):
        def load(self, folder):
            loaded.append(Path(folder).name)
            return super().load(folder)

    again = Counting(TinyPair(), images(), TrainingConfig(batch_size=4), [Mine(5.0)], 'cpu').resume(tmp_path)
    kept, own = before.average.state_dict(), again.average.state_dict()
    assert loaded == ['step-00000002'] and all(torch.equal(kept[name], own[name]) for name in kept)


def test_a_compiled_pair_is_a_pair():
    assert training.check_args(torch.compile(TinyPair()), TrainingConfig(), []) == []


class Halved(EMA):
    "An average of somebody's own."

    def __init__(self, half_life):
        super().__init__(half_life / 2)


@pytest.mark.parametrize('kinds', [(Halved,), (EMA, Halved), (Halved, EMA)])
def test_the_generator_of_a_run_is_the_average_also_of_a_class_of_ones_own(tmp_path, kinds):
    trainer = make([kind(50) for kind in kinds]).fit(3, progress=False)
    folder = trainer.save(tmp_path / 'step-3')
    _, generator, _ = training.load_run(folder, pair=TinyPair(seed=9))
    again = make([kind(50) for kind in kinds]).load(folder)
    for network in (generator, again.average):
        assert all(torch.equal(a, b) for a, b in zip(trainer.average.parameters(), network.parameters()))
    assert not torch.equal(generator[0].weight, trainer.pair.generator[0].weight)


def test_checkpoint_is_no_pickle(tmp_path):
    folder = make().save(tmp_path / 'step-0')
    assert sorted(p.name for p in folder.iterdir()) == ['state.json', 'tensors.safetensors']
    with pytest.raises(DamagedCheckpoint):
        training.load_state(tmp_path / 'nothing')


def test_an_existing_folder_is_left_as_it_is(tmp_path):
    (tmp_path / 'step-0').mkdir()
    with pytest.raises(FileExistsError, match='There is a step-0 already'):
        make().save(tmp_path / 'step-0')
    assert [p.name for p in tmp_path.iterdir()] == ['step-0'] and not list((tmp_path / 'step-0').iterdir())
    assert make().save(tmp_path / 'step-0', overwrite=True).is_dir() and len(list(tmp_path.iterdir())) == 1


def test_an_unknown_model_names_the_known_ones():
    with pytest.raises(KeyError, match="no model called 'nothing': choose one of .*dcgan"):
        training.build_pair('nothing', {})


# the loop for everything else


def test_optimise_descends_and_stops_after_a_whole_step():
    w, stopping = torch.nn.Parameter(torch.ones(3)), threading.Event()
    optimizer = torch.optim.SGD([w], 1.0)
    steps = training.optimise(
        optimizer, lambda: w.square().sum(), 50, learning_rate=lambda k: 0.1 / (k + 1), stopping=stopping
    )
    losses = [float(next(steps)) for _ in range(3)]
    assert losses == sorted(losses, reverse=True) and losses[0] == 3
    assert optimizer.param_groups[0]['lr'] == pytest.approx(0.1 / 3)
    before = w.detach().clone()
    stopping.set()
    assert list(steps) == [] and torch.equal(w, before)


@pytest.mark.parametrize('steps', [10, 3])  # with 3 in the last one
def test_an_interrupt_of_optimise_is_passed_on_after_a_whole_step(steps):
    import os, signal

    w, count = torch.nn.Parameter(torch.ones(1)), iter(range(10))

    def loss():
        if next(count) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return w.square().sum()

    losses = []
    with pytest.raises(KeyboardInterrupt, match=f'stopped after 3 of {steps} steps'):
        losses.extend(training.optimise(torch.optim.SGD([w], 0.1), loss, steps))
    assert next(count) == 3 and w.item() == pytest.approx(0.8**3)


def test_optimise_says_when_it_diverges():
    w = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match='diverged at step 1'):
        values = iter([1.0, float('nan')])
        list(training.optimise(torch.optim.SGD([w], 0.1), lambda: w.sum() * next(values), 5))


@pytest.mark.parametrize('fused', [False, True])
def test_a_failure_of_an_early_critic_step_is_remembered(fused):
    "Where the answer is read at the end of the step only, a later step that is sound must not hide it."
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))], fused=fused)
    trainer = SimpleNamespace(
        config=SimpleNamespace(mixed_precision='no'),
        device=torch.device('cuda'),
        engine=SimpleNamespace(num_processes=1),
        optimizers={'discriminator': optimizer},
        diverged={},
    )
    for loss in (1.0, float('nan'), 1.0):
        training.check_finite(trainer, 'discriminator', torch.tensor(loss), torch.tensor(0.0))
    assert trainer.diverged['discriminator']


def test_a_callback_may_stop_a_training_in_the_background():
    class Enough(training.Callback):
        def on_step(self, trainer, record):
            if trainer.step == 3:
                trainer.stop()

    assert make([Enough()]).fit_background(steps=50).join().step == 3


@pytest.mark.parametrize('half_life', [0, -1, float('nan')])
def test_an_average_that_cannot_be_is_refused(half_life):
    with pytest.raises(ValueError, match='half-life above 0'):
        EMA(half_life)
    for ramp in (-0.05, float('nan')):
        with pytest.raises(ValueError, match='ramp of 0 or more'):
            EMA(100, ramp=ramp)


@pytest.mark.parametrize(
    'wrong, words',
    [
        (dict(pair=torch.nn.Linear(2, 2)), 'takes a ModelPair, .* not something of the class Linear'),
        (dict(pair=TinyPair), 'takes a ModelPair, .* not the class TinyPair'),
        (dict(config={'batch_size': 8}), "such as TrainingConfig(batch_size=8), not {'batch_size': 8}"),
        (dict(callbacks=Callback()), 'are a list, such as [Clock()], not something of the class Callback'),
        (dict(callbacks=[Callback(), Callback]), 'the class Callback itself is no callback'),
        (dict(device='gpu'), "no device 'gpu'"),
    ],
)
def test_a_trainer_says_which_part_is_of_a_wrong_kind(wrong, words):
    parts = dict(pair=TinyPair(), data=images(), config=TrainingConfig(batch_size=8), callbacks=[], device='cpu')
    with pytest.raises(ValueError, match=re.escape(words).replace(re.escape('.*'), '.*')) as error:
        Trainer(**parts | wrong)
    assert '\n' not in str(error.value)


def test_callbacks_may_come_one_by_one():
    assert make(callback for callback in [Callback(), Callback()]).fit(1, progress=False).step == 1


@pytest.mark.parametrize('role', ['generator', 'discriminator'])
def test_a_step_without_a_loss_that_is_one_number_is_named(role):
    class Odd(TinyPair):
        def __init__(self, change):
            super().__init__()
            self.change = change

        def generator_step(self, batch, draws):
            logs = super().generator_step(batch, draws)
            return self.change(logs) if role == 'generator' else logs

        def discriminator_step(self, batch, draws):
            logs = super().discriminator_step(batch, draws)
            return self.change(logs) if role == 'discriminator' else logs

    odd_ones = {
        'a tensor of one number.': lambda logs: {'losses': logs['loss']},
        'of one number.': lambda logs: {'loss': 3.0},
        'dictionary': lambda logs: logs['loss'],
        'it has the shape (2,).': lambda logs: {'loss': torch.stack([logs['loss'], logs['loss']])},
    }
    for words, change in odd_ones.items():
        with pytest.raises(ValueError, match=f'Odd.{role}_step returns .*{re.escape(words)}'):
            make(pair=Odd(change)).fit(1, progress=False)
    in_a_vector = Odd(lambda logs: logs | {'loss': logs['loss'][None]})
    assert make(pair=in_a_vector).fit(1, progress=False).step == 1


def test_flops_of_a_convolution_and_a_product():
    layer, x = torch.nn.Conv2d(3, 5, 3, padding=1, bias=False), torch.randn(2, 3, 8, 8)
    forward = training.count_flops(layer, x)
    assert forward == 2 * 2 * 64 * 5 * 27
    assert training.count_flops(lambda: layer(x.requires_grad_(True)).sum().backward()) == 3 * forward
    assert training.count_flops(torch.matmul, torch.randn(3, 4), torch.randn(4, 5)) == 2 * 3 * 4 * 5
    assert training.count_flops(torch.add, x, 1) == 0


def test_flops_without_numbers_and_of_a_penalty():
    "On the device meta, and with a gradient that is differentiated again."
    layer = torch.nn.Linear(4, 3, bias=False, device='meta')
    x = torch.empty(2, 4, device='meta', requires_grad=True)

    def penalty():
        (slope,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
        slope.square().sum().backward()

    assert training.count_flops(penalty) > training.count_flops(lambda: layer(x).square().sum().backward())


@pytest.mark.parametrize('device, expected', [('cpu', ['kept', 'given back']), ('meta', [])])
def test_a_training_on_the_processor_keeps_freed_memory(monkeypatch, device, expected):
    seen = []

    @contextlib.contextmanager
    def kept():
        seen.append('kept')
        yield
        seen.append('given back')

    monkeypatch.setattr(training, 'freed_memory_kept', kept)
    with training.device_settings(training.TrainingConfig(), torch.device(device)):
        pass
    assert seen == expected
