"""A course from the source to the export, with a class of synthetic students who do everything that students do.

`CLASS` states what each of them deserves: the points of the two functions of `tests/course/source/tiny`, and a remark.
"""

import copy
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from animegan_nb import __version__, cli, grading, marking

pytest.importorskip('nbgrader', reason='nbgrader is not installed: pip install -e ".[course]"')
from animegan_nb import course as teaching  # noqa: E402
from animegan_nb.marking import Limits, Workers  # noqa: E402

SOURCE = Path(__file__).parent / 'course' / 'source'
LIMITS = Limits(cell_seconds=4, seconds=14, memory=1, clock=60)
SECRET = 'a secret law about two columns'
OUTSIDE = Path(tempfile.gettempdir()) / 'animegan-evil'  # where no student may write

EMA = 'def ema_decay(batch_size, half_life):\n    return 0.5 ** (batch_size / half_life)\n'
MIRROR = 'def mirror(images):\n    return images.flip(-1)\n'
WRONG = 'def ema_decay(batch_size, half_life):\n    return 0.9\n'


@dataclass
class Student:
    "What a student hands in, and what it deserves."

    ema: float  # points of 4
    mirror: float  # points of 4
    answers: dict = field(default_factory=dict)  # id of a cell -> its source
    before: tuple = ()  # cells of the student's own, before everything
    change: object = None  # changes the notebook
    write: object = None  # writes the file instead of us
    remark: str = ''  # must stand in the report


def ema(source, points, **more):
    return Student(points, 4, {'f-ema_decay': source}, **more)


def mirror(source, points, **more):
    return Student(4, points, {'f-mirror': source}, **more)


def own_cell(*sources, **more):
    "Right answers, after cells of one's own."
    return Student(4, 4, before=sources, **more)


def find(notebook, id):
    return next(cell for cell in notebook['cells'] if teaching.cell_id(cell) == id)


def delete(*ids):
    def change(notebook):
        notebook['cells'] = [cell for cell in notebook['cells'] if teaching.cell_id(cell) not in ids]

    return change


def duplicate(id):
    def change(notebook):
        twin = copy.deepcopy(find(notebook, id))
        notebook['cells'].insert(notebook['cells'].index(find(notebook, id)) + 1, twin)

    return change


def rewrite(id, source, points=None):
    def change(notebook):
        find(notebook, id)['source'] = source
        if points:
            find(notebook, id)['metadata']['nbgrader']['points'] = points

    return change


def strip_metadata(notebook):
    for cell in notebook['cells']:
        cell['metadata'] = {}
    notebook['metadata'] = {}


def of_another_version(notebook):
    notebook['nbformat_minor'] = 1
    notebook['metadata']['language_info'] = {'name': 'python', 'version': '3.99.0'}
    notebook['metadata']['kernelspec'] = {'name': 'python399', 'display_name': 'Python 3.99'}
    for cell in notebook['cells']:
        cell.pop('id')


def encoded(encoding):
    def write(folder, text):
        (folder / 'tiny.ipynb').write_bytes(text.encode(encoding, errors='replace'))

    return write


def renamed(folder, text):
    (folder / 'my homework (2).ipynb').write_text(text, encoding='utf-8')


def twice(folder, text):
    (folder / 'tiny.ipynb').write_text(text, encoding='utf-8')
    (folder / 'tiny-old.ipynb').write_text('{}')


def no_json(folder, text):
    (folder / 'tiny.ipynb').write_text(text[:500])


def nothing(folder, text):
    pass


def odd_metadata(notebook):
    "Every kind of metadata that no program writes."
    for number, cell in enumerate(notebook['cells']):
        if not teaching.cell_id(cell):
            cell['metadata'] = [None, [1], 'text', {'tags': 5}, {'nbgrader': 'x'}, {'nbgrader': {'grade_id': ['a']}}][
                number % 6
            ]
        elif teaching.kind_of(cell) == 'test':
            cell['metadata']['nbgrader'].update(points=float('nan'), grade_id=teaching.cell_id(cell))
    notebook['metadata'].update(animegan_nb={'course': ['tiny']}, language_info=[1])


def half_a_character(notebook):
    for cell in notebook['cells'][:1]:
        cell['source'] += ' \ud83d'


def of_millions(folder, text):
    (folder / 'tiny.ipynb').write_text('{"nbformat": 4, "cells": [' + '[],' * 3_000_000 + '[]]}')


def larger_than_allowed(folder, text):
    with (folder / 'tiny.ipynb').open('wb') as file:
        file.truncate(200_000_000)  # takes no room on the disk


def nested(folder, text):
    (folder / 'tiny.ipynb').write_text('{"nbformat": 4, "cells": ' + '[' * 100_000)


def linked(folder, text):
    (folder / 'tiny.ipynb').symlink_to(SOURCE / 'tiny' / 'tiny.ipynb')


PATCHED = 'import torch\nimport animegan_nb.grading as g\ntorch.allclose = g.near = lambda *a, **k: True\n'
EQUALS = """
class Yes(float):
    __eq__ = __lt__ = __gt__ = __le__ = __ge__ = lambda self, other: True
    __sub__ = __rsub__ = lambda self, other: 0.0
    __hash__ = None
"""
READ = """
from pathlib import Path
import animegan_nb.training as training
source = Path(training.__file__).read_text()
exec('import math\\n' + source[source.index('def ema_decay'):].split('\\n# %%')[0])
"""
SWALLOW = """
def ema_decay(batch_size, half_life):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
"""

# fmt: off
CLASS = {
    # right, in several styles: nobody who is right loses a point
    'perfect': Student(4, 4),
    'loops': mirror('def mirror(images):\n    out = images.clone()\n    for x in range(images.shape[-1]):\n'
                    '        out[..., x] = images[..., images.shape[-1] - 1 - x]\n    return out', 4),
    'numpy': Student(4, 4, {
        'f-ema_decay': 'import numpy as np\ndef ema_decay(b, h):\n    return np.exp(-np.log(2) * b / h)',
        'f-mirror': 'import torch\ndef mirror(x):\n    return torch.from_numpy(x.numpy()[..., ::-1].copy())'}),
    'matrix': mirror('import torch\ndef mirror(x):\n    swap = torch.eye(x.shape[-1]).flip(0)\n'
                     '    return torch.einsum("bchw,wv->bchv", x, swap)', 4),
    'noisy': ema('import sys, warnings\nfrom tqdm import tqdm\ndef ema_decay(b, h):\n    warnings.warn("old")\n'
                 '    list(tqdm(range(3)))\n    print("hello", file=sys.stderr)\n    return 2 ** (-b / h)', 4),
    'magics': own_cell('%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()'),
    'own names': own_cell('score = near = oracle = all = abs = sum = None'),
    'other settings': own_cell('import torch\ntorch.set_default_dtype(torch.float64)\ntorch.set_grad_enabled(False)'),
    # nothing, or half of it
    'blank': Student(0, 0, {'f-ema_decay': 'def ema_decay(b, h):\n    raise NotImplementedError()',
                            'f-mirror': 'def mirror(x):\n    raise NotImplementedError()'}),
    'returns nothing': Student(0, 0, {'f-ema_decay': 'def ema_decay(b, h): pass', 'f-mirror': 'def mirror(x): pass'}),
    'half': mirror('', 0),
    'syntax error': ema('def ema_decay(b, h:\n    return 1', 0, remark='SyntaxError'),
    'stops in a cell': own_cell('1 / 0', remark='ZeroDivisionError'),
    # mistaken
    'upside down': mirror('def mirror(x):\n    return x.flip(-2)', 1),
    'unchanged': mirror('def mirror(x):\n    return x', 2),
    'the batch turned': mirror('def mirror(x):\n    return x.flip(0)', 1),
    'the edges only': mirror('def mirror(x):\n    x = x.clone()\n    x[..., [0, -1]] = x[..., [-1, 0]]\n'
                             '    return x', 3),
    # made for the check
    'imported': ema('from animegan_nb.training import ema_decay', 0),
    'imported by another name': ema('from animegan_nb.training import ema_decay as f\n'
                                    'ema_decay = lambda b, h: f(b, h)', 0),
    'by getattr': ema('import animegan_nb.training as t\nema_decay = getattr(t, "ema_" + "decay")', 0),
    'by partial': ema('import functools\nfrom animegan_nb import training\n'
                      'ema_decay = functools.partial(training.ema_decay)', 0),
    'out of the oracle': ema('from animegan_nb.grading import oracles\n'
                             'ema_decay = oracles["training.ema_decay"].library', 0),
    'its source, read': ema(READ, 0, remark='PermissionError'),
    'its source, inspected': ema('import inspect, animegan_nb.training as t\nexec(inspect.getsource(t.ema_decay))', 0),
    'equals everything': ema(EQUALS + 'def ema_decay(b, h):\n    return Yes(1)', 0),
    'a mock': ema('from unittest.mock import ANY\ndef ema_decay(b, h):\n    return ANY', 0),
    'patched torch': ema(WRONG, 0, before=(PATCHED,), remark='torch.allclose'),
    'patched and right': own_cell(PATCHED, remark='was replaced before'),
    'patched in the function': ema(f'def ema_decay(b, h):\n    exec({PATCHED!r})\n    return 0.9', 0),
    'patched oracle': ema(
        WRONG + 'from animegan_nb import grading as g\n'
        'g.oracles["training.ema_decay"] = g.Exercise("x", lambda f: iter([("a", True)] * 9), None, {})', 0),
    'patched score': ema(WRONG + 'import animegan_nb.grading as g\ng.score = lambda *a, **k: g.Score(4)', 0),
    'patched equality': ema(WRONG + 'import torch\ntorch.Tensor.__eq__ = lambda *a: True', 0),
    # cells deleted, copied, changed
    'test deleted': Student(4, 4, change=delete('t-mirror'), remark='t-mirror was deleted'),
    'answer deleted': Student(0, 4, change=delete('f-ema_decay'), remark='f-ema_decay was deleted'),
    'all tests deleted': Student(4, 4, change=delete('t-mirror', 't-ema_decay', 'given-start')),
    'answer copied': Student(4, 4, change=duplicate('f-mirror'), remark='f-mirror was copied'),
    'test copied': Student(4, 4, change=duplicate('t-mirror'), remark='t-mirror was copied'),
    'test changed': ema(WRONG, 0, change=rewrite('t-ema_decay', 'from animegan_nb.grading import Score\nScore(4)', 99),
                        remark='t-ema_decay was changed'),
    'imports changed': Student(4, 4, change=rewrite('given-start', '1 / 0'), remark='given-start was changed'),
    'metadata stripped': Student(4, 4, change=strip_metadata, remark='was deleted'),
    # dangerous
    'endless cell': own_cell('while True:\n    pass', remark='TimeoutError'),
    'endless function': ema('def ema_decay(b, h):\n    while True: pass', 0),
    'endless and deaf': ema(SWALLOW, 0, remark=''),
    'sleeps': own_cell('import time\ntime.sleep(100_000)', remark='cell 0 stopped'),
    'memory bomb': own_cell('x = [0] * 10**11', 'import torch\ny = torch.ones(10**11)', remark='memory'),
    'memory bomb in the function': mirror('def mirror(x):\n    return x.repeat(1, 10**9, 1, 1)', 0),
    'exits': own_cell('import os\nos._exit(0)', remark='cell 0 stopped'),
    'exits in the function': ema('import os\ndef ema_decay(b, h):\n    os._exit(0)', 0),
    'sys.exit': ema('import sys\ndef ema_decay(b, h):\n    sys.exit(0)', 0),
    'deep recursion': mirror('def mirror(x):\n    return mirror(x)', 0),
    'kills': own_cell('import os, signal\nos.kill(os.getppid(), signal.SIGKILL)', remark='PermissionError'),
    'forks': own_cell('import os\nwhile True:\n    os.fork()', remark='PermissionError'),
    'a program': own_cell('import subprocess\nsubprocess.run(["ls"])', '!ls', remark='PermissionError'),
    'the network': own_cell('import socket\nsocket.create_connection(("127.0.0.1", 9))', remark='network'),
    'writes outside': own_cell('open("../../evil", "w")', f'import os\nos.mkdir({str(OUTSIDE)!r})',
                               remark='own folder'),
    'writes inside': own_cell('open("mine.txt", "w").write("x")\nassert open("mine.txt").read() == "x"'),
    'a large file': own_cell('with open("big", "w") as f:\n    for _ in range(99):\n        f.write("x" * 10**6)',
                             remark='File too large'),
    '200 MB of text': own_cell('for _ in range(200):\n    print("x" * 1_000_000)'),
    'hostile words': mirror('class E(Exception):\n    def __str__(self):\n        return "<script>1</script>" * 99\n'
                            'def mirror(x):\n    raise E', 0),
    'an error without words': own_cell('class E(Exception):\n    __str__ = None\nraise E',
                                       remark='cell 0 stopped: E: (without words)'),
    'a thread that goes on': own_cell('import threading, time\n'
                                      'threading.Thread(target=lambda: time.sleep(10**6)).start()'),
    # files
    'another version': Student(4, 4, change=of_another_version),
    'UTF-16': Student(4, 4, write=encoded('utf-16'), remark='not in UTF-8'),
    'Latin-1': Student(4, 4, write=encoded('latin-1'), remark='not in UTF-8'),
    'with a BOM': Student(4, 4, write=encoded('utf-8-sig')),
    'renamed': Student(4, 4, write=renamed, remark='my homework (2).ipynb'),
    'two files': Student(4, 4, write=twice, remark='2 notebooks'),
    'odd metadata': Student(4, 4, change=odd_metadata),
    'points of a thousand': Student(4, 1, {'f-mirror': 'def mirror(x):\n    return x.flip(-2)'},
                                    change=rewrite('t-mirror', '', 1000), remark='t-mirror was changed'),
    'half a character': Student(4, 4, change=half_a_character),
    'half a character printed': own_cell('print("\\ud83d")', 'raise ValueError("\\ud83d")', remark='ValueError'),
    'a link': Student(0, 0, write=linked, remark='nothing was handed in'),
    '200 MB': Student(0, 0, write=larger_than_allowed, remark='larger than 50 MB'),
    'millions of parts': Student(0, 0, write=of_millions, remark='millions of parts'),
    'nested': Student(0, 0, write=nested, remark='no notebook that can be read'),
    'cut off': Student(0, 0, write=no_json, remark='no notebook that can be read'),
    'nothing handed in': Student(0, 0, write=nothing, remark='nothing was handed in'),
}
# fmt: on
for name in grading.find('training.ema_decay').mutants:
    laws, kept = grading.law_table('training.ema_decay')
    CLASS[f'mutant {name}'.replace('/', ' ')] = ema(
        f'from animegan_nb.grading import oracles\nema_decay = oracles["training.ema_decay"].mutants[{name!r}]',
        round(4 * sum(holds is True for holds in kept[name]) / len(laws), 2),
    )


def hand_in(student: Student, release: dict, folder: Path):
    "Write the notebook of a student."
    notebook = copy.deepcopy(release)
    for cell in notebook['cells']:
        cell['source'] = ''.join(cell['source'])
    for id, source in {'f-ema_decay': EMA, 'f-mirror': MIRROR, **student.answers}.items():
        find(notebook, id)['source'] = source
    find(notebook, 'q-factor')['source'] = 'Mehr Bilder in einem Schritt: größer.'
    for number, source in enumerate(reversed(student.before)):
        cell = {'cell_type': 'code', 'id': f'own{number}', 'metadata': {}, 'execution_count': None}
        notebook['cells'].insert(0, {**cell, 'outputs': [], 'source': source})
    if student.change:
        student.change(notebook)
    folder.mkdir(parents=True)
    text = json.dumps(notebook, ensure_ascii=False)
    (student.write or encoded('utf-8'))(folder, text)


def run(*words) -> int:
    return cli.main(['course', *map(str, words)])


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    "A course whose assignment has been built."
    folder = tmp_path_factory.mktemp('built')
    shutil.copytree(SOURCE, folder / 'source')
    assert run('build', '--course', folder) == 0
    return folder


@pytest.fixture(scope='module')
def graded(built, tmp_path_factory):
    "The same course with the whole class graded."
    folder = tmp_path_factory.mktemp('graded') / 'course'
    shutil.copytree(built, folder)
    release = json.loads((folder / 'release' / 'tiny' / 'tiny.ipynb').read_text(encoding='utf-8'))
    for name, student in CLASS.items():
        hand_in(student, release, folder / 'submitted' / name / 'tiny')
    course = teaching.Course(folder)
    found = teaching.find_submissions(folder / 'submitted', course, ['tiny'])['tiny']
    records = teaching.grade_class(course, 'tiny', found, jobs=2, limits=LIMITS)
    key, assignment = course.key('tiny'), teaching.read_notebook(course.source('tiny'))[0]
    teaching.write_reports(course, records, assignment, key)
    by_name = {record.student: record for record in records}
    return SimpleNamespace(folder=folder, course=course, records=by_name, key=key, assignment=assignment, found=found)


# ---- the class


def test_the_class_is_large_enough():
    assert len(CLASS) >= 40


def test_nobody_is_lost(graded):
    assert sorted(graded.records) == sorted(CLASS)
    for name in CLASS:
        assert (graded.folder / 'grades' / 'tiny' / f'{name}.json').exists()
        assert (graded.folder / 'feedback' / name / 'tiny' / 'tiny.html').exists()


@pytest.mark.parametrize('name', CLASS)
def test_everybody_gets_what_they_deserve(graded, name):
    student, record = CLASS[name], graded.records[name]
    got = record.tests['t-ema_decay'].points, record.tests['t-mirror'].points
    assert got == (student.ema, student.mirror), record
    assert student.remark in '; '.join(record.remarks), record.remarks


def test_every_known_wrong_version_loses_the_law_it_breaks(graded):
    for name in grading.find('training.ema_decay').mutants:
        record = graded.records[f'mutant {name}'.replace('/', ' ')]
        laws, kept = grading.law_table('training.ema_decay')
        lost = {law for law, holds in zip(laws, kept[name]) if holds is not True}
        test = record.tests['t-ema_decay']
        assert lost and set(test.broken) | set(test.unreached) == lost and not set(test.broken) & set(test.unreached)


def test_nothing_was_written_outside(graded):
    assert not OUTSIDE.exists()
    assert not list(graded.folder.rglob('evil'))


def test_reports_hide_what_is_hidden_and_are_safe(graded):
    for name in CLASS:
        for kind in ('md', 'html'):
            text = (graded.folder / 'feedback' / name / 'tiny' / f'tiny.{kind}').read_text()
            assert SECRET not in text and '<script>' not in text
    page = (graded.folder / 'feedback' / 'unchanged' / 'tiny' / 'tiny.html').read_text()
    assert 'the first two columns become the last two, reversed' in page and 'Further laws that hold: 0 of 1.' in page
    assert '&lt;script&gt;' in (graded.folder / 'feedback' / 'hostile words' / 'tiny' / 'tiny.html').read_text()


def test_the_tables(graded):
    rows = list(csv.DictReader(teaching.class_table(graded.course, list(graded.records.values())).splitlines()))
    assert [row['student'] for row in rows] == list(graded.records)
    perfect = next(row for row in rows if row['student'] == 'perfect')
    assert (perfect['points'], perfect['of'], perfect['to read']) == ('8', '10', '1')
    laws = teaching.broken_by(list(graded.records.values()), graded.key)
    assert [law['broken by'] for law in laws] == sorted((law['broken by'] for law in laws), reverse=True)
    for id, law in (('t-ema_decay', graded.key.tests['t-ema_decay'].laws[0]), ('t-mirror', SECRET)):
        row = next(row for row in laws if (row['test'], row['law']) == (id, law))
        tests = [record.tests[id] for record in graded.records.values() if record.file]
        assert row['broken by'] == sum(law in test.broken for test in tests) > 0
        assert row['not reached by'] == sum(law in test.unreached for test in tests) > 0
    assert {law['of'] for law in laws} == {sum(bool(record.file) for record in graded.records.values())}
    assert SECRET in {law['law'] for law in laws if law['is'] == 'hidden'}


def test_grading_again_changes_nothing(graded):
    "Neither the records nor what a person gave; only what has changed is run."
    with teaching.gradebook(graded.course) as book:
        grade = book.find_grade('q-factor', 'tiny', 'tiny', 'perfect')
        assert grade.needs_manual_grade
        grade.manual_score, grade.needs_manual_grade = 1.5, False
        book.find_comment('q-factor', 'tiny', 'tiny', 'perfect').manual_comment = 'Say what *forgets* means.'
        book.db.commit()
    before = {path: path.read_bytes() for path in (graded.folder / 'grades').rglob('*.json')}
    again = teaching.grade_class(graded.course, 'tiny', graded.found, jobs=1, limits=LIMITS)
    assert {record.student: record for record in again} == graded.records
    after = {path: path.read_bytes() for path in (graded.folder / 'grades').rglob('*.json')}
    texts = graded.folder / 'grades' / 'tiny' / 'read' / 'texts.json'  # a person has read one answer
    seen, now = json.loads(before.pop(texts)), json.loads(after.pop(texts))
    seen['perfect']['q-factor']['read'] = seen['perfect']['q-factor']['shown']
    assert before == after and seen == now
    grades = teaching.read_grades(graded.course, graded.records['perfect'])
    assert grades['q-factor'] == teaching.Grade(1.5, 2.0, 'Say what *forgets* means.')
    one = [submission for submission in graded.found if submission.student in ('perfect', 'unchanged', 'upside down')]
    fresh = teaching.grade_class(graded.course, 'tiny', one, jobs=1, limits=LIMITS, fresh=True)
    assert fresh == [graded.records[record.student] for record in fresh]
    teaching.write_reports(graded.course, again, graded.assignment, graded.key)
    report = (graded.folder / 'feedback' / 'perfect' / 'tiny' / 'tiny.md').read_text()
    assert '9.5 of 10 points' in report and r'Say what \*forgets\* means.' in report


def test_export(graded):
    assert run('export', '--course', graded.folder) == 0
    moodle = list(csv.DictReader((graded.folder / 'grades' / 'moodle.csv').open()))
    assert {row['Username']: row['tiny'] for row in moodle}['half'] == '4'
    assert {row['Username']: row['Feedback comments'] for row in moodle}['half'].startswith('not complete')
    canvas = list(csv.DictReader((graded.folder / 'grades' / 'canvas.csv').open()))
    assert list(canvas[0]) == ['Student', 'ID', 'SIS User ID', 'SIS Login ID', 'Section', 'tiny']
    assert canvas[0]['Student'].strip() == 'Points Possible' and canvas[0]['tiny'] == '10'
    assert {row['SIS Login ID']: row['tiny'] for row in canvas}['blank'] == '0'


def test_the_notebook_for_graders(graded):
    "nbgrader reads it; the answer is followed by the mark scheme; copies have lost their id."
    import nbformat
    from nbgrader.nbgraderformat import MetadataValidator

    for name in ('perfect', 'answer copied', 'metadata stripped', 'test deleted', 'another version', 'exits'):
        path = graded.folder / 'autograded' / name / 'tiny' / 'tiny.ipynb'
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        MetadataValidator().validate_nb(notebook)
        ids = [teaching.cell_id(cell) for cell in notebook.cells if teaching.cell_id(cell)]
        assert len(ids) == len(set(ids)) == 6
        texts = [cell.source for cell in notebook.cells]
        assert any('**For the grader.**' in text and '1 point' in text for text in texts)


def test_text_of_the_library_is_remarked():
    answer = 'def g(a, b):\n    "Doc."\n    c = a + b\n    d = c * 2\n    return d'
    same = 'def h(x, y):\n    z = x + y\n    q = z * 2\n    return q'
    other = 'def h(x, y):\n    z = x + y\n    q = z * 3\n    return q'
    shape = lambda text: teaching.shape_of(teaching.ast.parse(text).body[0])
    assert shape(answer) == shape(same) != shape(other)


# ---- the build


def test_the_release_holds_no_secret(built):
    names = zipfile.ZipFile(built / 'release' / 'tiny.zip').namelist()
    assert sorted(names) == ['tiny/README.md', 'tiny/requirements.txt', 'tiny/tiny.ipynb']
    release = json.loads((built / 'release' / 'tiny' / 'tiny.ipynb').read_text(encoding='utf-8'))
    text = json.dumps(release)
    for secret in (SECRET, 'range(last + 1)', '0.5 **', 'The factor is applied once', '1 point', 'BEGIN'):
        assert secret not in text
    assert all(not cell.get('outputs') for cell in release['cells'])
    settings = teaching.settings_of(release)
    locked = [teaching.cell_id(cell) for cell in settings.pop('locked')]
    assert locked == ['given-start', 't-ema_decay', 't-mirror']
    assert settings == {
        'title': 'A tiny assignment', 'minutes': 10, 'name': 'tiny', 'version': __version__, 'library': {},
    }  # fmt: skip
    assert f'animegan_nb[notebook]=={__version__}' in (built / 'release' / 'tiny' / 'requirements.txt').read_text()


def test_building_again_gives_the_same_bytes(built):
    source, _ = teaching.read_notebook(built / 'source' / 'tiny' / 'tiny.ipynb')
    text = json.dumps(teaching.make_release(source, 'tiny'), indent=1, ensure_ascii=False) + '\n'
    assert text == (built / 'release' / 'tiny' / 'tiny.ipynb').read_text(encoding='utf-8')


def changed_source(change):
    source, _ = teaching.read_notebook(SOURCE / 'tiny' / 'tiny.ipynb')
    change(source)
    return source


def test_a_solution_that_stands_elsewhere_is_found():
    def change(source):
        source['cells'][0]['source'] += '\nOne could write `return 0.5 ** (batch_size / half_life)`.'

    source = changed_source(change)
    release = teaching._joined(teaching.make_release(source, 'tiny'))
    assert teaching.leaks(source, release) == ['return 0.5 ** (batch_size / half_life)']


def test_a_solution_in_a_file_beside_the_notebook_is_found(built, tmp_path):
    folder = tmp_path / 'course'
    shutil.copytree(built, folder)
    course, beside = teaching.Course(folder), folder / 'source' / 'tiny'
    (beside / 'answers.py').write_text(
        'def ema_decay(batch_size, half_life):\n    return 0.5 ** (batch_size / half_life)'
    )
    (beside / 'helpers.py').write_text('for_all = [sum]\n# return 0.5 ** (batch_size / half_life)')
    with teaching.Workers() as workers:
        with pytest.raises(ValueError, match='would give away'):
            teaching.build(course, 'tiny', workers)
        (beside / 'answers.py').unlink()
        (folder / 'release' / 'tiny' / 'answers.py').write_text('of a release before')
        archive = teaching.build(course, 'tiny', workers)
    assert 'tiny/helpers.py' in zipfile.ZipFile(archive).namelist()
    assert 'tiny/answers.py' not in zipfile.ZipFile(archive).namelist()


def test_a_class_in_another_folder_is_closed_as_well(built, tmp_path):
    folder = tmp_path / 'course'
    shutil.copytree(built, folder)
    release = json.loads((folder / 'release/tiny/tiny.ipynb').read_text())
    for name in ('aki', 'ben'):
        hand_in(CLASS['perfect'], release, tmp_path / 'class' / name)
    (tmp_path / 'class' / 'aki' / 'mine.py').write_text('x = 1')
    path = next((tmp_path / 'class' / 'ben').glob('*.ipynb'))
    theirs = json.loads(path.read_text())
    code = f'exec(open({str(tmp_path / "class" / "aki" / "mine.py")!r}).read())'
    theirs['cells'].insert(
        1, dict(cell_type='code', id='theirs', metadata={}, source=code, outputs=[], execution_count=None)
    )
    path.write_text(json.dumps(theirs))
    course = teaching.Course(folder)
    found = teaching.find_submissions(tmp_path / 'class', course, ['tiny'])['tiny']
    records = {r.student: r for r in teaching.grade_class(course, 'tiny', found, jobs=1, limits=LIMITS)}
    assert any('not for students' in remark for remark in records['ben'].remarks), records['ben'].remarks


@pytest.mark.parametrize(
    'change, sentence',
    [
        (duplicate('f-mirror'), 'stands on two cells'),
        (rewrite('f-mirror', 'def mirror(x):\n    return x'), 'f-mirror has no ### BEGIN SOLUTION'),
        (rewrite('t-mirror', 'assert mirror'), 't-mirror calls no score'),
        (rewrite('q-factor', '### BEGIN SOLUTION\nx\n### END SOLUTION'), 'q-factor has no ### BEGIN MARK SCHEME'),
        (lambda notebook: notebook['cells'].pop(3), 'f-ema_decay has no cell with three hints'),
        (lambda notebook: notebook['metadata'].pop('animegan_nb'), 'lacks a title'),
    ],
)
def test_faults_of_a_source_are_named(change, sentence):
    assert any(sentence in fault for fault in teaching.faults(changed_source(change)))


def test_a_wrong_solution_is_not_released(tmp_path):
    source = changed_source(
        rewrite('f-mirror', 'def mirror(x):\n    ### BEGIN SOLUTION\n    return x\n    ### END SOLUTION')
    )
    path = tmp_path / 'tiny.ipynb'
    path.write_text(json.dumps(source))
    release = teaching._joined(teaching.make_release(source, 'tiny'))
    with Workers() as workers, pytest.raises(ValueError, match='t-mirror: the solution gets 2 of 4'):
        teaching.make_key('tiny', source, release, path, workers)


def test_nbgrader_grades_the_same_release(built, tmp_path):
    "An instructor's own nbgrader reads the points of `score` as partial credit."
    import nbformat
    from nbclient import NotebookClient
    from nbgrader.utils import determine_grade

    release = nbformat.read(built / 'release' / 'tiny' / 'tiny.ipynb', as_version=4)
    find(release, 'f-ema_decay').source = EMA
    find(release, 'f-mirror').source = 'def mirror(x):\n    return x'
    find(release, 't-mirror').source = find(changed_source(lambda source: None), 't-mirror')['source']
    NotebookClient(release, timeout=600, allow_errors=True, kernel_name='python3').execute(cwd=str(tmp_path))
    assert determine_grade(find(release, 't-ema_decay')) == (4, 4)
    assert determine_grade(find(release, 't-mirror')) == (2, 4)


# ---- at home


def test_check_shows_the_visible_laws(built, tmp_path, capsys):
    release = json.loads((built / 'release' / 'tiny' / 'tiny.ipynb').read_text(encoding='utf-8'))
    hand_in(CLASS['upside down'], release, tmp_path / 'home')
    assert run('check', tmp_path / 'home' / 'tiny.ipynb') == 0
    said = capsys.readouterr().out
    assert '✗ the first two columns become the last two, reversed' in said and SECRET not in said
    assert '5.33 of 8 points' in said and 'q-factor: a person will read it' in said


# what a student did to the locked cells, and what `check` has to say of it
LOCKED = {
    'given-start was changed': rewrite('given-start', 'import numpy as np\nimport torch'),
    't-mirror was changed': rewrite('t-mirror', 'from animegan_nb.grading import Score\nScore(4)', 400),
    't-mirror was deleted': delete('t-mirror'),
    't-mirror was copied': duplicate('t-mirror'),
}
NUMPY = 'def mirror(x):\n    return torch.from_numpy(np.ascontiguousarray(x.numpy()[..., ::-1]))'


@pytest.mark.parametrize('remark', LOCKED)
def test_check_gives_the_points_that_grading_gives(built, tmp_path, capsys, remark):
    folder = tmp_path / 'course'
    shutil.copytree(built, folder)
    release = json.loads((folder / 'release/tiny/tiny.ipynb').read_text(encoding='utf-8'))
    answer = NUMPY if 'given' in remark else 'def mirror(x):\n    return x.flip(-2)'
    student = mirror(answer, 0, change=LOCKED[remark])
    hand_in(student, release, folder / 'submitted' / 'aki')
    assert run('check', folder / 'submitted/aki/tiny.ipynb') == 0
    said = capsys.readouterr().out
    assert said.startswith(remark) and ('counts as it was handed out' in said) == ('changed' in remark)
    assert f'{4 if "given" in remark else 5.33} of 8 points by the laws that you can see' in said
    assert ("name 'np' is not defined" in said) == ('given' in remark)
    course = teaching.Course(folder)
    found = teaching.find_submissions(folder / 'submitted', course, ['tiny'])['tiny']
    (record,) = teaching.grade_class(course, 'tiny', found, jobs=1, limits=LIMITS)
    assert record.points == (4 if 'given' in remark else 5)  # of the hidden law nothing is said at home
    assert any(said.startswith(remark) for said in record.remarks)


@pytest.mark.parametrize('kept', [None, 5, [None, {}, {'cell_type': 'code', 'source': 7, 'metadata': 1}]])
def test_a_release_without_a_copy_of_its_locked_cells_is_checked_as_it_is(built, tmp_path, capsys, kept):
    release = json.loads((built / 'release/tiny/tiny.ipynb').read_text(encoding='utf-8'))
    release['metadata']['animegan_nb']['course']['locked'] = kept
    hand_in(CLASS['perfect'], release, tmp_path / 'home')
    assert run('check', tmp_path / 'home/tiny.ipynb') == 0
    assert '8 of 8 points' in capsys.readouterr().out


def test_the_words_of_a_late_error_are_not_told(built, tmp_path):
    """A cell after the first test with hidden laws may know what they try. Graders read its words."""
    folder = tmp_path / 'course'
    shutil.copytree(built, folder)
    release = json.loads((folder / 'release/tiny/tiny.ipynb').read_text(encoding='utf-8'))
    late = ('raise ValueError("told")', 'class Told(Exception): pass\nraise Told', 'import os\nos.system("told")')

    def change(notebook):
        for number, source in enumerate(late):
            cell = {'cell_type': 'code', 'id': f'late{number}', 'metadata': {}, 'execution_count': None}
            notebook['cells'].append({**cell, 'outputs': [], 'source': source})

    hand_in(own_cell('raise ValueError("early")', change=change), release, folder / 'submitted' / 'aki')
    course = teaching.Course(folder)
    found = teaching.find_submissions(folder / 'submitted', course, ['tiny'])['tiny']
    (record,) = teaching.grade_class(course, 'tiny', found, jobs=1, limits=LIMITS)
    assert record.points == 8
    stopped = [remark.partition(' stopped: ')[2] for remark in record.remarks if ' stopped: ' in remark]
    refused = 'PermissionError: a notebook may not start a program'
    assert stopped == ['ValueError: early', 'ValueError', 'an exception', refused]
    assert 'ValueError: told' in (folder / 'autograded/aki/tiny/tiny.ipynb').read_text(encoding='utf-8')


def test_an_answer_that_changed_after_it_was_read_is_to_be_read_again(built, tmp_path, monkeypatch):
    folder = tmp_path / 'course'
    shutil.copytree(built, folder)
    course, assignment = teaching.Course(folder), teaching.read_notebook(SOURCE / 'tiny' / 'tiny.ipynb')[0]
    teaching.enter_assignment(course, 'tiny', assignment)
    key, place = course.key('tiny'), ('q-factor', 'tiny', 'tiny', 'aki')

    def graded_with(text):
        "The record, after the class was graded with this answer: the grade, and what the teacher is told."
        notebook = copy.deepcopy(assignment)
        find(notebook, 'q-factor')['source'] = text
        record = teaching.blank_record('aki', key, assignment, 'as a test')
        record.written = teaching.written_answers(notebook, assignment)
        record.texts = teaching.written_texts(notebook, assignment)
        teaching.enter_grades(course, [record], assignment)
        grade = teaching.read_grades(course, record)['q-factor']
        with teaching.gradebook(course) as book:
            assert book.find_grade(*place).needs_manual_grade == grade.waits
        remark = 'q-factor was changed after it had been read'
        assert (remark in teaching.class_table(course, [record])) == grade.changed
        teaching.write_reports(course, [record], assignment, key)
        report = (folder / 'feedback/aki/tiny/tiny.md').read_text(encoding='utf-8')
        assert (remark in report) == grade.changed
        assert teaching.count_unread(course, [record]) == grade.waits
        return grade.points, grade.changed

    def read(points):
        "What formgrader does when a person enters points."
        with teaching.gradebook(course) as book:
            grade = book.find_grade(*place)
            grade.manual_score, grade.needs_manual_grade = points, False
            book.db.commit()

    assert graded_with('one answer') == (None, False)
    assert graded_with('a better answer') == (None, False)  # nobody has read the first
    read(1.5)
    assert graded_with('a better answer ') == (1.5, False)
    assert graded_with('another') == (1.5, True)
    assert graded_with('another') == (1.5, True)  # until a person gives points again
    assert graded_with('YOUR ANSWER HERE') == (1.5, True)
    assert graded_with('a better answer') == (1.5, False)  # it is the one that was read
    assert graded_with('YOUR ANSWER HERE') == (1.5, True)
    read(0)
    assert graded_with('YOUR ANSWER HERE') == (0, False)
    read(2)
    assert graded_with('at once another') == (2, True)
    read(1)
    assert graded_with('and another, unread') == (1, True)
    old = teaching.blank_record('aki', key, assignment, 'of an older version')
    old.texts = {}
    teaching.enter_grades(course, [old], assignment)
    assert teaching.read_grades(course, old)['q-factor'].points == 1


def test_an_interruption_keeps_what_is_done(built, tmp_path, monkeypatch):
    folder = tmp_path / 'course'
    shutil.copytree(built, folder)
    for name in ('a', 'b', 'c'):
        hand_in(CLASS['perfect'], json.loads((folder / 'release/tiny/tiny.ipynb').read_text()), folder / 'class' / name)
    course = teaching.Course(folder)
    found = teaching.find_submissions(folder / 'class', course, ['tiny'])['tiny']
    marked = []

    def grade_one(submission, course, key, assignment, workers, limits):
        if submission.student == 'b' and len(marked) == 1:
            raise KeyboardInterrupt
        marked.append(submission.student)
        return teaching.blank_record(submission.student, key, assignment, 'as a test'), None

    monkeypatch.setattr(teaching, 'grade_one', grade_one)
    with pytest.raises(KeyboardInterrupt):
        teaching.grade_class(course, 'tiny', found, jobs=1)
    marked.append('again')
    records = teaching.grade_class(course, 'tiny', found, jobs=1)
    assert [record.student for record in records] == ['a', 'b', 'c']
    assert marked[0] == 'a' and marked.count('a') == 1  # read from its record
    assert not list((folder / 'grades').rglob('*.part'))


def test_what_graders_see_runs_nothing():
    output = {'output_type': 'display_data', 'metadata': {}}
    output['data'] = {'text/html': '<script>', 'image/svg+xml': '<svg>', 'text/plain': 'x', 'image/png': 'A' * 10**7}
    assert teaching.plain(output)['data'] == {'text/plain': 'x'}
    written = 'So $a < b$. <script>alert(1)</script> <img src=x onerror="alert(1)"> [x](JavaScript:alert(1)) data: 5'
    said = teaching.harmless(written)
    assert '<script' not in said and ('<img' not in said.lower() or 'onerror' not in said)
    assert 'JavaScript:' not in said and said.endswith('data: 5')
    assert teaching.harmless('*plain* & `code`') == '*plain* & `code`'


def test_what_an_editor_has_left_is_not_handed_out(tmp_path):
    names = 'hw.ipynb', 'hw.py', 'hw.ipynb~', 'hw.ipynb.bak', '.hw.swp', 'notes.orig', 'data.csv', 'helpers.py'
    for name in names:
        (tmp_path / name).write_text('x')
    (tmp_path / 'into').mkdir()
    teaching.copier(tmp_path)(tmp_path / 'into')
    assert sorted(p.name for p in (tmp_path / 'into').iterdir()) == ['data.csv', 'helpers.py']
    with open(tmp_path / 'film.mp4', 'wb') as film:  # in a student's folder of downloads
        film.truncate(teaching.MAX_NOTEBOOK)
    beside = [p.name for p in teaching.files_of(tmp_path, teaching.MAX_NOTEBOOK)]
    assert beside == ['data.csv', 'helpers.py'] and len(teaching.files_of(tmp_path)) == 3
    assert teaching.as_csv([]) == ''


# ---- bad input: one sentence each


@pytest.mark.parametrize(
    'words, sentence',
    [
        (['grade', 'EMPTY', '--course', 'COURSE'], 'holds no notebook'),
        (['grade', 'nowhere', '--course', 'COURSE'], 'There is no folder'),
        (['grade', 'OTHER', '--course', 'COURSE', '--assignment', 'tiny'], "has handed in a notebook for 'tiny'"),
        (['grade', 'OTHER', '--course', 'COURSE', '--assignment', 'huge'], "There is no assignment called 'huge'"),
        (['grade', 'OTHER', '--course', 'EMPTY'], 'is not the folder of a course'),
        (['build', 'huge', '--course', 'COURSE'], "There is no assignment called 'huge': choose one of other, tiny."),
        (['build', '--course', 'EMPTY'], 'is not the folder of a course'),
        (['check', 'nowhere.ipynb'], 'There is no notebook'),
        (['check', 'OTHER/a/x.ipynb'], 'has no tests'),
        (['export', '--course', 'COURSE'], 'has not been graded'),
    ],
)
def test_bad_input_is_one_sentence(built, tmp_path, capsys, words, sentence):
    course = tmp_path / 'course'
    shutil.copytree(built, course)
    shutil.copytree(course / 'source' / 'tiny', course / 'source' / 'other')
    (course / 'source' / 'other' / 'tiny.ipynb').rename(course / 'source' / 'other' / 'other.ipynb')
    (tmp_path / 'EMPTY').mkdir()
    (tmp_path / 'OTHER' / 'a').mkdir(parents=True)
    empty = {'cells': [], 'metadata': {}, 'nbformat': 4, 'nbformat_minor': 5}
    (tmp_path / 'OTHER' / 'a' / 'x.ipynb').write_text(json.dumps(empty))
    places = {'COURSE': course, 'EMPTY': tmp_path / 'EMPTY', 'OTHER': tmp_path / 'OTHER'}
    for name, place in places.items():
        words = [word.replace(name, str(place)) for word in words]
    assert run(*words) == 1
    said = capsys.readouterr().err
    assert sentence in said and said.count('\n') == 1


def test_a_release_older_than_the_library(built, tmp_path):
    course = tmp_path / 'course'
    shutil.copytree(built, course)
    path = course / 'keys' / 'tiny.json'
    path.write_text(path.read_text().replace(f'"version": "{__version__}"', '"version": "0.0.1"'))
    with pytest.raises(ValueError, match=r"built with animegan_nb 0\.0\.1, and .* build tiny  again"):
        teaching.Course(course).key('tiny')
    path.unlink()
    with pytest.raises(FileNotFoundError, match='has not been built yet'):
        teaching.Course(course).key('tiny')
    release = course / 'release' / 'tiny' / 'tiny.ipynb'
    release.write_text(release.read_text(encoding='utf-8').replace(f'"version": "{__version__}"', '"version": "9"'))
    args = SimpleNamespace(notebook=str(release))
    with pytest.raises(ValueError, match='was made for animegan_nb 9'):
        teaching.course_check(args)
    source = course / 'source' / 'tiny' / 'tiny.ipynb'
    shutil.copy(built / 'keys' / 'tiny.json', path)
    source.write_text(source.read_text(encoding='utf-8').replace('A mirror', 'The mirror'), encoding='utf-8')
    with pytest.raises(ValueError, match='has changed since the build'):
        teaching.Course(course).key('tiny')


# ---- parts of the engine


def result_of(*laws, problem=''):
    return marking.Result(problem=problem, laws=[dict(sentence=s, holds=h, problem=why) for s, h, why in laws])


def test_the_words_of_an_error_in_a_hidden_law_are_not_told():
    test = teaching.Test(3, ['a', 'b', 'c'], ['a', 'c'])
    words = 'ValueError: [[0.1, 0.2]]'
    record = teaching.test_record(test, result_of(('a', True, ''), ('it runs on, after “a”', False, words)))
    assert (record.points, record.held, record.broken, record.unreached) == (1, ['a'], {}, ['b', 'c'])
    assert record.problem == 'ValueError in one of the further laws'
    own = result_of(('a', True, ''), ('it runs on, after “a”', False, 'Class_0.1_0.2: x'))
    assert teaching.test_record(test, own).problem == 'an exception in one of the further laws'
    blank = result_of(('a', True, ''), ('the function is written', False, 'it still raises NotImplementedError'))
    assert teaching.test_record(test, blank).problem == 'NotImplementedError in one of the further laws'
    first = teaching.test_record(test, result_of(('the function runs', False, words)))
    assert first.problem == words and first.unreached == ['a', 'b', 'c']  # 'a' is visible
    before = [('a', True, ''), ('b', False, '')]
    last = teaching.test_record(test, result_of(*before, ('it runs on, after “b”', False, words)))
    assert (last.problem, last.broken, last.unreached) == (words, {'b': ''}, ['c'])


def test_what_was_not_reached_is_told_apart_from_what_is_broken():
    key = teaching.Key('tiny', '1', '', {'t-f': teaching.Test(2, ['a', 'b'], ['a', 'b'])}, {})
    results = {
        'ann': result_of(('a', False, ''), ('b', True, '')),
        'ben': result_of(problem='f is not there'),
        'cas': result_of(('a', True, ''), ('it runs on, after “a”', False, 'TypeError: x')),
    }
    records = [
        teaching.Record(name, 'tiny', {'t-f': teaching.test_record(key.tests['t-f'], result)}, {}, [], 'tiny.ipynb')
        for name, result in results.items()
    ]
    rows = {
        row['law']: (row['broken by'], row['not reached by'], row['of']) for row in teaching.broken_by(records, key)
    }
    assert rows == {'a': (1, 1, 3), 'b': (0, 2, 3)}
    lines = [
        teaching.report_lines(record, key, {'t-f': teaching.Grade(record.points, 2)}, 'Tiny') for record in records
    ]
    assert [line for line in lines[0] if line[1] == 'a'] == [('broken', 'a')]
    assert [kind for kind, _ in lines[1]].count('unreached') == 2 and ('text', 'f is not there') in lines[1]
    assert '- ✓ a\n- – b (not reached)' in teaching.as_markdown(lines[2])
    assert '<p class="open">b (not reached)</p>' in teaching.as_html(lines[2])


@pytest.mark.parametrize(
    'files, chosen, why',
    [
        ({'tiny.ipynb': 100, 'tiny (1).ipynb': 500}, 'tiny (1).ipynb', 'the newest'),
        ({'tiny.ipynb': 500, 'tiny (1).ipynb': 100}, 'tiny.ipynb', 'the newest'),
        ({'tiny.ipynb': 100, 'my own.ipynb': 500}, 'my own.ipynb', 'the newest'),
        ({'tiny (2).ipynb': 100, 'tiny (10).ipynb': 101, 'tiny.ipynb': 102}, 'tiny (10).ipynb', 'of the newest, by'),
        ({'tiny.ipynb': 100, 'zz.ipynb': 101}, 'tiny.ipynb', 'of the newest, by'),
        ({'x.ipynb': 100, 'y.ipynb': 101}, 'y.ipynb', 'the newest)'),
        ({'a2/tiny.ipynb': 100, 'a10/tiny.ipynb': 100}, 'a10/tiny.ipynb', 'of the newest, by'),
        ({'tiny.ipynb': 100, 'broken.ipynb': 500}, 'tiny.ipynb', 'the newest'),
    ],
)
def test_of_several_notebooks_the_newest_counts(tmp_path, files, chosen, why):
    for name, time_of_file in files.items():
        text = '{' if name == 'broken.ipynb' else '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}'
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        os.utime(tmp_path / name, (time_of_file, time_of_file))
    paths = sorted(tmp_path.rglob('*.ipynb'))
    damaged = {path for path in paths if not teaching._assignment_of(path, {'tiny': {'a'}})[1]}
    assert damaged == {path for path in paths if path.name == 'broken.ipynb'}
    found = teaching._choose('aki', 'tiny', paths, [], damaged)
    assert found.path == tmp_path / chosen
    remark = f'{len(files)} notebooks were handed in; {chosen} counts ({why}'
    assert any(said.startswith(remark) for said in found.remarks)
    assert ('broken.ipynb cannot be read' in found.remarks) == bool(damaged)


def test_one_student_and_one_who_has_left(built, tmp_path, capsys, monkeypatch):
    folder = tmp_path / 'course'
    shutil.copytree(built, folder)
    release = json.loads((folder / 'release/tiny/tiny.ipynb').read_text())
    for name in ('aki', 'ben'):
        hand_in(CLASS['perfect'], release, folder / 'submitted' / name)

    def grade_one(submission, course, key, assignment, workers, limits):
        return teaching.blank_record(submission.student, key, assignment, 'as a test'), None

    monkeypatch.setattr(teaching, 'grade_one', grade_one)
    assert run('grade', folder / 'submitted', '--jobs', 1) == 0
    said = capsys.readouterr().out
    assert 'tiny: 2 students, 0.0 of 8 points for functions on average;' in said
    shutil.rmtree(folder / 'submitted' / 'ben')
    monkeypatch.setattr(teaching, 'count_unread', lambda course, records: 1)
    assert run('grade', folder / 'submitted', '--jobs', 1) == 0
    said = capsys.readouterr().out
    assert 'tiny: 1 student, 0.0 of 8 points for functions; tables' in said
    assert '\n1 written answer to read: use formgrader' in said
    assert run('export', '--course', folder) == 0
    said = capsys.readouterr().out
    assert 'tiny: left out, because they were not in the class that was graded last: ben\n' in said
    for platform, column in (('moodle', 'Username'), ('canvas', 'SIS Login ID')):
        rows = csv.DictReader((folder / 'grades' / f'{platform}.csv').open())
        assert [row[column] for row in rows if row[column]] == ['aki']


def test_the_names_that_a_test_asks_for():
    code = (
        'import torch\n\ndef laws(f):\n    x = helper(torch.ones(2))\n    yield "a", f(x) == y\n\nscore(mirror, laws)'
    )
    assert marking.asked_names(code) == {'helper', 'y', 'score', 'mirror'}


def test_a_trap_lets_the_library_work():
    "In a process of its own: a class, a method with super(), a function behind a decorator."
    program = '''
import torch
from animegan_nb import marking, siren, training
names = ['siren.SineLayer', 'training.ema_decay']
found = [marking.find_answer(name) for name in names]
for name, thing in zip(names, found):
    marking.set_trap(name, thing)
for call in (lambda: siren.SineLayer(2, 3), lambda: training.ema_decay(1, 2)):
    try:
        call()
    except marking.LibraryAnswer as error:
        print('trapped', error)
network = siren.Siren(2, 8, 2, 1)
print(network(torch.zeros(4, 2)).shape)
'''
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=600)
    assert done.stdout.count('trapped') == 2 and 'torch.Size([4, 1])' in done.stdout, done.stdout + done.stderr


def test_a_table_does_not_calculate():
    assert teaching.as_csv([{'a': '=1+1', 'b': 2}]) == "a,b\n'=1+1,2\n"


def test_an_outer_limit_ends_what_many_inner_ones_would_not():
    turns = 0
    with pytest.raises(TimeoutError, match='0.3 s'), grading.time_limit(0.3):
        while turns < 100:
            turns += 1
            with grading.time_limit(5):
                busy = time.process_time() + 0.05
                while time.process_time() < busy:
                    pass
    assert turns < 50  # six of them fill the limit
    with pytest.raises(TimeoutError, match='0.2 s'), grading.time_limit(0.2), grading.time_limit(50):
        while True:  # one inner limit, and nothing that ends
            pass


def test_limits_are_told_apart():
    with grading.time_limit(50), pytest.raises(TimeoutError):
        with grading.time_limit(0.1):
            while True:
                pass
    assert not torch.is_inference_mode_enabled()
