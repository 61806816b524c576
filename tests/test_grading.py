"Every oracle passes the library and an independent solution, fails a blank stub, and kills each of its mutants."

import importlib.util
from pathlib import Path

import pytest

from animegan_nb import grading
from animegan_nb.grading import oracles

IDS = list(grading.exercises())
SOLUTIONS = {}
for file in sorted((Path(__file__).parent / 'solutions').glob('*.py')):
    spec = importlib.util.spec_from_file_location(f'solutions_{file.stem}', file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    SOLUTIONS |= module.SOLUTIONS


def test_there_are_exercises():
    assert len(IDS) >= 5


def test_no_solution_without_an_exercise():
    assert set(SOLUTIONS) <= set(IDS)


@pytest.mark.parametrize('id', IDS)
def test_library_passes(id):
    assert grading.oracle(id)(oracles[id].library).passed


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


def test_judging_leaves_the_random_numbers_alone():
    import torch

    torch.manual_seed(1)
    before = torch.rand(1)
    torch.manual_seed(1)
    grading.oracle('training.ema_decay')(lambda b, h: float(torch.rand(1)))
    assert torch.equal(before, torch.rand(1))
