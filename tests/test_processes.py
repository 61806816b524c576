"Two CPU processes (gloo, through accelerate) compute what one process computes with twice the batch."

import subprocess
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import processes
from tiny import TinyPair, images, weights

from animegan_nb.training import Trainer, TrainingConfig, models

pytest.importorskip('accelerate')
HERE = Path(__file__).parent
STEPS = 6
SCRIPT = f'''
import os
import sys
sys.path.insert(0, {str(HERE)!r})
import torch
torch.set_num_threads(1)
from tiny import TinyPair, images
from animegan_nb.callbacks import Checkpoints
from animegan_nb.training import Trainer, TrainingConfig

def train(out):
    pair = TinyPair(seed=int(os.environ.get('RANK', 0)))  # different on purpose: process 0 decides
    config = TrainingConfig(batch_size=8, ema_half_life=50)
    trainer = Trainer(pair, images(), config, [Checkpoints(out, 3)], device='cpu')
    assert trainer.engine.num_processes == 2
    trainer.fit({STEPS}, progress=False)
    trainer.engine.wait_for_everyone()
'''


def one_process():
    torch.set_num_threads(1)
    return Trainer(TinyPair(seed=0), images(), TrainingConfig(batch_size=16, ema_half_life=50), device='cpu').fit(
        STEPS, progress=False
    )


def compare(out):
    two = Trainer(TinyPair(seed=5), images(), TrainingConfig(batch_size=16, ema_half_life=50), device='cpu').resume(out)
    one = one_process()
    assert two.step == STEPS and two.images == one.images
    torch.testing.assert_close(weights(two), weights(one), rtol=1e-4, atol=1e-6)
    for a, b in zip(two.average.parameters(), one.average.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def run(command, tmp_path):
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]


def test_torchrun(tmp_path):
    script = tmp_path / 'train.py'
    script.write_text(SCRIPT + f'\ntrain({str(tmp_path / "run")!r})\n')
    run([sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2', str(script)], tmp_path)
    compare(tmp_path / 'run')


def test_from_a_notebook(tmp_path):
    """`debug_launcher` is what accelerate offers a notebook on a CPU;
    `notebook_launcher` starts the same function on GPUs."""
    script = tmp_path / 'notebook.py'
    script.write_text(
        SCRIPT
        + f'''
if __name__ == '__main__':
    from accelerate import debug_launcher
    debug_launcher(train, ({str(tmp_path / "run")!r},), num_processes=2)
'''
    )
    run([sys.executable, str(script)], tmp_path)
    compare(tmp_path / 'run')


@pytest.fixture(scope='module')
def of_two(tmp_path_factory):
    "What two processes have reached, for every model: [process 0, process 1]."
    out, names = tmp_path_factory.mktemp('two'), list(processes.networks())
    script = str(HERE / 'processes.py')
    launcher = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2']
    run([*launcher, script, str(out), *names], out)
    return {name: [torch.load(out / f'{name}.{k}.pt', weights_only=True) for k in (0, 1)] for name in names}


def test_every_registered_model_is_tried():
    assert {model for model, *_ in processes.networks().values()} == set(models)


@pytest.mark.parametrize('name', list(processes.networks()))
def test_two_processes_are_one_with_twice_the_batch(name, of_two):
    one = processes.result(processes.train(name))
    first, second = of_two[name]
    assert one.keys() == first.keys() == second.keys()  # also: no gradient here, none there
    for key, wanted in one.items():
        assert torch.equal(first[key], second[key]), key  # weights, buffers and moments are the same everywhere
        torch.testing.assert_close(first[key], wanted, rtol=1e-6, atol=1e-9, msg=lambda m, key=key: f'{key}: {m}')


STOPS = f'''
import sys, threading, time
sys.path.insert(0, {str(HERE)!r})
import torch
torch.set_num_threads(1)
from tiny import TinyPair, images
from animegan_nb.training import Callback, Trainer, TrainingConfig, TrainingDiverged

class On(Callback):
    "Does something after a step, on one process only."
    def __init__(self, act):
        self.act = act
    def on_step(self, trainer, record):
        if trainer.engine.process_index == 1 and trainer.step == 3:
            self.act(trainer)

def later(trainer):
    trainer.pause()
    threading.Timer(0.5, trainer.proceed).start()

def trainer(act):
    return Trainer(TinyPair(), images(), TrainingConfig(batch_size=8), [On(act)], device='cpu')

stopped = trainer(lambda t: t.stopping.set())
stopped.fit(50, progress=False)
assert stopped.step == 4, stopped.step  # the wish travels with the next step

paused = trainer(later)
begun = time.perf_counter()
paused.fit(8, progress=False)
assert paused.step == 8 and time.perf_counter() - begun > 0.4

class Bad(TinyPair):
    def generator_step(self, batch, draws):
        logs = super().generator_step(batch, draws)
        import os
        bad = os.environ['RANK'] == '1' and self.steps['generator'] == 2
        return dict(loss=logs['loss'] * (float('nan') if bad else 1))

diverged = Trainer(Bad(), images(), TrainingConfig(batch_size=8), device='cpu')
try:
    diverged.fit(9, progress=False)
except TrainingDiverged as error:
    assert "generator's" in str(error) and diverged.step == 2, error
else:
    raise AssertionError('nobody noticed')
assert all(p.isfinite().all() for p in diverged.pair.parameters())
diverged.engine.wait_for_everyone()
print('agreed')
'''


def test_a_stop_a_pause_and_a_divergence_of_one_process_are_those_of_all(tmp_path):
    script = tmp_path / 'stops.py'
    script.write_text(STOPS)
    run([sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2', str(script)], tmp_path)
