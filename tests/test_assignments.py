"""Every assignment of the course: its own solution and one in another style get full marks, a blank one gets nothing,
and each wrong version of an asked function loses exactly the laws that it breaks."""

import ast
import importlib
import importlib.util
import json
import os
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / 'nbs/course/source'
NAMES = sorted(path.parent.name for path in SOURCE.glob('*/*.ipynb') if path.stem == path.parent.name)
REGION = re.compile(r'^( *)### BEGIN SOLUTION\n.*?### END SOLUTION$', re.MULTILINE | re.DOTALL)


@cache
def answers(name):
    "The independent solutions and the wrong versions of one assignment: a file of this folder's `assignments`."
    spec = importlib.util.spec_from_file_location(name, ROOT / f'tests/assignments/{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def notebook(name):
    return json.loads((SOURCE / name / f'{name}.ipynb').read_text())


def cells(name, beginning):
    "What follows the beginning in a cell's id -> its code, for the cells of one kind."
    found = {}
    for cell in notebook(name)['cells']:
        id = cell['metadata'].get('nbgrader', {}).get('grade_id', '')
        if id.startswith(beginning):
            found[id.removeprefix(beginning)] = ''.join(cell['source'])
    return found


@cache
def namespace(name):
    "The names that the given cells and the solutions make. The experiments are not run."
    names, here = {'__name__': name}, Path.cwd()
    os.chdir(SOURCE / name)  # where the files lie that are handed out with it
    try:
        for cell in notebook(name)['cells']:
            id = cell['metadata'].get('nbgrader', {}).get('grade_id', '')
            if id.startswith(('given-', 'f-')):
                exec(compile(''.join(cell['source']), f'{name}/{id}', 'exec'), names)
    finally:
        os.chdir(here)
    return names


@cache
def compiled(name, function):
    tree = ast.parse(cells(name, 't-')[function])
    last = ast.Expression(tree.body.pop().value)
    where = f'{name}/t-{function}'
    return compile(tree, where, 'exec'), compile(last, where, 'eval')


def grade(name, function, candidate):
    "The points of a candidate, and the laws that it breaks."
    before, last = compiled(name, function)
    names = {**namespace(name), function: candidate}
    exec(before, names)
    result = eval(last, names)
    return float(result), [law for report in result.reports for law in report.laws if not law.holds]


def points(name, function):
    for cell in notebook(name)['cells']:
        facts = cell['metadata'].get('nbgrader', {})
        if facts.get('grade_id') == f't-{function}':
            return facts['points']


ASKED = [(name, function) for name in NAMES for function in cells(name, 't-')]
WRONG = [(name, function, wrong) for name, function in ASKED for wrong in answers(name).WRONG[function]]


def test_there_are_assignments():
    assert len(NAMES) >= 9


@pytest.mark.parametrize('name', NAMES)
def test_an_assignment_is_of_one_to_two_hours(name):
    facts = notebook(name)['metadata']['animegan_nb']['course']
    assert 60 <= facts['minutes'] <= 120
    assert 3 <= len(cells(name, 'f-')) <= 6
    assert set(cells(name, 'f-')) == set(cells(name, 't-'))
    assert len(cells(name, 'q-')) == 1
    assert cells(name, 'x-')


@pytest.mark.parametrize('name', NAMES)
def test_the_readme_for_instructors_lists_it(name):
    (row,) = [row for row in (SOURCE.parent / 'README.md').read_text().splitlines() if f'| `{name}` |' in row]
    _, _, _, functions, minutes, points, _ = map(str.strip, row.split('|'))
    facts = [cell['metadata'].get('nbgrader', {}) for cell in notebook(name)['cells']]
    assert functions == ', '.join(f'`{function}`' for function in cells(name, 'f-'))
    assert int(minutes) == notebook(name)['metadata']['animegan_nb']['course']['minutes']
    assert int(points) == sum(cell.get('points', 0) for cell in facts)


@pytest.mark.parametrize('name', NAMES)
def test_every_function_has_three_hints_before_it(name):
    hints = None
    for cell in notebook(name)['cells']:
        tags, id = cell['metadata'].get('tags', []), cell['metadata'].get('nbgrader', {}).get('grade_id', '')
        if id.startswith('f-'):
            text = ''.join(hints['source'])
            assert [int(n) for n in re.findall(r'<summary>Hint (\d)', text)] == [1, 2, 3], id
        hints = cell if 'hints' in tags else None


@pytest.mark.parametrize('name, function', ASKED)
def test_the_solution_gets_full_marks(name, function):
    assert grade(name, function, namespace(name)[function]) == (points(name, function), [])


@pytest.mark.parametrize('name, function', ASKED)
def test_a_solution_in_another_style_gets_full_marks(name, function):
    assert answers(name).SOLUTIONS[function] is not namespace(name)[function]
    assert grade(name, function, answers(name).SOLUTIONS[function]) == (points(name, function), [])


@pytest.mark.parametrize('name, function', ASKED)
def test_a_blank_function_gets_nothing(name, function):
    blank = REGION.sub(r'\1raise NotImplementedError()', cells(name, 'f-')[function])
    names = dict(namespace(name))
    exec(blank, names)
    assert grade(name, function, names[function])[0] == 0


@pytest.mark.parametrize('name, function, wrong', WRONG)
def test_a_wrong_version_loses_the_laws_that_it_breaks(name, function, wrong):
    candidate, broken = answers(name).WRONG[function][wrong]
    got, laws = grade(name, function, candidate)
    assert {law.sentence for law in laws} == set(broken), wrong
    assert not any(law.problem for law in laws), laws
    assert got < points(name, function)


@pytest.mark.parametrize('name, function', ASKED)
def test_there_are_wrong_versions(name, function):
    assert len(answers(name).WRONG[function]) >= 2


@pytest.mark.parametrize('name', NAMES)
def test_the_solutions_do_not_use_the_library(name):
    for function, code in cells(name, 'f-').items():
        assert 'animegan' not in code, function


@pytest.mark.parametrize('name', NAMES)
def test_what_the_library_would_give_away_exists(name):
    for versions in notebook(name)['metadata']['animegan_nb']['course']['library'].values():
        for version in versions:
            module, *path = version.split('.')
            found = importlib.import_module(f'animegan_nb.{module}')
            for part in path:
                found = getattr(found, part)
            assert callable(found), version
