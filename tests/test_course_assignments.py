"""All assignments of the course in one class folder: built, handed in by somebody whose answers are those of the author
and by somebody who wrote nothing, graded by the command, and exported. About a minute of processor time in all."""

import csv
import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest

from animegan_nb import cli

pytest.importorskip('nbgrader', reason='nbgrader is not installed: pip install -e ".[course]"')
from animegan_nb import course as teaching  # noqa: E402
from animegan_nb.marking import Workers  # noqa: E402

SOURCE = Path(__file__).parents[1] / 'nbs/course/source'
NAMES = sorted(path.parent.name for path in SOURCE.glob('*/*.ipynb') if path.stem == path.parent.name)
REGION = re.compile(r'^ *### (BEGIN|END) SOLUTION\n?', re.MULTILINE)


def written(path: Path) -> dict:
    return teaching.read_notebook(path)[0]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "The folder of a course that has been built, with the notebooks of two students."
    folder = tmp_path_factory.mktemp('course')
    shutil.copytree(SOURCE, folder / 'source')
    course = teaching.Course(folder)
    with Workers() as workers:
        for name in NAMES:
            teaching.build(course, name, workers)
    for name in NAMES:
        release, source = written(folder / 'release' / name / f'{name}.ipynb'), written(course.source(name))
        hand_in(release, folder / 'submitted/blank' / f'{name}.ipynb')
        answers = teaching.cells_of(source, 'answer', 'written')
        for id, cell in teaching.cells_of(release, 'answer', 'written').items():
            cell['source'] = REGION.sub('', teaching.without(answers[id]['source'], 'MARK SCHEME'))
        hand_in(release, folder / 'submitted/perfect' / f'{name}.ipynb')
    return folder


def hand_in(notebook: dict, path: Path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notebook, ensure_ascii=False), encoding='utf-8')


@pytest.fixture(scope='module')
def records(folder):
    "(assignment, student) -> the record, after `animegan course grade`."
    assert cli.main(['course', 'grade', str(folder / 'submitted'), '--jobs', '1']) == 0
    course = teaching.Course(folder)
    return {(name, record.student): record for name in NAMES for record in teaching.load_records(course, name)}


@pytest.mark.parametrize('name', NAMES)
def test_the_release_holds_no_solution(folder, name):
    source, path = written(SOURCE / name / f'{name}.ipynb'), folder / 'release' / name
    release = written(path / f'{name}.ipynb')
    assert teaching.leaks(source, release) == []
    text = json.dumps(release)
    for word in ('BEGIN SOLUTION', 'HIDDEN TESTS', 'MARK SCHEME'):
        assert word not in text
    # the names of the library's answers, which `check` locks as grading does
    assert teaching.traps_in(release) == teaching.traps_in(source)
    assert not any(cell.get('outputs') for cell in release['cells'])
    for cell in teaching.cells_of(release, 'answer').values():
        assert 'YOUR CODE HERE' in cell['source'] and 'raise NotImplementedError' in cell['source']
    files = set(zipfile.ZipFile(folder / 'release' / f'{name}.zip').namelist())
    given = {f'{name}/{file.name}' for file in (SOURCE / name).iterdir()}
    assert files == given | {f'{name}/README.md', f'{name}/requirements.txt'}


def test_answers_that_are_imported_count_nothing_at_home(folder, tmp_path, capsys):
    notebook = written(folder / 'submitted/perfect/a01_gan_game.ipynb')
    cells = teaching.cells_of(notebook, 'answer')
    for name in ('discriminator_loss', 'generator_loss'):
        cells[f'f-{name}']['source'] = f'from animegan_nb.losses import {name}'
    hand_in(notebook, tmp_path / 'a01_gan_game.ipynb')
    assert cli.main(['course', 'check', str(tmp_path / 'a01_gan_game.ipynb')]) == 0
    said = capsys.readouterr().out
    points = {id: float(teaching.about(cell)['points']) for id, cell in teaching.cells_of(notebook, 'test').items()}
    full, lost = sum(points.values()), points['t-discriminator_loss'] + points['t-generator_loss']
    assert f'\n{full - lost:g} of {full:g} points by the laws that you can see' in said
    assert said.count('is the answer of the library: write your own') == 2


@pytest.mark.parametrize('name', NAMES)
def test_the_release_is_valid_for_nbgrader(folder, name):
    import nbformat
    from nbgrader.nbgraderformat import MetadataValidator

    notebook = nbformat.read(folder / 'release' / name / f'{name}.ipynb', as_version=4)
    nbformat.validate(notebook)
    MetadataValidator().validate_nb(notebook)


@pytest.mark.parametrize('name', NAMES)
def test_the_author_gets_all_points_and_a_blank_notebook_none(records, name):
    perfect, blank = records[name, 'perfect'], records[name, 'blank']
    for test in perfect.tests.values():
        assert (test.points, test.broken, test.problem) == (test.full, {}, '')
    assert perfect.remarks == [] and all(perfect.written.values())
    assert blank.points == 0 and not any(blank.written.values())
    assert blank.remarks == []


def test_the_export_has_a_column_for_each_assignment(folder, records):
    assert cli.main(['course', 'export', '--course', str(folder)]) == 0
    moodle = {row['Username']: row for row in csv.DictReader((folder / 'grades/moodle.csv').open())}
    for name in NAMES:
        points = sum(test.full for test in records[name, 'perfect'].tests.values())
        assert (float(moodle['perfect'][name]), float(moodle['blank'][name])) == (points, 0)
