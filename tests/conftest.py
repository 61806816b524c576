"Fixtures shared by all tests: the folders of real data, and quiet, repeatable torch."

import contextlib
import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from pretend_cuda import pretend, Report

# CI tries the same examples every time, so that a red run is about the change; a run by hand looks for new ones
settings.register_profile('ci', derandomize=True, print_blob=True)
if os.environ.get('CI'):
    settings.load_profile('ci')

os.environ.setdefault('ANIMEGAN_BUDGET', 'fast')
os.environ.setdefault('MPLBACKEND', 'Agg')
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope='session', autouse=True)
def own_cache(tmp_path_factory):
    "Tests neither use nor fill the user's cache."
    if 'ANIMEGAN_CACHE' not in os.environ:
        os.environ['ANIMEGAN_CACHE'] = str(tmp_path_factory.mktemp('cache'))


@pytest.fixture(autouse=True)
def no_training_outlives_its_test(monkeypatch):
    """A test that fails while a training runs in the background stops it, or the tests after it would share torch's
    randomness with it."""
    from animegan_nb.training import Trainer

    started, start = [], Trainer.fit_background
    monkeypatch.setattr(
        Trainer,
        'fit_background',
        lambda self, *args, **options: (started.append(self), start(self, *args, **options))[1],
    )
    yield
    for trainer in started:
        if trainer.running:
            trainer.stop()


def folder_or_skip(variable: str, what: str) -> Path:
    path = os.environ.get(variable)
    if not path or not Path(path).is_dir():
        pytest.skip(f'{what} are not here: set {variable} to their folder')
    return Path(path)


@pytest.fixture(scope='session')
def root():
    return ROOT


@pytest.fixture(scope='session')
def data_dir():
    return folder_or_skip('ANIMEGAN_DATA', 'the real images')


@pytest.fixture(scope='session')
def weights_dir():
    return folder_or_skip('ANIMEGAN_WEIGHTS', 'the pretrained weights')


@pytest.fixture(scope='session')
def reference_dir():
    return folder_or_skip('ANIMEGAN_REFERENCE', 'the reference values')


@pytest.fixture
def pretended_gpu(monkeypatch):
    """A machine with one GPU that is only pretended (`tests/pretend_cuda.py`). Its report counts faults and waits:
    end a test with `pretended_gpu.check()`."""
    monkeypatch.delenv('ANIMEGAN_DEVICE', raising=False)
    with pretend() as report, fresh_constants():
        yield report


@contextlib.contextmanager
def fresh_constants():
    "Constants that were copied to a pretended GPU are of no use for the next one."
    from animegan_nb.surfaces import placed

    placed.cache_clear()
    yield
    placed.cache_clear()


@pytest.fixture
def gpu(monkeypatch):
    """The GPU of this machine, else a pretended one: the tests of devices run on both. A real one raises errors
    itself, and its report stays empty."""
    monkeypatch.delenv('ANIMEGAN_DEVICE', raising=False)
    if torch.cuda.is_available():
        yield Report(real=True)
        return
    with pretend() as report, fresh_constants():
        yield report
