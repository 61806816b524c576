"Kill −9 at random moments, checkpoint writing included: every resume equals the uninterrupted run bit for bit."

import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from tiny import TinyPair, images, untimed, weights

from animegan_nb.callbacks import Checkpoints, JSONLog
from animegan_nb.training import Trainer, TrainingConfig, checkpoints

STEPS = 60


def trainer(run):
    return Trainer(
        TinyPair(),
        images(),
        TrainingConfig(batch_size=8, ema_half_life=50),
        [Checkpoints(run, every=3), JSONLog(run / 'log.jsonl')],
        device='cpu',
    )


def child(run):
    "Train in a forked process (a fresh interpreter would spend its time importing torch)."
    pid = os.fork()
    if pid == 0:
        try:
            torch.set_num_threads(1)
            trainer(run).resume(run).fit(until=STEPS, progress=False)
            os._exit(0)
        except BaseException:
            os._exit(1)
    return pid


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_twenty_kills(tmp_path):
    torch.set_num_threads(1)
    reference = trainer(tmp_path / 'whole').fit(until=STEPS, progress=False)
    chance = random.Random(0)
    started = time.perf_counter()
    assert os.waitpid(child(tmp_path / 'timing'), 0)[1] == 0
    whole_time = time.perf_counter() - started
    writing = 0
    for trial in range(20):
        run = tmp_path / f'run{trial}'
        pid, limit = child(run), time.perf_counter() + chance.uniform(0.05, 1) * whole_time
        while time.perf_counter() < limit:  # every other kill waits for a half-written checkpoint
            if trial % 2 and list(run.glob('.step-*.part')) and time.perf_counter() > limit - 0.5 * whole_time:
                break
            time.sleep(0.0002)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        writing += bool(list(run.glob('.step-*.part')))
        again = trainer(run).resume(run).fit(until=STEPS, progress=False)
        assert torch.equal(weights(again), weights(reference)), f'kill {trial}'
        assert all(torch.equal(a, b) for a, b in zip(again.average.parameters(), reference.average.parameters()))
        assert untimed(run / 'log.jsonl') == untimed(tmp_path / 'whole' / 'log.jsonl')
        assert not list(run.glob('.step-*.part')) and checkpoints(run)
    print(f'{writing} of 20 kills fell into the writing of a checkpoint')
    assert writing >= 1
