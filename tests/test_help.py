"What an engineer sees at the prompt: `help()` explains parameters, Tab lists chapters, errors name extras."

import ast
import importlib
import inspect
import pickle
import pydoc
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import animegan_nb

_parameters = sys.modules['animegan_nb._parameters']  # written by hand, no chapter

NBS = Path(__file__).parent.parent / 'nbs'
WITHOUT_MODULE = {'first_gan'}  # plain code
CHAPTERS = sorted({path.stem[3:] for path in NBS.glob('[0-9][0-9]_*.ipynb')} - WITHOUT_MODULE)
ONE_LINE = re.compile(r'^\s+\**(\w+)(?:: [^#]+)?,?\s+# (?!noqa)(.+)$')


def words(text):
    return ' '.join(text.split())


def documented(function):
    "Parameter → the comment behind it, read in another way than the library reads it: line by line."
    header = inspect.getsource(function).split('"')[0]
    return {match[1]: match[2] for line in header.splitlines() if (match := ONE_LINE.match(line))}


def public_things(chapter):
    module = importlib.import_module(f'animegan_nb.{chapter}')
    for name in module.__all__:
        thing = getattr(module, name)
        if getattr(thing, '__module__', '') == module.__name__ and (
            inspect.isclass(thing) or inspect.isfunction(thing)
        ):
            yield name, thing


@pytest.mark.parametrize('chapter', CHAPTERS)
def test_help_says_what_every_documented_parameter_means(chapter):
    missing = []
    for name, thing in public_things(chapter):
        shown = words(pydoc.plain(pydoc.render_doc(thing)).replace(' | ', ' '))
        functions = [thing]
        if inspect.isclass(thing):
            functions = [
                f for k, f in vars(thing).items() if inspect.isfunction(f) and (k == '__init__' or k[0] != '_')
            ]
        for function in functions:
            try:
                found = documented(function)
            except (OSError, TypeError):  # made by the machine
                continue
            missing += [f'{name}: {p}' for p, text in found.items() if words(text) not in shown]
    assert not missing


def example():
    """
    @dataclass
    class Numbers:
        "Some numbers."

        # above, because
        # it is long
        size: int = 64
        width: float = 0.5  # of a line
        plain: int = 1
        text: str = '# no comment'

        def double(self, times: int = 2, *, deep: bool = True) -> float:  # the result
            "Twice as much."
            return 2

    def join(
        a: str,  # the first one
        *more: str,  # the others
        sep: str = ' # ',  # between them
        # None: no
        # limit at all
        limit: int | None = None,
        **rest,  # ignored
    ) -> str:  # all of them
        "Join texts."
        # not a parameter
        return a
    """


def test_the_forms_of_comments(monkeypatch, tmp_path):
    file = tmp_path / 'example.py'
    source = textwrap.dedent(example.__doc__)
    file.write_text(
        f'from __future__ import annotations\nfrom dataclasses import dataclass\n{source}', encoding='utf-8'
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'example', raising=False)
    module = importlib.import_module('example')
    _parameters.describe(module, str(file))
    assert inspect.getdoc(module.Numbers) == (
        'Some numbers.\n\nParameters\n----------\nsize : int, default 64\n    above, because it is long\n'
        'width : float, default 0.5\n    of a line'
    )
    assert inspect.getdoc(module.Numbers.double) == 'Twice as much.\n\nReturns\n-------\nfloat\n    the result'
    assert inspect.getdoc(module.join) == str(module.join.__doc__)
    assert inspect.getdoc(module.join) == (
        "Join texts.\n\nParameters\n----------\na : str\n    the first one\nmore : str\n    the others\n"
        "sep : str, default ' # '\n    between them\nlimit : int | None, default None\n    None: no limit at all\n"
        'rest\n    ignored\n\nReturns\n-------\nstr\n    all of them'
    )
    assert module.join.__doc__ == 'Join texts.'  # as it stands in the source
    again = pickle.loads(pickle.dumps(module.join.__doc__))
    assert str(again) == str(module.join.__doc__)


LAZY = """
import animegan_nb.training
from animegan_nb import _parameters
read = _parameters.meanings_of.cache_info
assert read().misses == 0, read()
import inspect
assert 'images in a batch' in inspect.getdoc(animegan_nb.training.TrainingConfig)
inspect.getdoc(animegan_nb.training.Trainer)
assert read().misses == 1, read()
"""


def test_a_source_is_read_for_its_comments_when_help_is_asked_for():
    result = subprocess.run([sys.executable, '-c', LAZY], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_the_package_explains_itself_and_lists_its_chapters():
    result = subprocess.run(
        [
            sys.executable,
            '-c',
            'import sys, animegan_nb; print(*dir(animegan_nb)); assert "torch" not in sys.modules; help(animegan_nb)',
        ],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    listed, text = result.stdout.split('\n', 1)
    assert set(CHAPTERS) <= set(listed.split())
    assert 'a book that is a library' in text and 'from_pretrained' in text
    assert ast.get_docstring(ast.parse(Path(animegan_nb.__file__).read_text(encoding='utf-8')))


BLOCKED = '''
import sys
from importlib.machinery import PathFinder
ABSENT = {absent!r}
class Hiding(PathFinder):  # as where they are not installed: find_spec finds nothing, and an import fails
    @classmethod
    def find_spec(cls, name, *rest):
        return None if name.split('.')[0] in ABSENT else super().find_spec(name, *rest)
sys.meta_path[:] = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
'''
ABSENT = (
    'cv2 imagehash trimesh skimage imageio imageio_ffmpeg torch_fidelity huggingface_hub onnx datasets accelerate'
).split()
WITHOUT = (
    BLOCKED.format(absent=ABSENT)
    + '''
import importlib, pkgutil, tempfile, torch, animegan_nb
from pathlib import Path
for module in pkgutil.iter_modules(animegan_nb.__path__):
    if not module.name.startswith('_'):
        importlib.import_module('animegan_nb.' + module.name)
from animegan_nb import cleaning, core, mesh, metrics, stylegan
from PIL import Image
folder = Path(tempfile.mkdtemp())
images = Path(tempfile.mkdtemp())
Image.new('RGB', (8, 8)).save(images / 'a.png')  # a good one: it is not to blame for what is not installed
generator, _ = stylegan.pretrained_stylegan()
uses = {
    'cleaning': [
        lambda: cleaning.perceptual_hash(Image.new('L', (8, 8))), lambda: cleaning.clean(images), cleaning.FaceFinder
    ],
    'mesh': [lambda: mesh.extract_mesh(lambda x: x.norm(dim=-1) - 0.5, resolution=8)],
    'video': [lambda: core.Animation(torch.zeros(2, 3, 8, 8)).save(folder / 'a.mp4')],
    'metrics': [lambda: metrics.fidelity(*[metrics.extract(torch.zeros(4, 3, 8, 8) - i, 'pixels') for i in (0, 1)])],
    'hub': [lambda: generator.push_to_hub('me/it'), lambda: stylegan.StyleGANGenerator.from_pretrained('me/it')],
}
for extra, calls in uses.items():
    for call in calls:
        try:
            call()
        except ImportError as error:
            assert f'pip install "animegan_nb[{extra}]"' in str(error), (extra, error)
        else:
            raise AssertionError(extra)
real, fake = torch.randn(24, 3, 8, 8, generator=core.rng(0)) / 3, torch.randn(12, 3, 8, 8, generator=core.rng(1)) / 3
print(metrics.evaluate(fake, real, 'pixels', engine='animegan_nb').card.engine)
print(generator(torch.zeros(1, 64)).shape, list(folder.iterdir()))
'''
)


def test_without_the_extras_every_chapter_imports_and_errors_name_them():
    result = subprocess.run([sys.executable, '-c', WITHOUT], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    assert 'animegan_nb' in result.stdout and '[1, 3, 32, 32]) []' in result.stdout


def test_an_advice_can_be_pasted_into_every_shell():
    "Windows' cmd takes single quotes for a part of the name; double ones work everywhere."
    for path in Path(animegan_nb.__file__).parent.glob('*.py'):
        assert "pip install '" not in path.read_text(encoding='utf-8'), path.name


def test_what_is_blocked_above_is_what_the_extras_bring():
    try:
        import tomllib
    except ImportError:
        import tomli as tomllib
    project = tomllib.loads((Path(__file__).parent.parent / 'pyproject.toml').read_text(encoding='utf-8'))['project']
    packages = {'cv2': 'opencv-python-headless', 'skimage': 'scikit-image', 'imageio_ffmpeg': 'imageio-ffmpeg'}
    packages |= {'torch_fidelity': 'torch-fidelity'}
    name = lambda requirement: re.match(r'[\w.-]+', requirement)[0]
    core = {name(r) for r in project['dependencies']}
    extra = {name(r) for rows in project['optional-dependencies'].values() for r in rows}
    for module in ABSENT:
        package = packages.get(module, module)
        assert package in extra and package not in core
