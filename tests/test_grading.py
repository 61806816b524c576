"Every oracle passes the library and an independent solution, fails a blank stub, and kills each of its mutants."

import importlib.util
import signal
import time
from pathlib import Path

import pytest
import torch

from animegan_nb import grading
from animegan_nb.grading import oracles

IDS = list(grading.exercises())
SOLUTIONS = {}
for file in sorted((Path(__file__).parent / 'solutions').glob('*.py')):
    spec = importlib.util.spec_from_file_location(f'solutions_{file.stem}', file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert {id.split('.')[0] for id in module.SOLUTIONS} == {file.stem}
    SOLUTIONS |= module.SOLUTIONS


def test_there_are_exercises():
    assert len(IDS) >= 50


def test_no_solution_without_an_exercise():
    assert set(SOLUTIONS) <= set(IDS)


@pytest.mark.parametrize('id', IDS)
def test_library_passes(id):
    assert grading.trial(id)['library'].passed


@pytest.mark.parametrize('id', IDS)
def test_independent_solution_passes(id):
    assert id in SOLUTIONS, f'write an independent solution of {id} in tests/solutions'
    assert SOLUTIONS[id] is not oracles[id].library
    report = grading.oracle(id)(SOLUTIONS[id])
    assert report.passed, str(report)


@pytest.mark.parametrize('id', IDS)
def test_blank_gets_nothing(id):
    def unwritten(*args, **kwargs):
        raise NotImplementedError

    assert grading.oracle(id)(unwritten).points == 0
    assert not grading.oracle(id)(lambda *args, **kwargs: None).passed


@pytest.mark.parametrize('id', IDS)
def test_there_are_mutants_and_none_survives(id):
    assert oracles[id].mutants, f'{id} has no mutants'
    assert grading.survivors(id) == []


@pytest.mark.parametrize('id', IDS)
def test_every_exercise_says_what_to_do(id):
    assert len(oracles[id].task) > 20


def test_a_wrong_id_names_the_known_ones():
    with pytest.raises(KeyError, match='There is no oracle'):
        grading.oracle('losses.nothing')


def test_a_value_instead_of_a_function_is_refused():
    with pytest.raises(TypeError, match='without calling it'):
        grading.oracle('training.ema_decay')(3)


def test_an_average_may_be_computed_in_single_precision():
    oracle = grading.oracle('training.ema_decay')
    assert oracle(lambda b, h: torch.tensor(0.5) ** (b / h)).passed
    assert not oracle(lambda b, h: 0.5 ** (b // h) if b >= h else 0.5 ** (b / h)).passed


def test_judging_leaves_the_random_numbers_alone():
    torch.manual_seed(1)
    before = torch.rand(1)
    torch.manual_seed(1)
    grading.oracle('training.ema_decay')(lambda b, h: float(torch.rand(1)))
    assert torch.equal(before, torch.rand(1))


def answer(candidate, limit):
    "What a trivial oracle says of a candidate within a limit."
    exercise = grading.Exercise('core.one', lambda f: iter([('it answers 1', f() == 1)]), lambda: 1, {})
    return grading.examine(exercise, candidate, limit)[0]


def busy(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return 1


def test_the_time_limit_counts_processor_time():
    def waits():  # as a right answer does on a machine that computes for others as well
        time.sleep(0.6)
        return 1

    assert answer(waits, 0.2).holds
    assert answer(lambda: busy(0.05), 1).holds
    late = answer(lambda: busy(60), 0.2)
    assert not late.holds and 'longer than 0.2 s' in late.problem


def test_the_clock_ends_a_candidate_that_waits_for_ever():
    start = time.monotonic()
    late = answer(lambda: time.sleep(600), 0.1)
    assert not late.holds and 'TimeoutError' in late.problem
    assert 0.9 < time.monotonic() - start < 300


def test_a_check_without_an_answer_may_ask_for_a_module_or_a_class():
    class Net(torch.nn.Linear):
        pass

    def laws(net):
        yield 'it has weights', len(list(net.parameters())) == 2
        yield 'it gives one number', net(torch.ones(1, 3)).shape == (1, 1)

    def laws_of_class(kind):
        yield 'it is a layer', issubclass(kind, torch.nn.Module)
        yield 'of one number', kind(3, 1)(torch.ones(1, 3)).shape == (1, 1)

    assert grading.score(Net(3, 1), laws, points=2) == 2 == grading.score(Net, laws_of_class, points=2)


def test_a_limit_of_the_clock_may_be_the_shorter_one():
    with pytest.raises(TimeoutError, match=r'longer than 0\.2 s by the clock'), grading.time_limit(50, clock=0.2):
        time.sleep(60)


def test_the_limit_that_struck_is_named():
    with pytest.raises(TimeoutError, match=r'longer than 0\.6 s by the clock'), grading.time_limit(0.2, clock=0.6):
        time.sleep(60)
    with pytest.raises(TimeoutError, match=r'longer than 0\.2 s of processor time'), grading.time_limit(0.2, clock=60):
        busy(60)
    with pytest.raises(TimeoutError, match=r'longer than 0\.5 s by the clock'), grading.time_limit(50, clock=0.5):
        with grading.time_limit(0.1, clock=60):  # the outer one strikes
            time.sleep(60)
    with pytest.raises(TimeoutError, match=r'longer than 0\.3 s of processor time'), grading.time_limit(0.3, clock=60):
        with grading.time_limit(0.2, clock=60):  # the outer one strikes, and the inner one had not been reached
            time.sleep(0.3)
            busy(0.1)
        with grading.time_limit(5, clock=60):
            busy(60)


def test_the_time_limit_leaves_the_signals_as_they_were():
    before = signal.getsignal(signal.SIGALRM), signal.getsignal(signal.SIGPROF)
    waiting = signal.getitimer(signal.ITIMER_REAL)[0]  # of pytest's own time limit
    with grading.time_limit(5):
        assert signal.getsignal(signal.SIGPROF) is not before[1]
    assert (signal.getsignal(signal.SIGALRM), signal.getsignal(signal.SIGPROF)) == before
    assert signal.getitimer(signal.ITIMER_PROF)[0] == 0
    assert (signal.getitimer(signal.ITIMER_REAL)[0] > 0) == (waiting > 0)


def test_the_library_and_its_mutants_are_examined_once():
    calls = []

    def once():
        calls.append('library')
        return 1

    exercise = grading.Exercise('core.once', lambda f: iter([('it answers 1', f() == 1)]), once, {'two': lambda: 2})
    oracles['core.once'] = exercise
    try:
        grading.trial('core.once'), grading.law_table('core.once'), grading.oracle('core.once')(lambda: 1)
    finally:
        del oracles['core.once']
    assert calls == ['library']


def test_near():
    near = grading.near
    assert near(1 + 1e-7, 1) and near(torch.ones(3, 2), 1) and near([1, 2], torch.tensor([1.0, 2.0]))
    assert near(float('inf'), float('inf')) and near(torch.tensor(True), 1)
    assert near(1.05, 1, tolerance=0.1) and near(torch.tensor(1e6, dtype=torch.float64) + 0.5, 1e6)
    assert not near(1 + 1e-5, 1) and not near(torch.ones(3), torch.ones(2))
    assert not near(float('nan'), float('nan')) and not near(float('inf'), 1)
    assert near(torch.nn.Parameter(torch.zeros(2)), 0)
    assert near(2**70, 2**70) and near(True, 1) and not near(1e39, 1e40) and not near(1 + 1e-9, 1, 1e-12)
    assert near(0.1, torch.tensor(0.1, dtype=torch.float64), 1e-9) and near(1j, 1j) and not near(1j, 1)


def test_lists_are_compared_in_double_precision():
    assert grading.near([0.1], 0.1, 1e-9) and grading.near([1, True], [1.0, 1.0])
    assert not grading.near([1e-3 + 1e-10], [1e-3], 1e-12)
    assert grading.near([torch.tensor(1.0), torch.tensor(2.0)], [1, 2]) and not grading.near([1j], [1.0])


def test_an_examination_disturbs_no_random_numbers():
    import random

    import numpy as np

    def candidate(*arguments):
        np.random.seed(5)  # noqa: NPY002
        random.seed(5)
        torch.manual_seed(5)

    def states():
        numpy = np.random.get_state()[1].tolist()  # noqa: NPY002
        return random.getstate(), numpy, torch.get_rng_state().tolist()

    before = states()
    grading.oracle('metrics.frechet')(candidate)
    assert states() == before


def test_an_unknown_exercise_is_answered_with_those_there_are():
    with pytest.raises(KeyError) as error:
        grading.find('metrics_frechet')
    assert 'metrics.frechet' in str(error.value)
