"""Notebooks that try to win points without the function, to harm others, or to stop the grading: what each of them is
worth, and what must not have happened. The class of `test_course.py` holds the simpler ones."""

import subprocess
import sys
import time

import pytest

from animegan_nb import grading, marking
from animegan_nb.marking import Job, Limits, mark, Step, Workers

pytest.importorskip('IPython', reason='IPython is not installed: pip install -e ".[notebook]"')
pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='the limits are those of Linux')

LIMITS = Limits(cell_seconds=5, seconds=15, memory=1, clock=30)
TEST = """
from animegan_nb.grading import near, score


def laws(ema_decay):
    yield 'half of it is left after half a life', near(ema_decay(8.0, 8.0), 0.5)
    yield 'a quarter is left after a whole one more', near(ema_decay(16.0, 8.0), 0.25)


score(ema_decay, 'training.ema_decay', laws, points=6)
"""
RIGHT = 'def ema_decay(batch_size, half_life):\n    return 0.5 ** (batch_size / half_life)\n'
WRONG = 'def ema_decay(batch_size, half_life):\n    return 2.0\n'


@pytest.fixture(scope='module')
def workers():
    with Workers() as workers:
        yield workers


def marked(workers, *cells, limits=LIMITS):
    "What a notebook of these cells gets in the test of `ema_decay`, and what its cells said."
    steps = [Step(f'cell {i}', cell) for i, cell in enumerate(cells)] + [Step('test', TEST, True)]
    job = Job(steps, exercises=['training.ema_decay'], law_counts={'training.ema_decay': 4}, limits=limits)
    found = mark(job, workers)
    said = ' | '.join(f'{found[s.key].problem} {found[s.key].text}' for s in steps[:-1])
    return found['test'], said


# each is the whole notebook; without the trick, none of them would get all points
FRAMES = """
def laws_of(frame):
    while frame is not None:
        found = frame.f_locals
        if 'laws' in found and 'exercise' in found:
            return found['laws']
        frame = frame.f_back
    return []

{}

def ema_decay(batch_size, half_life):
    laws = laws_of(here())
    laws[:] = [type(law)(law.sentence, True) for law in laws]
    return 2.0
"""
MODE = """
import torch
from torch.overrides import TorchFunctionMode
class Yes(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        return True if function is torch.allclose else function(*args, **(kwargs or {}))
"""
EQUALS = """
class Yes(float):
    __eq__ = __lt__ = __gt__ = __le__ = __ge__ = __ne__ = lambda self, other: True
    __sub__ = __rsub__ = __mul__ = __rmul__ = __pow__ = lambda self, other: 0.0
    __hash__ = None
def ema_decay(batch_size, half_life):
    return Yes(1)
"""
# fmt: off
TRICKS = {
    'the hidden original': 'from animegan_nb import marking\n'
        'ema_decay = marking._originals.gi_frame.f_locals["kept"].popitem()[1][1]',
    'the hidden original, asked for': 'from animegan_nb import marking, training\n'
        'key = [c for c in training.ema_decay.__code__.co_consts if isinstance(c, str) and len(c) == 16][0]\n'
        'ema_decay = marking._originals.send(key)[1]',
    'all objects': 'import gc\nfrom types import FunctionType\nema_decay = [f for f in gc.get_objects()'
        ' if isinstance(f, FunctionType) and f.__name__ == "ema_decay" and f.__code__.co_name == "ema_decay"][0]',
    'referrers': 'import gc, animegan_nb.training as t\nema_decay = [f for f in gc.get_referrers(t.__dict__)'
        ' if getattr(f, "__name__", "") == "ema_decay" and f is not t.ema_decay][0]',
    'imported again': 'import sys\nimport animegan_nb.training\ndel sys.modules["animegan_nb.training"]\n'
        'from animegan_nb.training import ema_decay',
    'everything imported again': 'import sys\nfor name in [n for n in sys.modules if n.startswith("animegan_nb")]:\n'
        '    del sys.modules[name]\nfrom animegan_nb.training import ema_decay',
    'reloaded': 'import importlib, animegan_nb.training as t\nema_decay = importlib.reload(t).ema_decay',
    'read by importlib': 'import importlib.util, types, animegan_nb.training as t\n'
        'code = t.__loader__.get_code("animegan_nb.training")\nm = types.ModuleType("animegan_nb.x")\n'
        'm.__package__ = "animegan_nb"\nexec(code, m.__dict__)\nema_decay = m.ema_decay',
    'read as a resource': 'import importlib.resources as r\nexec("from __future__ import annotations\\n"'
        ' + r.files("animegan_nb").joinpath("training.py").read_text())',
    'read with another path': 'import os, animegan_nb.training as t\nreal = os.path.realpath\n'
        'os.path.realpath = lambda p, **k: os.getcwd()\nsource = open(t.__file__).read()\n'
        'os.path.realpath = real\nexec("import math\\n" + source[source.index("def ema_decay"):].split("\\n# %%")[0])',
    'the fence emptied': 'from animegan_nb import marking\nimport animegan_nb.training as t\n'
        'marking._is_import = lambda: True\nmarking._LIBRARY = "/nowhere/"\nsource = open(t.__file__).read()\n'
        'exec("import math\\n" + source[source.index("def ema_decay"):].split("\\n# %%")[0])',
    'the oracles of another chapter': 'import animegan_nb.exercises.triplane\n' + WRONG,
    'a namespace of the library': 'import animegan_nb.training as t\n'
        'ema_decay = eval("lambda b, h: ema_decay(b, h)", vars(t))',
    'a file of the library': 'import animegan_nb.training as t\n'
        'ema_decay = eval(compile("lambda b, h: ema_decay(b, h)", t.__file__, "eval"), vars(t))',
    'a false caller': 'import sys, animegan_nb.training as t\nfrom types import SimpleNamespace as N\n'
        'frame = N(f_globals=vars(t), f_back=None, f_code=N(co_filename=t.__file__))\n'
        'sys._getframe = lambda depth=0: frame\nema_decay = lambda b, h: t.ema_decay(b, h)',
    'frames': FRAMES.format('import sys\nhere = sys._getframe'),
    'frames by inspect': FRAMES.format('import inspect\nhere = inspect.currentframe'),
    'frames of an error': FRAMES.format('def here():\n    try:\n        1 / 0\n    except ZeroDivisionError as e:\n'
        '        return e.__traceback__.tb_frame'),
    'frames of a generator': FRAMES.format('def one():\n    yield frame(g)\ndef frame(g):\n    return g.gi_frame\n'
        'def here():\n    global g\n    g = one()\n    return next(g)'),
    'the message to the worker': 'import sys\nf = sys._getframe()\nwhile f and "message" not in f.f_locals:\n'
        '    f = f.f_back\nprint(f.f_locals["message"])\n' + WRONG,
    'a trace': 'import sys\ndef spy(frame, event, arg):\n    if "laws" in frame.f_locals:\n        print("seen")\n'
        '    return spy\nsys.settrace(spy)\n' + WRONG,
    'a mode of torch': MODE + WRONG + 'Yes().__enter__()',
    'a mode of torch in the function': MODE + 'def ema_decay(b, h):\n    Yes().__enter__()\n    return 2.0',
    'patched until the last call': MODE + 'import torch, animegan_nb.grading as g\nreal, calls = g.near, 0\n'
        'def ema_decay(b, h):\n    global calls\n    calls += 1\n'
        '    g.near = (lambda *a, **k: True) if calls < 7 else real\n    return 2.0',
    'own comparisons made known': 'import animegan_nb.grading as g\ng._COMPARISONS = ()\n' + EQUALS,
    'own comparisons of a known module': 'import animegan_nb.grading as g\ng._KNOWN |= {"__main__"}\n' + EQUALS,
    'reports of its own': WRONG + 'import animegan_nb.grading as g\nfull = g.Report("x", tuple(g.Law(s, True) for s in'
        ' "abcd"), 4, 0)\ng.Score.reports = property(lambda self: (full,), lambda self, value: None)',
    'another class': WRONG + 'import animegan_nb.grading as g\nclass Score(g.Score):\n    def __new__(cls, *a):\n'
        '        return float.__new__(cls, 4)\ng.Score = Score',
    'the seed': WRONG + 'import torch, random, builtins\ntorch.manual_seed = random.seed = lambda *a: None\n'
        'builtins.print = lambda *a, **k: None\ntorch.set_default_dtype(torch.float16)\ntorch.set_num_threads(7)',
    'a law that is no truth': WRONG + 'import builtins\nbuiltins.bool = lambda x: True',
    'the words of the worker': WRONG + 'import json\nreal = json.dumps\ndef dumps(what, *a, **k):\n'
        '    for law in what.get("laws", []):\n        law["holds"] = True\n    return real(what, *a, **k)\n'
        'json.dumps = dumps',
    'another judge under its name': WRONG + 'import sys, types, animegan_nb.grading as g\n'
        'fake = types.ModuleType(g.__name__)\nvars(fake).update(vars(g))\nfake.near = lambda *a, **k: True\n'
        'sys.modules[g.__name__] = fake',
    'the test rewritten': WRONG + 'import ast\nreal = ast.parse\nast.parse = lambda code, *a, **k: real('
        'code.replace("near(ema_decay(8.0, 8.0), 0.5)", "True"), *a, **k)',
    'the laws as a dictionary': WRONG + 'import dataclasses\nreal = dataclasses._asdict_inner\n'
        'def inner(obj, f):\n    found = real(obj, f)\n    if isinstance(found, dict) and "holds" in found:\n'
        '        found["holds"] = True\n    return found\ndataclasses._asdict_inner = inner',
    'the marking itself': WRONG + 'import animegan_nb.marking as m\nreal = m._marked\ndef marked(*a):\n'
        '    found = real(*a)\n    for law in found["laws"]:\n        law["holds"] = True\n    return found\n'
        'm._marked = marked',
    'no restoring': WRONG + 'import torch, builtins, animegan_nb.marking as m\nm.Snapshot.restore = lambda self: []\n'
        'm._put_back = lambda snapshot: []\ntorch.allclose = lambda *a, **k: True\nbuiltins.abs = lambda x: 0.0',
    'callable lies': WRONG + 'import builtins, torch\nreal = callable\nlies = [torch.allclose]\n'
        'yes = lambda *a, **k: True\nlies.append(yes)\n'
        'builtins.callable = lambda x: False if any(x is lie for lie in lies) else real(x)\ntorch.allclose = yes',
    'torch with a class of its own': WRONG + 'import torch, types\nclass Module(types.ModuleType):\n'
        '    def __getattribute__(self, name):\n        if name == "allclose":\n'
        '            return lambda *a, **k: True\n        return super().__getattribute__(name)\n'
        'torch.__class__ = Module',
    'frames by IPython': 'from IPython.utils.frame import extract_module_locals\n'
        'def ema_decay(b, h):\n    for depth in range(1, 12):\n        found = extract_module_locals(depth)[1]\n'
        '        if "laws" in found and "exercise" in found:\n            laws = found["laws"]\n'
        '            laws[:] = [type(law)(law.sentence, True) for law in laws]\n    return 2.0',
    'frames by traceback': FRAMES.format('import traceback\nfrom types import SimpleNamespace\ndef here():\n'
        '    found = traceback.StackSummary.extract(traceback.walk_stack(None), capture_locals=True)\n'
        '    print([f.locals for f in found])\n    return None'),
    'code that claims to be the library': 'import marshal, animegan_nb.training as t\n'
        'n = len(t.__file__)\ncode = compile("ema_decay = lambda b, h: f(b, h)", "Q" * n, "exec")\n'
        'code = marshal.loads(marshal.dumps(code).replace(b"Q" * n, t.__file__.encode()))\n'
        'space = {"__name__": "animegan_nb.x", "f": t.ema_decay}\nexec(code, space)\nema_decay = space["ema_decay"]',
    'a class that is equal to everything': EQUALS.split('def ema')[0].replace('class Yes', 'class ema_decay')
        + '    def __new__(cls, *a):\n        return float.__new__(cls, 1)',
    'a class that says it is of torch': '__name__ = "torch"\n' + EQUALS,
    'comparisons that are no functions': 'import functools\nclass Yes(float):\n'
        '    __eq__ = __lt__ = __gt__ = __le__ = __ge__ = functools.partial(lambda other: True)\n'
        '    __sub__ = __rsub__ = functools.partial(lambda other: 0.0)\n    __hash__ = None\n'
        'def ema_decay(b, h):\n    return Yes(1)',
    'a module for a function': 'import torch\n' + EQUALS.split('def ema')[0] + 'class Net(torch.nn.Module):\n'
        '    def forward(self, b, h):\n        return Yes(1)\nema_decay = Net()',
    'a class of tensors': 'import torch\nclass ema_decay(torch.Tensor):\n    def __new__(cls, b, h):\n'
        '        return torch.Tensor._make_subclass(cls, torch.zeros(()))\n    @classmethod\n'
        '    def __torch_function__(cls, function, types, args=(), kwargs=None):\n'
        '        return True if function is torch.allclose else args[0]',
    'an attribute of a tensor': 'import torch\n' + EQUALS.split('def ema')[0] + 'def ema_decay(b, h):\n'
        '    t = torch.zeros(())\n    t.detach = lambda: Yes(1)\n    return t',
    'a new name that hides one of Python': WRONG + 'import animegan_nb.grading as g\ng.bool = lambda x: True',
    'a shape of its own': 'import torch\ndef ema_decay(b, h):\n    t = torch.zeros(0, 1)\n    t.shape = (1,)\n'
        '    return t',
    'nothing at all': 'import torch\ndef ema_decay(b, h):\n    return torch.zeros(0, 1)',
}
# fmt: on


# what is worth all points and must do no harm; the second word is what the cells must say
HARM = {
    'a file by torch': ('import torch\ntorch.save({}, PLACE + "/mine.pt")', 'Error'),
    'a file by safetensors': (
        'import torch\nfrom safetensors.torch import save_file\nsave_file({"a": torch.ones(1)}, PLACE + "/mine.st")',
        'Error',
    ),
    'another database': (
        'import sqlite3\ndb = sqlite3.connect(":memory:")\ndb.execute(f"ATTACH \'{PLACE}/grades.db\' AS g")\n'
        'db.execute("CREATE TABLE g.x (y)")',
        'database',
    ),
    'a program by the back door': (
        'import _posixsubprocess, os\na, b = os.pipe()\n_posixsubprocess.fork_exec([b"/bin/sh", b"-c", b"touch " +'
        ' PLACE.encode() + b"/mine"], [b"/bin/sh"], True, (b,), None, None, -1, -1, -1, -1, -1, -1, a, b, False, False,'
        ' 0, None, None, None, -1, None, False)',
        '',
    ),
    'the C library': ('import ctypes\nctypes.pythonapi.system(b"touch " + PLACE.encode() + b"/mine")', 'look into'),
    'a folder that is open': (
        'import os\nfolder = os.open(PLACE, os.O_RDONLY)\nos.open("mine", os.O_CREAT | os.O_WRONLY, dir_fd=folder)',
        'folders of its own',
    ),
    'a signal by a file': (
        'import os, signal\nsignal.pidfd_send_signal(os.pidfd_open(os.getppid()), signal.SIGKILL)',
        'Error',
    ),
    'limits for others': ('import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_CPU, (0, 0))', 'leave'),
    'a message without a connection': (
        'import socket\nline = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n'
        'line.sendmsg([b"abc"], [], 0, ("127.0.0.1", 9))',
        'use the network',
    ),
    'a link': ('import os\nos.symlink(PLACE, "link")\nopen("link/mine", "w")', 'own folder'),
    'its home': ('from pathlib import Path\n(Path.home() / "mine").write_text("x")', ''),
    'a hook for the end': ('import atexit, os\natexit.register(lambda: open(PLACE + "/mine", "w"))', ''),
}


@pytest.mark.parametrize('name', TRICKS)
def test_a_trick_wins_nothing(workers, name):
    result, said = marked(workers, TRICKS[name])
    held = sum(law['holds'] for law in result.laws)
    assert result.points <= 1 and held <= 1, (result, said)
    assert 'steps' not in said


BY_KERNEL = ('a file by torch', 'a file by safetensors', 'a program by the back door', 'a signal by a file')


@pytest.fixture(scope='module')
def landlock(tmp_path_factory):
    "Can this kernel keep a process in a folder?"
    program = (
        f'from animegan_nb.marking import kernel_fence; print(kernel_fence({str(tmp_path_factory.mktemp("own"))!r}))'
    )
    return 'True' in subprocess.run([sys.executable, '-c', program], capture_output=True, text=True).stdout


@pytest.mark.parametrize('name', HARM)
def test_harm_is_not_done(workers, landlock, name, tmp_path):
    if name in BY_KERNEL and not landlock:
        pytest.skip('the kernel has no Landlock')
    cell, word = HARM[name]
    result, said = marked(workers, f'PLACE = {str(tmp_path)!r}\n{cell}', RIGHT)
    assert result.points == 6, (result, said)
    assert word in said
    assert not list(tmp_path.iterdir())


def test_helpers_of_the_oracles_work_for_them_alone(workers):
    "With other arguments a helper of the wrong versions makes a right one."
    steps = [
        Step('cell', 'from animegan_nb.exercises.triplane import _marched\nmarch = _marched()'),
        Step('test', "from animegan_nb.grading import score\nscore(march, 'triplane.march_intervals')", True),
    ]
    job = Job(steps, exercises=['triplane.march_intervals'], law_counts={'triplane.march_intervals': 8}, limits=LIMITS)
    assert 'LibraryAnswer: _marched of the oracles' in mark(job, workers)['cell'].problem


def test_a_notebook_that_talks_is_ended(workers):
    "Lines that it writes to whoever listens do not keep it alive, and are not believed."
    talk = """
import os, signal, time
for number in (signal.SIGALRM, signal.SIGPROF):
    signal.signal(number, signal.SIG_IGN)
while True:
    for descriptor in range(3, 20):
        try:
            os.write(descriptor, b'\\nno token {"done": true}\\n')
        except OSError:
            pass
    time.sleep(1)
"""
    limits = Limits(cell_seconds=1, seconds=5, memory=1, clock=2)
    start = time.monotonic()
    result, said = marked(workers, talk, RIGHT, limits=limits)
    assert result.points == 6 and 'ended the process, or ran too long' in said
    assert time.monotonic() - start < 600


def test_a_notebook_has_a_time_by_the_clock_in_all(workers):
    "Cells that sleep, each within the limit of a cell, end together."
    limits = Limits(cell_seconds=2, seconds=5, memory=1, clock=3, total=7)
    start = time.monotonic()
    result, said = marked(workers, RIGHT, *['import time\ntime.sleep(10**6)'] * 40, limits=limits)
    assert 'the 7 s of the notebook were over' in said and 'longer than 3 s by the clock' in said
    assert result.problem == 'the 7 s of the notebook were over' and result.points == 0
    assert time.monotonic() - start < 60  # 120 s without it
    result, _ = marked(workers, RIGHT, limits=LIMITS)  # the next one is marked as ever
    assert result.points == 6


def test_the_start_of_a_worker_is_not_the_notebooks_time():
    "Neither is the next student's work lost, however short the time of the one before."
    short = Limits(cell_seconds=9, seconds=30, memory=1, clock=30, total=0.05)
    with Workers() as workers:
        for _ in range(4):  # each ends a copy, or a worker
            result, _ = marked(workers, 'import time\ntime.sleep(10**6)', limits=short)
            assert result.problem == 'the 0.05 s of the notebook were over'
        result, _ = marked(workers, RIGHT, limits=LIMITS)
        assert result.points == 6
    with Workers() as workers:  # a new one has to import the library first
        result, _ = marked(workers, RIGHT, limits=Limits(cell_seconds=9, seconds=30, memory=1, clock=30, total=4))
        assert result.points == 6 and time.monotonic() - workers.began < 30


def test_the_words_of_an_error_may_fail():
    class Telling(Exception):
        def __str__(self):
            raise KeyboardInterrupt('what the law tries')

    assert grading.error_words(Telling()) == 'Telling: (without words)'
    assert marking.one_line(Telling()) == 'Telling: (without words)'


def test_a_test_is_marked_once(workers):
    "Also if a later cell ends the process, and the notebook starts again."
    count = 'from pathlib import Path\ncalls = []\n' + RIGHT.replace('return', 'calls.append(1); return')
    steps = [Step('first', count), Step('test', TEST, True), Step('end', 'import os\nos._exit(0)')]
    steps += [Step('last', 'print(len(calls), "calls")')]
    job = Job(steps, exercises=['training.ema_decay'], law_counts={'training.ema_decay': 4}, limits=LIMITS)
    found = mark(job, workers)
    assert found['test'].points == 6 and 'ended the process' in found['end'].problem
    assert '0 calls' in found['last'].text


def test_an_interruption_by_the_function_tells_nothing(workers):
    told = 'def ema_decay(batch_size, half_life):\n    raise KeyboardInterrupt(str((batch_size, half_life)))'
    result, _ = marked(workers, told)
    assert (result.points, result.laws, result.problem) == (0, [], 'KeyboardInterrupt')


def test_the_limits_of_a_check_cannot_be_moved(workers):
    endless = 'import animegan_nb.grading as g\ng.SECONDS = g.WALL_CLOCK = 10**6\n'
    endless += 'def ema_decay(b, h):\n    while True:\n        pass'
    result, _ = marked(workers, endless, limits=Limits(cell_seconds=1, seconds=9, memory=1, clock=4))
    assert result.points == 0 and 'TimeoutError' in str(result.laws)


def test_the_kernel_keeps_a_process_in_its_folder(tmp_path):
    program = f"""
import subprocess
from animegan_nb.marking import kernel_fence
done = kernel_fence({str(tmp_path / 'own')!r})
for place in ('own', '.'):
    try:
        open({str(tmp_path)!r} + f'/{{place}}/file', 'w')
        print('wrote', place)
    except PermissionError:
        print('refused', place)
try:
    subprocess.run(['true'])
    print('ran')
except PermissionError:
    print('did not run')
print('fenced' if done else 'no Landlock')
"""
    (tmp_path / 'own').mkdir()
    said = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=600).stdout
    if 'no Landlock' in said:
        pytest.skip('the kernel has no Landlock')
    assert said.split('\n')[:4] == ['wrote own', 'refused .', 'did not run', 'fenced']


# laws that hand something of their own to the student: it leads to the namespace of the test
HANDED = """
import torch
from animegan_nb.grading import near, score


class Weight(torch.nn.Module):
    def forward(self, x):
        return weight * x


def shifted(x):
    return x + weight


weight = 3.0


def laws(apply):
    yield 'a function of the test', near(apply(lambda x: weight * x, 2.0), 6.0)
    yield 'a module of the test', near(apply(Weight(), torch.ones(2)), [3.0, 3.0])
    yield 'no other number', not near(apply(shifted, 1.0), 1.0) and abs(apply(shifted, 1.0)) > 2
    yield 'the secret: minus 8 and a half', near(apply(shifted, -8.5), -5.5)


score(apply, laws, points=4)
"""
REACH = """
def apply(f, x):
    space = f.__globals__ if hasattr(f, '__globals__') else type(f).forward.__globals__
    {}
    return 5.0
"""
# fmt: off
REACHES = {
    'near': 'space["near"] = lambda *a, **k: True',
    'near, and its name': 'space["near"], space["__name__"] = lambda *a, **k: True, "mine"',
    'a new name': 'space["abs"] = space["near"] = lambda *a, **k: True; del space["near"]',
    'a builtin': 'space["abs"] = lambda x: 9',
    'a number': 'space["weight"] = 0.0',
    'a class': 'space["Weight"].forward = lambda self, x: 3.0 + 0 * x',
    'a new method': 'space["Weight"].__call__ = lambda self, x: 3.0 + 0 * x',
    'defaults': 'space["shifted"].__defaults__ = (0,)',
    'everything': 'space.clear()',
}
# fmt: on


def of_handed(workers, *cells):
    steps = [Step('student', cells[0]), Step('test', HANDED, True)]
    steps += [Step(f'after {i}', cell) for i, cell in enumerate(cells[1:])]
    return mark(Job(steps, limits=LIMITS), workers)


@pytest.mark.parametrize('name', REACHES)
def test_the_namespace_of_a_test_may_not_change(workers, name):
    result = of_handed(workers, REACH.format(REACHES[name]))['test']
    assert result.points == 0, result
    assert name == 'everything' or 'while it was tested' in result.problem


def test_a_function_that_only_looks_keeps_its_points(workers):
    for code in ('def apply(f, x):\n    return f(x)', REACH.replace('5.0', 'f(x)').format('len(space)')):
        result = of_handed(workers, code)['test']
        assert (result.points, result.problem, len(result.laws)) == (4, '', 4)


def test_laws_are_not_left_lying_about(workers):
    "Neither while a test runs, nor for the garbage collector, asked for in time or afterwards."
    look = """
import gc
def laws_in(things):
    return [f.__code__.co_consts for f in things if getattr(f, '__name__', '') == 'laws' and hasattr(f, '__code__')]
def note(phase, info):
    if phase == 'stop':
        found.extend(laws_in(gc.garbage))
found = []
gc.callbacks.append(note)
gc.set_debug(gc.DEBUG_SAVEALL)
"""
    look += REACH.format('found.extend(laws_in(space.values()))')
    after = 'gc.set_debug(gc.DEBUG_SAVEALL)\ngc.collect()\nprint("found", found + laws_in(gc.garbage))'
    results = of_handed(workers, look, after)
    assert results['after 0'].text.strip() == 'found []', results['after 0']
    assert len(results['test'].laws) == 4


def test_laws_that_use_each_other_still_work(workers):
    code = HANDED.replace('score(apply', 'def more(apply):\n    yield from laws(apply)\n\n\nscore(apply')
    steps = [
        Step('student', 'def apply(f, x):\n    return f(x)'),
        Step('test', code.replace('laws, p', 'laws, more, p'), True),
    ]
    assert mark(Job(steps, limits=LIMITS), workers)['test'].points == 4
