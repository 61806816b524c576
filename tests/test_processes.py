"Two CPU processes (gloo, through accelerate) compute what one process computes with twice the batch."

import subprocess
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from tiny import TinyPair, images, weights

from animegan_nb.training import Trainer, TrainingConfig

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
