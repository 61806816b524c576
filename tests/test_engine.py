"What a step and a run promise: whole steps, honest logs, settings that win, stages, bad disks and damaged files."

import json
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import CONFIG, TinyPair, images, make, weights

from animegan_nb import cli
from animegan_nb.callbacks import Checkpoints, Evaluate, Health, JSONLog, Samples, read_log
from animegan_nb.training import (
    EMA,
    Callback,
    DamagedCheckpoint,
    Stage,
    Trainer,
    TrainingConfig,
    TrainingDiverged,
    build_pair,
    checkpoints,
    fit_stages,
    generate_images,
    Draws,
    load_facts,
    load_state,
    optimise,
    recipes,
    skip_update,
    stage_at,
    stage_starts,
)


def same(a, b):
    return torch.equal(weights(a), weights(b))


# ---- whole steps ----------------------------------------------------------------------------------------------------
class Breaks(TinyPair):
    "Its generator's half of one step fails, once."

    error, at, seen = None, 3, 0

    def generator_step(self, batch, draws):
        self.seen += 1
        if self.error and self.seen == self.at + 1:
            error, self.error = self.error, None
            raise error
        return super().generator_step(batch, draws)


@pytest.mark.parametrize('error', [KeyboardInterrupt(), RuntimeError('out of memory')])
def test_nothing_is_saved_between_the_two_halves_of_a_step(tmp_path, error):
    whole = make().fit(6, progress=False)
    pair = Breaks()
    pair.error = error
    trainer = make([Checkpoints(tmp_path, 100)], pair=pair)
    with pytest.raises(type(error)):
        trainer.fit(6, progress=False)
    assert trainer.unfinished and trainer.step == 3 and not checkpoints(tmp_path)
    with pytest.raises(RuntimeError, match='Step 3 was interrupted'):
        trainer.save(tmp_path / 'half')
    make([Checkpoints(tmp_path, 1)]).fit(3, progress=False)
    assert same(whole, make().resume(tmp_path).fit(until=6, progress=False))


class Slow(Callback):
    "Takes its time before the average learns of a step, and may fail."

    order, fails_at = -5, None

    def on_step(self, trainer, record):
        time.sleep(0.02)
        if trainer.step == self.fails_at:
            raise RuntimeError('no')


def same_average(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.average.parameters(), b.average.parameters()))


def test_a_checkpoint_from_another_thread_is_of_a_whole_step(tmp_path):
    trainer = make([Slow()]).fit_background(8)
    number = 0
    while trainer.running:
        trainer.save(tmp_path / f'step-{number:08d}')
        number += 1
        time.sleep(0.007)
    whole = trainer.join()
    assert number > 1
    for folder in checkpoints(tmp_path):
        assert same_average(whole, make().load(folder).fit(until=8, progress=False))


def test_whoever_waits_for_a_training_comes_before_its_next_step():
    trainer = make().fit_background(100_000)
    begin = trainer.step
    for _ in range(5):
        trainer.sample(1)
    assert trainer.step - begin < 5000
    trainer.stop()
    assert not trainer.waiting


def test_a_failing_callback_does_not_keep_the_others_from_knowing_the_step(tmp_path):
    slow = Slow()
    slow.fails_at = 3
    with pytest.raises(RuntimeError, match='no'):
        make([slow, Checkpoints(tmp_path, 100)]).fit(5, progress=False)
    again = make().resume(tmp_path)
    assert again.step == 3 and same_average(make().fit(5, progress=False), again.fit(until=5, progress=False))


def test_nothing_is_saved_if_a_callback_with_a_state_failed(tmp_path):
    class Torn(EMA):
        def on_step(self, trainer, record):
            if trainer.step == 3:
                raise KeyboardInterrupt
            super().on_step(trainer, record)

    with pytest.raises(KeyboardInterrupt):
        make([Torn(50), Checkpoints(tmp_path, 100)]).fit(5, progress=False)
    assert not checkpoints(tmp_path)


def test_gradients_that_an_error_left_do_not_enter_the_next_fit(tmp_path):
    trainer = make()
    for p in trainer.pair.parameters():
        p.grad = torch.ones_like(p)
    assert same(trainer.fit(3, progress=False), make().fit(3, progress=False))


def test_the_message_of_a_divergence_is_true(tmp_path):
    class Poisoned(TinyPair):
        def generator_step(self, batch, draws):
            logs = super().generator_step(batch, draws)
            return {'loss': logs['loss'] * (float('nan') if self.steps['generator'] == 2 else 1)}

    trainer = make([Checkpoints(tmp_path, 1)], pair=Poisoned())
    with pytest.raises(TrainingDiverged, match='nothing of this step is saved'):
        trainer.fit(5, progress=False)
    assert [p.name for p in checkpoints(tmp_path)] == ['step-00000001', 'step-00000002']
    generator = trainer.pair.generator.state_dict()
    saved = load_state(tmp_path / 'step-00000002')['pair']
    assert all(torch.equal(tensor, saved[f'generator.{name}']) for name, tensor in generator.items())


@pytest.mark.parametrize('optimizer', ['adam', 'rmsprop'])
@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_a_skipped_update_changes_no_weight_without_asking_the_device(optimizer, bad):
    "How a step is left out where reading the answer would make the host wait."
    trainer = make(config=TrainingConfig(batch_size=8, optimizer=optimizer))
    trainer.fit(2, progress=False)
    before = {k: v.clone() for k, v in trainer.pair.generator.state_dict().items()}
    player = trainer.optimizers['generator']
    for p in trainer.pair.generator.parameters():
        p.grad = torch.full_like(p, bad)
    skip_update(player, torch.tensor(True))
    player.step()
    assert all(torch.equal(v, before[k]) for k, v in trainer.pair.generator.state_dict().items())
    for p in trainer.pair.generator.parameters():
        p.grad = torch.ones_like(p)
    skip_update(player, torch.tensor(False))
    player.step()
    changed = [not torch.equal(v, before[k]) for k, v in trainer.pair.generator.state_dict().items()]
    assert all(changed) and torch.isfinite(weights(trainer)).all()


def test_a_second_fit_beside_a_background_training_is_refused():
    trainer = make().fit_background(10_000)
    with pytest.raises(RuntimeError, match='running already'):
        trainer.fit(2, progress=False)
    assert trainer.target_step == 10_000
    trainer.stop()


# ---- accumulation ---------------------------------------------------------------------------------------------------
def test_steps_are_steps_of_the_optimisers_not_batches():
    trainer = make(config=TrainingConfig(batch_size=4, accumulate=3, n_critic=2)).fit(5, progress=False)
    assert trainer.pair.steps == {'discriminator': 10, 'generator': 5}


def test_both_networks_see_the_same_batches_and_the_log_is_of_all_of_them():
    class Noting(TinyPair):
        def discriminator_step(self, batch, draws):
            seen['discriminator'].append(batch['index'])
            return super().discriminator_step(batch, draws)

        def generator_step(self, batch, draws):
            seen['generator'].append(batch['index'])
            logs = super().generator_step(batch, draws)
            losses.append(logs['loss'].item())
            return logs

    seen, losses = {'discriminator': [], 'generator': []}, []
    record = make(config=TrainingConfig(batch_size=4, accumulate=3), pair=Noting()).train_step()
    assert len(seen['generator']) == 3
    assert all(torch.equal(a, b) for a, b in zip(*seen.values()))
    assert record['generator_loss'] == pytest.approx(sum(losses) / 3, rel=1e-5)


def test_a_bad_batch_among_several_is_noticed():
    class Bad(TinyPair):
        calls = 0

        def discriminator_step(self, batch, draws):
            self.calls += 1
            logs = super().discriminator_step(batch, draws)
            return logs | {'loss': logs['loss'] * (float('inf') if self.calls == 1 else 1)}

    trainer = make(config=TrainingConfig(batch_size=4, accumulate=3), pair=Bad())
    with pytest.raises(TrainingDiverged, match="discriminator's (loss|gradient)"):
        trainer.fit(1, progress=False)


# ---- callbacks ------------------------------------------------------------------------------------------------------
def test_the_average_comes_after_what_is_ordered_before_it():
    class Early(Callback):
        order = -2

        def on_step(self, trainer, record):
            with torch.no_grad():
                next(trainer.pair.generator.parameters()).fill_(float(trainer.step))

    trainer = make([Early()], config=replace(CONFIG, ema_half_life=1e-3)).fit(3, progress=False)
    assert [type(c) for c in trainer.callbacks] == [Early, EMA]
    assert next(trainer.average.parameters()).flatten()[0] == 3


def test_two_callbacks_of_one_class_keep_their_own_state(tmp_path):
    class Counter(Callback):
        def __init__(self, start):
            self.n = start

        def state(self):
            return {'n': self.n}

        def load(self, state):
            self.n = state['n']

    make([Counter(1), Counter(2)]).fit(1, progress=False).save(tmp_path / 'step-1')
    again = make([Counter(0), Counter(0)]).load(tmp_path / 'step-1')
    assert [c.n for c in again.callbacks if isinstance(c, Counter)] == [1, 2]


def test_an_average_that_a_checkpoint_does_not_hold_begins_at_its_weights(tmp_path):
    make(config=replace(CONFIG, ema_half_life=0)).fit(3, progress=False).save(tmp_path / 'step-3')
    trainer = make(pair=TinyPair(seed=5)).load(tmp_path / 'step-3')
    live, average = trainer.pair.generator.state_dict(), trainer.average.state_dict()
    assert all(torch.equal(live[k], average[k]) for k in live)


def test_the_average_is_not_sampled_while_it_changes():
    "EMA writes under the lock that sample() holds."

    class Sampler(Callback):
        order = -1.5

        def on_step(self, trainer, record):
            free.append(trainer.lock._is_owned())

    free = []
    trainer = make([Sampler()])
    ema = next(c for c in trainer.callbacks if isinstance(c, EMA))
    held = []
    lerp = torch._foreach_lerp_

    def noted(*args):
        held.append(trainer.lock._is_owned())
        return lerp(*args)

    torch._foreach_lerp_ = noted
    try:
        trainer.train_step()
        ema.on_step(trainer, {})
    finally:
        torch._foreach_lerp_ = lerp
    assert held == [True] and not trainer.lock._is_owned()


# ---- logs, disks ----------------------------------------------------------------------------------------------------
def test_the_log_has_time_speed_and_memory(tmp_path):
    make([JSONLog(tmp_path / 'log.jsonl')]).fit(3, progress=False)
    last = read_log(tmp_path / 'log.jsonl')[-1]
    assert last['seconds'] > 0 and last['images_per_second'] > 0 and last['cpu_peak_gb'] > 0.01
    assert last['seconds_per_1000_images'] == pytest.approx(1000 / last['images_per_second'], rel=0.05, abs=2e-3)
    assert 'gpu_peak_gb' not in last


def full(*args, **kwargs):
    raise OSError(28, 'No space left on device')


def test_a_full_disk_does_not_end_the_training(tmp_path, monkeypatch):
    trainer = make([JSONLog(tmp_path / 'log.jsonl'), Samples(1, 2, folder=tmp_path / 'samples')])
    trainer.fit(1, progress=False)
    monkeypatch.setattr('PIL.Image.Image.save', full)
    log = next(c for c in trainer.callbacks if isinstance(c, JSONLog))

    class Full(Callback):
        def on_start(self, trainer):
            if log.file:
                log.file.write = full

    with pytest.warns(UserWarning, match='No space left on device') as said:
        monkeypatch.setattr('animegan_nb.callbacks.open', full, raising=False)
        trainer.fit(2, progress=False)
    assert trainer.step == 3 and same(trainer, make().fit(3, progress=False))
    assert {'samples', 'log'} <= {word for w in said for word in ('samples', 'log') if word in str(w.message)}
    assert sorted(p.name for p in (tmp_path / 'samples').iterdir()) == ['step-00000000.png', 'step-00000001.png']


def test_a_failing_evaluation_is_told_and_the_training_goes_on():
    def metric(trainer):
        raise ValueError('too few images')

    with pytest.warns(UserWarning, match='evaluation of step 2 failed .*too few images'):
        trainer = make([Evaluate(metric, every=2)]).fit(3, progress=False)
    assert trainer.step == 3


def test_health_asks_the_device_nothing():
    trainer = make([Health()]).fit(2, progress=False)
    record = trainer.history[-1]
    assert 0 <= record['accuracy'] <= 1 and record['spread'] > 0


# ---- checkpoints ----------------------------------------------------------------------------------------------------
def flip(path, position=-5):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize('part', ['tensors.safetensors', 'state.json'])
def test_a_damaged_last_checkpoint_is_replaced(tmp_path, part):
    whole = make([Checkpoints(tmp_path, 2)]).fit(4, progress=False)
    flip(tmp_path / 'step-00000004' / part)
    with pytest.warns(UserWarning, match='Trying the one before'):
        again = make([Checkpoints(tmp_path, 2)]).resume(tmp_path)
    assert again.step == 2
    again.fit(until=4, progress=False)
    assert same(whole, again)
    load_state(tmp_path / 'step-00000004')  # good again


def test_a_good_checkpoint_is_not_written_again(tmp_path):
    make([Checkpoints(tmp_path, 2)]).fit(2, progress=False)
    before = (tmp_path / 'step-00000002' / 'state.json').stat().st_mtime_ns
    make([Checkpoints(tmp_path, 2)]).resume(tmp_path).fit(until=2, progress=False)
    assert (tmp_path / 'step-00000002' / 'state.json').stat().st_mtime_ns == before


def test_a_training_that_went_back_replaces_its_later_checkpoints(tmp_path):
    trainer = make([Checkpoints(tmp_path, 2, keep=9)]).fit(4, progress=False)
    trainer.load(tmp_path / 'step-00000002')
    for group in trainer.optimizers['generator'].param_groups:
        group['lr'] = group['initial_lr'] = 1e-2
    trainer.fit(2, progress=False)
    assert same(trainer, make().resume(tmp_path))


def test_a_checkpoint_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    trainer = make().fit(1, progress=False)
    folder = trainer.save(tmp_path / 'step-1')
    rename = Path.rename

    def full(path, target):
        if path.name.endswith('.part'):
            raise OSError(28, 'No space left on device')
        return rename(path, target)

    monkeypatch.setattr(Path, 'rename', full)
    with pytest.raises(OSError, match='No space'):
        trainer.save(folder, overwrite=True)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ['step-1'] and load_state(folder)
    trainer.fit(1, progress=False).save(folder, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ['step-1'] and load_state(folder)['step'] == 2


def test_the_log_says_the_same_of_health_after_a_resume(tmp_path):
    def run(folder, until):
        watch = [Health(window=4, won=0.0), Checkpoints(folder, 100), JSONLog(folder / 'log.jsonl')]
        make(watch).resume(folder).fit(until=until, progress=False)
        return [record['health'] for record in read_log(folder / 'log.jsonl')]

    whole = run(tmp_path / 'whole', 8)
    run(tmp_path / 'parts', 5)
    assert run(tmp_path / 'parts', 8) == whole == 3 * [True] + 5 * [False]


def test_a_pause_before_a_training_does_not_hold_it():
    trainer = make()
    trainer.pause()
    later = threading.Timer(5, trainer.stop)  # instead of hanging, fail
    later.start()
    assert trainer.fit(2, progress=False).step == 2
    later.cancel()


@pytest.mark.parametrize('name', ['images', 'step', 'position'])
def test_a_changed_state_is_refused_like_a_changed_tensor(tmp_path, name):
    folder = make().fit(1, progress=False).save(tmp_path / 'step-1')
    text = json.loads((folder / 'state.json').read_text())
    entry = next(pair for pair in text['state']['dict'] if pair[0] == name)
    entry[1] += 1
    (folder / 'state.json').write_text(json.dumps(text))
    with pytest.raises(DamagedCheckpoint, match='state.json was changed'):
        make().load(folder)


@pytest.mark.parametrize('text', ['', '3', 'null', '[]', '{}', '{"info": {}, "state": {}}', '\x00', '{"info": 1'])
def test_a_state_that_is_none_is_one_sentence(tmp_path, text):
    folder = make().fit(1, progress=False).save(tmp_path / 'step-1')
    (folder / 'state.json').write_text(text)
    with pytest.raises(DamagedCheckpoint) as error:
        load_facts(folder)
    assert '\n' not in str(error.value)


def test_checkpoints_of_the_first_edition_are_read(tmp_path):
    folder = make().fit(2, progress=False).save(tmp_path / 'step-2')
    facts = json.loads((folder / 'state.json').read_text())
    del facts['checksum']
    gone = ('steps', 'engine')
    facts['state']['dict'] = [pair for pair in facts['state']['dict'] if pair[0] not in gone]
    (folder / 'state.json').write_text(json.dumps(facts))
    again = make().load(folder)
    assert again.pair.steps == {'discriminator': 2, 'generator': 2}
    assert same(again.fit(2, progress=False), make().fit(4, progress=False))


def test_the_numbers_of_the_trainer_win_over_those_of_the_checkpoint(tmp_path):
    make().fit(3, progress=False).save(tmp_path / 'step-3')
    config = replace(CONFIG, generator_lr=1e-7, generator_betas=(0.1, 0.2))
    trainer = make(config=config).load(tmp_path / 'step-3')
    group = trainer.optimizers['generator'].param_groups[0]
    assert group['lr'] == 1e-7 and group['betas'] == (0.1, 0.2)
    before = weights(trainer)
    trainer.fit(1, progress=False)
    generator = sum(p.numel() for p in trainer.pair.generator.parameters())
    assert (weights(trainer) - before)[:generator].abs().max() < 1e-5
    assert trainer.optimizers['generator'].state_dict()['state'][0]['step'] == 4  # Adam remembers


def test_a_resumed_optimiser_follows_the_layout_of_its_weights(tmp_path):
    "A fused step walks through weights and moments in memory order: both must have the same one."

    class Layered(TinyPair):
        def __init__(self):
            super().__init__()
            self.discriminator = torch.nn.Sequential(
                torch.nn.Conv2d(3, 4, 3, 2, 1), torch.nn.LeakyReLU(0.2), torch.nn.Conv2d(4, 1, 4), torch.nn.Flatten(1)
            )

    config = replace(CONFIG, channels_last=True)
    whole, half = (make(config=config, pair=Layered()).fit(2, progress=False) for _ in range(2))
    half.save(tmp_path / 'step-2')
    rest = make(config=config, pair=Layered()).load(tmp_path / 'step-2').fit(2, progress=False)
    assert same(whole.fit(2, progress=False), rest)


def test_random_numbers_of_another_kind_of_device_cannot_be_continued(tmp_path):
    from animegan_nb.training import restore_draws

    trainer = make().fit(2, progress=False)
    with pytest.warns(UserWarning, match='another kind of device'):
        restore_draws(trainer, torch.zeros(16, dtype=torch.uint8))
    first = trainer.draws.normal(3)
    with pytest.warns(UserWarning):
        restore_draws(trainer, torch.zeros(16, dtype=torch.uint8))
    assert torch.equal(first, trainer.draws.normal(3))  # the same each time


# ---- looking --------------------------------------------------------------------------------------------------------
def test_looking_needs_no_larger_batches_than_training():
    class Noting(TinyPair):
        def generate(self, generator, latents):
            sizes.append(len(latents))
            return generator(latents)

    sizes = []
    trainer = make(pair=Noting())
    images = trainer.sample(20)
    assert sizes == [8, 8, 4]
    whole = generate_images(trainer.pair, trainer.average, 20, Draws(0), 64)
    torch.testing.assert_close(images, whole)


# ---- stages ---------------------------------------------------------------------------------------------------------
STAGES = (
    Stage(3, generator_lr=1e-3),
    Stage(images=24, batch_size=4, accumulate=2, frozen=('generator.0.',)),
    Stage(2, batch_size=12, fresh_optimizers=True, fresh_average=True),
)


def staged(run=None, callbacks=(), until=None):
    watch = [*callbacks, *([Checkpoints(run, 1, keep=99)] if run else [])]
    return fit_stages(TinyPair(), images(), STAGES, run, CONFIG, watch, 'cpu', until=until, progress=False)


def test_a_stage_changes_what_it_says_and_nothing_else():
    class Watch(Callback):
        def on_step(self, trainer, record):
            rates = {role: o.param_groups[0]['lr'] for role, o in trainer.optimizers.items()}
            first = trainer.pair.generator[0].weight
            still = torch.equal(first, self.before) if hasattr(self, 'before') else False
            self.before = first.detach().clone()
            seen.append((record['stage'], trainer.images, rates['generator'], rates['discriminator'], still))

    seen = []
    trainer = staged(callbacks=[Watch()])
    usual = CONFIG.generator_lr
    assert seen == [
        (0, 8, 1e-3, usual, False),
        (0, 16, 1e-3, usual, False),
        (0, 24, 1e-3, usual, False),
        (1, 32, usual, usual, True),
        (1, 40, usual, usual, True),
        (1, 48, usual, usual, True),
        (2, 60, usual, usual, False),
        (2, 72, usual, usual, False),
    ]
    state = trainer.optimizers['generator'].state_dict()['state']
    assert state[0]['step'] == 2  # Adam began again with the last stage
    assert trainer.config.clip_gradient == CONFIG.clip_gradient
    assert stage_starts(STAGES, CONFIG) == [0, 3, 6, 8] and stage_at([0, 3, 6, 8], 99) == 2


class CountingPair(TinyPair):
    "A generator with a buffer that moves whenever a step is made, as a running mean does."

    def __init__(self):
        super().__init__()
        for number in (0, 2):
            self.generator[number].register_buffer('seen', torch.zeros(3))

    def generator_step(self, batch, draws):
        for number in (0, 2):
            self.generator[number].seen += 1
        return super().generator_step(batch, draws)


def test_frozen_weights_that_are_replaced_stay_what_they_became():
    trainer = fit_stages(
        CountingPair(),
        images(),
        (Stage(9, frozen=('generator.0.',)),),
        None,
        CONFIG,
        until=2,
        device='cpu',
        progress=False,
    )
    weight = trainer.pair.generator[0].weight
    weight.data.fill_(0.5)
    trainer.fit(1, progress=False)
    assert weight.eq(0.5).all()


@pytest.mark.parametrize('stop', [None, 2, 4, 5])
def test_frozen_buffers_and_moments_stay_too(tmp_path, stop):
    "In the second of three stages; a checkpoint before, in or after it changes nothing."
    stages = (Stage(3), Stage(2, frozen=('generator.0.',)), Stage(1))

    def train(until, run=None):
        watch = [Checkpoints(run, 1, keep=99)] if run else []
        how = dict(callbacks=watch, device='cpu', progress=False)
        return fit_stages(CountingPair(), images(), stages, run, CONFIG, until=until, **how)

    def frozen(trainer):
        generator, memory = trainer.pair.generator, trainer.optimizers['generator'].state
        kept = [v for name in ('weight', 'bias') for v in memory[getattr(generator[0], name)].values()]
        return [x.clone() for x in (*generator[0].state_dict().values(), *kept)]

    before = frozen(train(3))
    if stop:
        train(stop, tmp_path)
    trainer = train(5, tmp_path if stop else None)
    assert len(before) == 9 and all(map(torch.equal, before, frozen(trainer)))
    assert torch.equal(trainer.average[0].seen, trainer.pair.generator[0].seen)
    assert trainer.pair.generator[2].seen.tolist() == [5] * 3 and trainer.pair.generator[0].seen.tolist() == [3] * 3
    assert train(6, tmp_path if stop else None).pair.generator[0].seen.tolist() == [4] * 3


@pytest.mark.parametrize('stop', range(1, 8))
def test_a_curriculum_resumes_bit_for_bit_wherever_it_stopped(tmp_path, stop):
    whole = staged()
    staged(tmp_path, until=stop)
    again = staged(tmp_path)
    assert again.step == 8 and same(whole, again) and whole.images == again.images
    assert all(torch.equal(a, b) for a, b in zip(whole.average.parameters(), again.average.parameters()))


def test_a_stage_is_not_entered_twice():
    "A checkpoint written after a stage was entered, and before its first step."
    stages = (Stage(3), Stage(4, batch_size=3))
    whole = fit_stages(TinyPair(), images(), stages, config=CONFIG, device='cpu', progress=False)
    trainer = Trainer(TinyPair(), images(), CONFIG, stages=stages, device='cpu').fit(3, progress=False)
    trainer.fit(0, progress=False)
    with tempfile.TemporaryDirectory() as folder:
        trainer.save(Path(folder) / 'c')
        again = Trainer(TinyPair(), images(), CONFIG, stages=stages, device='cpu').load(Path(folder) / 'c')
    assert same(again.fit(4, progress=False), whole) and again.position == whole.position


@pytest.mark.parametrize(
    'frozen, words',
    [
        (('genrator.',), 'freezes \'genrator.\', but'),
        (('generator.',), 'leaves the generator nothing to learn'),
        (('discriminator.1', 'discriminator.3'), 'leaves the discriminator nothing'),
    ],
)
def test_a_stage_that_cannot_freeze_so_says_it_before_the_training(frozen, words):
    with pytest.raises(ValueError, match=f'Stage 1 .*{words}'):
        Trainer(TinyPair(), images(), CONFIG, stages=[Stage(1), Stage(1, frozen=frozen)], device='cpu')


def test_a_size_that_the_networks_do_not_have_is_told_before_the_training():
    recipe = recipes['stylegan-liu-a']
    network = replace(recipe.network, size=16)
    pair = build_pair('stylegan', network)
    with pytest.raises(ValueError, match='Stage 1 .*needs 12 px, but the networks grow'):
        Trainer(pair, images(size=16), CONFIG, stages=[Stage(1, size=8), Stage(1, size=12)], device='cpu')
    with pytest.raises(ValueError, match='cannot grow'):
        Trainer(TinyPair(), images(), CONFIG, stages=[Stage(1), Stage(1, size=8)], device='cpu')


def test_a_fresh_average_begins_at_the_weights():
    class Watch(Callback):
        order = 5

        def on_stage(self, trainer, stage):
            pairs = zip(trainer.average.parameters(), trainer.pair.generator.parameters())
            equal.append(all(torch.equal(a, b) for a, b in pairs))

    equal = []
    staged(callbacks=[Watch()])
    assert equal == [True, False, True]


@pytest.mark.parametrize(
    'stages, words',
    [
        ([Stage()], 'Stage 0 of the curriculum needs a length'),
        ([Stage(3, 3)], 'needs a length'),
        ([Stage(3), Stage(-1)], 'Stage 1 .* cannot last less'),
        ([Stage(3, fade=2)], 'fades in a size that is not new'),
        ([Stage(3, size=8), Stage(3, size=8, fade=2)], 'not new'),
        ([Stage(3, size=0)], '0 pixels'),
        ([Stage(3, generator_lr=-1.0)], 'Stage 0 .*generator_lr must be positive'),
        ([Stage(3, augment_p=2.0)], 'augment_p'),
    ],
)
def test_a_curriculum_that_cannot_be_is_one_sentence(stages, words):
    with pytest.raises(ValueError, match=words) as error:
        Trainer(TinyPair(), images(), CONFIG, stages=stages, device='cpu')
    assert '\n' not in str(error.value)


def test_a_curriculum_has_a_stage():
    with pytest.raises(ValueError, match='at least one stage'):
        fit_stages(TinyPair(), images(), [], config=CONFIG, device='cpu', progress=False)


def test_a_pair_that_cannot_grow_says_so():
    with pytest.raises(ValueError, match='cannot grow'):
        fit_stages(TinyPair(), images(), [Stage(2, size=8)], config=CONFIG, device='cpu', progress=False)


# ---- presets --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('name', list(recipes))
def test_a_recipe_survives_its_file(name):
    recipe = recipes[name]
    assert cli.recipe_from_toml(cli.recipe_to_toml(recipe)) == recipe


@pytest.mark.parametrize('name', list(recipes))
def test_a_preset_is_as_long_as_its_stages(name):
    recipe = recipes[name]
    starts = stage_starts(recipe.stages, recipe.training)
    assert not recipe.stages or starts[-1] == recipe.steps


def table(trainer, steps):
    "What each step trains with: size, batch, rates."

    class Note(Callback):
        def on_step(self, trainer, record):
            rates = [o.param_groups[0]['lr'] for o in trainer.optimizers.values()]
            size = trainer.logs['fake_images'].shape[-1]
            rows.append((record['step'], record['images'], size, trainer.loader.batch_size, *rates))

    rows = []
    trainer.callbacks.append(Note())
    trainer.fit(until=steps, progress=False)
    return rows


@pytest.mark.parametrize('model', ['pigan', 'stylegan'])
def test_the_terminal_trains_what_the_notebook_trains(tmp_path, model, monkeypatch):
    "Stage by stage: the same sizes, batches, rates and weights, through the recipe's file."
    if model == 'pigan':
        from test_pigan_training import GROWING as stages, SMALL as network, images as pictures

        data, steps = pictures(), 6
    else:
        from test_stylegan import GROWS, images as pictures

        from animegan_nb.stylegan import GrowthRow, growth_stages

        rows = GrowthRow(4, 1e-3, 4, 8), GrowthRow(8, 2e-3, 2, 4)
        stages, network, data = growth_stages(rows, 24, 8, 8), replace(GROWS, size=8), pictures(size=8)
        steps = stage_starts(stages, TrainingConfig(8))[-1]
    recipe = replace(
        recipes['pigan-carla'],
        model=model,
        network=network,
        training=TrainingConfig(8, seed=4),
        stages=stages,
        steps=steps,
    )
    notebook = recipe.trainer(data, device='cpu')
    monkeypatch.setattr(cli, 'open_data', lambda name, size: data)
    again = cli.recipe_from_toml(cli.recipe_to_toml(recipe))
    terminal = cli.make_trainer(again, 'anything', tmp_path, 'cpu')
    rows = table(notebook, steps)
    assert rows == table(terminal, steps) and same(notebook, terminal)
    assert len({row[2] for row in rows}) > 1 and len({row[3] for row in rows}) > 1 and len({row[4] for row in rows}) > 1


def test_a_recipe_brings_its_augmentation(tmp_path, monkeypatch):
    from animegan_nb.augment import Augmentation

    recipe = replace(recipes['dcgan-tiny'], augment='diffaugment')
    monkeypatch.setattr(cli, 'open_data', lambda name, size: images(size=size))
    again = cli.recipe_from_toml(cli.recipe_to_toml(recipe))
    for trainer in (recipe.trainer(images(size=16), device='cpu'), cli.make_trainer(again, 'x', tmp_path, 'cpu')):
        (augmentation,) = [c for c in trainer.callbacks if isinstance(c, Augmentation)]
        assert augmentation.p == 1.0 and augmentation.target is None
    with pytest.raises(KeyError, match='no augmentation called'):
        replace(recipe, augment='blur').trainer(images(size=16), device='cpu')


# ---- kernels --------------------------------------------------------------------------------------------------------
def test_compiled_networks_train_alike(monkeypatch):
    "Compiled by a backend that changes nothing, so that what is tested is who is compiled, and what survives it."
    compiled, plain = [], torch.nn.Module.compile

    def compile_by_hand(module, *args, **kwargs):
        compiled.append(module)
        return plain(module, backend='eager')

    monkeypatch.setattr(torch.nn.Module, 'compile', compile_by_hand)
    trainer = make(config=replace(CONFIG, compile=True))
    assert compiled == [trainer.pair.generator]
    trainer.fit(2, progress=False)
    assert same(trainer, make().fit(2, progress=False)) and trainer.sample(2).shape == (2, 3, 8, 8)


def test_kernels_are_chosen_for_a_fit_and_put_back():
    class Look(Callback):
        def on_step(self, trainer, record):
            seen.append(torch.are_deterministic_algorithms_enabled())

    seen, before = [], torch.are_deterministic_algorithms_enabled()
    for wanted in (True, False):
        make([Look()], config=replace(CONFIG, deterministic=wanted)).fit(1, progress=False)
        assert torch.are_deterministic_algorithms_enabled() is before
    assert seen == [True, False]


def test_a_step_can_be_counted_without_being_computed():
    from animegan_nb.training import count_flops, step_cost

    recipe = recipes['wgan-gp-tiny']
    cost = step_cost(recipe)
    trainer = recipe.trainer(images(n=40, size=32), device='cpu')
    batch = recipe.training.batch_size
    counted = count_flops(trainer.train_step) / batch / 1e9
    assert cost.gigaflops == pytest.approx(counted, rel=0.02)
    assert cost.gigabytes > 4 * 4 * sum(p.numel() for p in trainer.pair.generator.parameters()) / 2**30


@pytest.mark.parametrize('name', ['dcgan-liu-64', 'wgan-gp-tiny', 'conditional-tiny', 'stylegan-tiny', 'pigan-toon-32'])
def test_the_stored_needs_of_the_presets_are_those_of_today(name):
    import sys

    sys.path.insert(0, str(Path(__file__).parents[1] / 'benchmarks'))
    from presets import OUT, counted

    stored = json.loads(OUT.read_text(encoding='utf-8'))
    assert stored.keys() == set(recipes)
    assert counted(recipes[name]) == pytest.approx(stored[name], rel=0.02, abs=2e-3)


# ---- recipes in files -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    'text, words',
    [
        ('[[stage]]\nsteps = 3', "no setting 'stage'"),
        ('step = 3', "no setting 'step'"),
        ('[training]\nbatch_size = "8"', 'batch_size is a whole number'),
        ('augment = "adda"', 'adda'),
    ],
)
def test_a_recipe_with_a_wrong_word_is_one_sentence(text, words, tmp_path, capsys):
    (tmp_path / 'r.toml').write_text(f'model = "dcgan"\n{text}\n')
    code = cli.main(['train', str(tmp_path / 'r.toml'), '--data', 'toon:8', '--out', str(tmp_path / 'run')])
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 1 and message.startswith('animegan: ') and words in message
    assert not (tmp_path / 'run' / 'recipe.toml').exists()


def test_a_recipe_is_as_long_as_its_stages_also_with_another_batch():
    text = 'model = "dcgan"\n[[stages]]\nsteps = 3\n[[stages]]\nimages = 64\nbatch_size = 16\n'
    recipe = cli.recipe_from_toml(text)
    assert recipe.steps == 3 + 4

    def overruled(*words):
        return cli._overruled(recipe, cli.parser().parse_args(['train', 'x', '--out', 'y', *words]))

    assert overruled('--batch', '4').steps == 3 + 16
    assert overruled('--batch', '4', '--steps', '5').steps == 5
    assert overruled('--seed', '4').steps == 7


def test_a_checkpoint_that_would_land_in_another_stage_is_refused(tmp_path):
    def made(batch):
        stages = [Stage(images=24), Stage(images=24, generator_lr=1e-4), Stage(images=24)]
        return Trainer(TinyPair(), images(), replace(CONFIG, batch_size=batch), stages=stages, device='cpu')

    made(4).fit(8, progress=False).save(tmp_path / 'there')  # 32 images: stage 1
    before = made(2)
    state = weights(before)
    with pytest.raises(ValueError, match='written in stage 1 .* lies in stage 0'):
        before.load(tmp_path / 'there')
    assert torch.equal(weights(before), state) and before.step == 0
    assert made(4).load(tmp_path / 'there').fit(1, progress=False).stage == 1


def test_a_pair_that_logs_a_step_does_not_move_it():
    class Logs(TinyPair):
        def generator_step(self, batch, draws):
            return super().generator_step(batch, draws) | {'step': torch.tensor(7.0), 'note': torch.tensor(2.0)}

    trainer = Trainer(Logs(), images(), CONFIG, device='cpu').fit(3, progress=False)
    assert [(r['step'], r['note']) for r in trainer.history] == [(1, 2.0), (2, 2.0), (3, 2.0)]


@pytest.mark.parametrize('steps', [-3, 2.5, True])
def test_fit_takes_a_whole_number_of_steps(steps):
    for name in ('steps', 'until'):
        with pytest.raises(ValueError, match='whole number of steps'):
            make().fit(**{name: steps}, progress=False)


def test_a_sample_has_an_image():
    with pytest.raises(ValueError, match='at least one image'):
        make().sample(0)
    with pytest.raises(ValueError, match='at least one image'):
        Samples(n=0)
    for size in (0, -1):
        with pytest.raises(ValueError, match=f'1 or more at once, not batch_size={size}'):
            make().sample(4, batch_size=size)


def test_a_loader_of_another_batch_size_is_named():
    loader = torch.utils.data.DataLoader(torch.zeros(16, 3, 8, 8), 4)
    with pytest.raises(ValueError, match='batches of 8, and its loader makes batches of 4'):
        config = replace(CONFIG, batch_size=8)
        Trainer(TinyPair(), loader, config, stages=[Stage(1), Stage(1)], device='cpu').fit(1, progress=False)


def test_a_descent_stops_before_a_gradient_that_is_not_finite():
    q = torch.zeros(2, requires_grad=True)
    steps = optimise(torch.optim.Adam([q]), lambda: q.square().sum().sqrt() + 1, 5)
    with pytest.raises(ValueError, match='The gradient diverged at step 0'):
        list(steps)
    assert torch.equal(q.detach(), torch.zeros(2))


def test_a_new_training_keeps_the_log_that_it_finds(tmp_path):
    log = tmp_path / 'log.jsonl'
    for steps in (5, 1):
        make([JSONLog(log)]).fit(steps, progress=False)
    assert [len(read_log(path)) for path in (tmp_path / 'log.jsonl.old', log)] == [5, 1]


def test_a_loss_that_is_not_finite_is_not_differentiated():
    "Kernels that look things up at places that are not numbers can end the program in the backward pass."
    q, seen = torch.zeros(2, requires_grad=True), []
    q.register_hook(lambda gradient: seen.append(gradient))
    with pytest.raises(ValueError, match='The loss diverged at step 0'):
        list(optimise(torch.optim.Adam([q]), lambda: (q * float('nan')).sum(), 5))
    assert not seen


def test_frozen_weights_stay_also_where_a_pair_changes_weights_itself():
    class Clipping(TinyPair):
        def after_update(self, role):
            with torch.no_grad():
                for p in self.discriminator.parameters():
                    p.clamp_(-0.01, 0.01)

    pair = Clipping()
    before = [p.clone() for p in pair.discriminator.parameters()]
    stages = Stage(2, frozen=('discriminator.1.',)), Stage(1)
    trainer = Trainer(pair, images(), CONFIG, stages=stages, device='cpu').fit(2, progress=False)
    first, bias, last, _ = pair.discriminator.parameters()
    assert torch.equal(first, before[0]) and torch.equal(bias, before[1]) and last.abs().max() <= 0.01
    trainer.fit(1, progress=False)
    assert first.abs().max() <= 0.01


def test_images_are_generated_without_a_graph():
    pair = TinyPair()
    assert not generate_images(pair, pair.generator, 3, Draws(0)).requires_grad
    with pytest.raises(ValueError, match='at least one image, not 0'):
        generate_images(pair, pair.generator, 0, Draws(0))


def test_a_training_beyond_its_schedule_says_so(recwarn):
    config = replace(CONFIG, schedule='linear', total_steps=3)
    trainer = Trainer(TinyPair(), images(), config, device='cpu').fit(3, progress=False)
    make().fit(4, progress=False)
    assert not [w for w in recwarn if 'total_steps' in str(w.message)]
    before = weights(trainer)
    with pytest.warns(UserWarning, match='linear schedule ends at step 3.*nothing is learnt from there to step 5'):
        trainer.fit(2, progress=False)
    assert torch.equal(before, weights(trainer))
