"""The rules of the house, read from the files: where things stand, how the code looks, and what imports what.

Every rule is a function that returns the problems it finds; its second test shows it a made-up bad example.
"""

import ast
import importlib.util
import json
import re
import subprocess
import sys
import textwrap
import tokenize
from collections import defaultdict
from dataclasses import dataclass
from functools import cache, cached_property
from io import StringIO
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT / 'nbs'
LIBRARY = ROOT / 'animegan_nb'

MAX_LINE = 96
MAX_CLASS_LINES = 60
MAX_FUNCTION_LINES = 60
# classes that may be longer: name -> (lines, reason)
ALLOWED_LENGTH = {'Trainer': (80, 'the whole training loop is read on one page')}
# methods added after their class, because building it step by step is the lesson: 'module.Class.method' -> reason
ALLOWED_PATCHES = {}
# names that two modules export for two things: name -> reason
ALLOWED_CLASHES = {
    'score': 'a direction gets a score in `latents`, a function of a student in `grading`',
    'invert': 'an image in `inversion`, a view of a field and its camera in `pigan_inversion`',
    'pivotal_tuning': 'of a generator of images in `inversion`, of a field in `pigan_inversion`',
}
# chapters that export nothing: name -> reason
WITHOUT_MODULE = {'first_gan': 'the first chapter is plain code, which is its lesson'}
# modules that find other modules while they run
BY_DEMAND = {'core', 'grading', 'marking'}  # `load_chapters`, `find`, `find_answer`
# an import upward, when a function is called: (module, module that it imports) -> reason
ON_CALL = {
    ('training', 'cli'): '`training.train` is the command `animegan train` for programs',
    ('cli', 'course'): 'one chapter holds the words of all commands, and a course builds on the chapters after it',
}

# fmt: off
PLAN = {
    0: 'first_gan', 1: 'core', 2: 'data', 3: 'cleaning', 4: 'cameras', 5: 'surfaces', 6: 'toon', 7: 'figures',
    8: 'toon_net', 9: 'diagrams',
    10: 'training', 11: 'callbacks', 12: 'widgets', 13: 'dashboard', 14: 'metrics',
    20: 'losses', 21: 'penalties', 22: 'dcgan', 23: 'wgan', 24: 'conditional', 25: 'augment', 26: 'modern',
    30: 'style_layers', 31: 'stylegan', 32: 'latents', 33: 'standing', 34: 'encoder',
    40: 'perceptual', 41: 'inversion', 42: 'transfer', 43: 'crossdomain', 44: 'style_transfer',
    45: 'super_resolution', 46: 'translation', 47: 'conditional_style',
    50: 'raymarch', 51: 'siren', 52: 'mesh', 53: 'geometry', 54: 'fields', 55: 'pigan', 56: 'pigan_training',
    57: 'pigan_anime', 58: 'pigan_inversion', 59: 'orbit',
    60: 'triplane', 61: 'mimic3d',
    70: 'convert', 71: 'cli', 72: 'grading', 73: 'marking', 74: 'course',
}
# fmt: on


def load_execute():
    "`.ci/execute.py` as a module: the hash that stamps outputs is defined there, once."
    spec = importlib.util.spec_from_file_location('house_execute', ROOT / '.ci' / 'execute.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


execute = load_execute()


# ---- reading the book


@dataclass(frozen=True)
class Cell:
    "One code cell: its text and where it stands."

    where: str
    source: str

    @property
    def exported(self) -> bool:
        return re.search(r'^#\|\s*export[is]?\b', self.source, re.M) is not None

    @cached_property
    def tree(self) -> ast.Module:
        "Empty for a cell with a line that is only for IPython."
        try:
            return ast.parse(self.source)
        except SyntaxError:
            return ast.Module(body=[], type_ignores=[])


@cache
def all_notebooks() -> dict[Path, dict]:
    return {path: json.loads(path.read_text(encoding='utf-8')) for path in execute.find_notebooks(NBS)}


@cache
def all_cells() -> list[Cell]:
    cells = []
    for path, notebook in all_notebooks().items():
        for number, cell in enumerate(notebook['cells']):
            if cell['cell_type'] == 'code':
                cells.append(Cell(f'{path.relative_to(ROOT)}, cell {number}', ''.join(cell['source'])))
    return cells


@cache
def all_modules() -> dict[str, ast.Module]:
    "Name ('losses', 'exercises.losses') -> syntax tree of every generated module."
    return read_modules(LIBRARY)


def read_modules(library: Path) -> dict[str, ast.Module]:
    paths = [*library.glob('*.py'), *(library / 'exercises').glob('*.py')]
    named = {'.'.join(path.relative_to(library).with_suffix('').parts): path for path in sorted(paths)}
    return {
        name: ast.parse(path.read_text(encoding='utf-8'))
        for name, path in named.items()
        if not name.rpartition('.')[2].startswith('_')
    }


def chapter_numbers(paths) -> dict[str, int]:
    "Name of a chapter -> its number."
    return {path.stem[3:]: int(path.stem[:2]) for path in paths if re.match(r'\d\d_', path.stem)}


@cache
def all_numbers() -> dict[str, int]:
    return chapter_numbers(path for path in all_notebooks() if path.parent == NBS)


def report(problems: list[str]):
    "Fail with one problem a line."
    assert not problems, '\n' + '\n'.join(problems)


def cell_of(source: str, exported: bool = True) -> Cell:
    return Cell('example', '#| export\n' * exported + textwrap.dedent(source))


def trees_of(**sources: str) -> dict[str, ast.Module]:
    "Made-up modules; a double underscore in a name stands for a dot."
    return {name.replace('__', '.'): ast.parse(textwrap.dedent(source)) for name, source in sources.items()}


# ---- outputs belong to the code above them


def older_outputs(notebooks: dict[Path, dict]) -> list[str]:
    return [
        f'{path.stem}: its outputs are not those of its code; run  make execute NB={path.relative_to(NBS)}'
        for path, notebook in notebooks.items()
        if execute.has_outputs(notebook) and execute.is_stale(notebook)
    ]


def test_no_output_is_older_than_its_code():
    report(older_outputs(all_notebooks()))


def example_notebook(source: str, stamp: str | None = None) -> dict:
    cell = {
        'cell_type': 'code',
        'source': source.splitlines(keepends=True),
        'metadata': {},
        'outputs': [{'output_type': 'stream', 'name': 'stdout', 'text': ['3\n']}],
    }
    return {'cells': [cell], 'metadata': {'animegan_nb': {'outputs_of': stamp}} if stamp else {}}


def test_an_older_output_is_found():
    source = 'def three():\n    "The number."\n    return 3\nprint(three())'
    stamp = execute.code_hash(example_notebook(source))

    def problems(new_source, stamp=stamp):
        return older_outputs({NBS / '90_example.ipynb': example_notebook(new_source, stamp)})

    assert problems(source) == []
    assert problems(source, None)
    assert problems(source.replace('return 3', 'return 4'))
    assert problems(source.replace('print(three())', 'three();'))
    assert problems(source.replace('def three', 'class Three: pass\ndef three'))
    # what changes no output: a comment, a directive, another layout, another docstring
    assert problems('#| export\n' + source.replace('"The number."', "'''Another\n    text.'''")) == []
    assert problems(source.replace('print(three())', 'print( three() )   # 3')) == []


def test_a_line_for_ipython_is_stamped_too():
    assert execute.executed('%time f()') != execute.executed('%time g()')
    assert execute.executed('# nothing') == ''


def test_outputs_are_tidied():
    picture, widget = {'image/png': 'iVBO'}, 'application/vnd.jupyter.widget-view+json'
    outputs = [
        {'output_type': 'stream', 'name': 'stdout', 'text': '10%'},
        {'output_type': 'stream', 'name': 'stdout', 'text': '\r100%\nready\n'},
        {'output_type': 'display_data', 'data': {widget: {}, 'text/plain': 'VBox()'}},
        {'output_type': 'display_data', 'data': {widget: {}, 'text/plain': 'VBox()', **picture}},
        {'output_type': 'display_data', 'data': {'application/javascript': 'alert()'}},
        {'output_type': 'stream', 'name': 'stderr', 'text': 'step 3\r      '},
    ]
    assert execute.tidy_outputs(outputs) == [
        {'output_type': 'stream', 'name': 'stdout', 'text': '100%\nready\n'},
        {'output_type': 'display_data', 'data': {'text/plain': 'VBox()', **picture}},
    ]


def test_a_name_finds_its_notebook(tmp_path):
    (tmp_path / 'exercises').mkdir()
    for name in ('20_losses', 'exercises/20_losses', 'index'):
        (tmp_path / f'{name}.ipynb').write_text('{}')
    found = {
        name: execute.find_notebook(name, tmp_path).relative_to(tmp_path.resolve()).as_posix()
        for name in ('losses', '20_losses', 'exercises/losses', 'exercises/20_losses.ipynb', 'index')
    }
    assert found == {
        'losses': '20_losses.ipynb',
        '20_losses': '20_losses.ipynb',
        'index': 'index.ipynb',
        'exercises/losses': 'exercises/20_losses.ipynb',
        'exercises/20_losses.ipynb': 'exercises/20_losses.ipynb',
    }
    with pytest.raises(SystemExit, match='no notebook'):
        execute.find_notebook('loses', tmp_path)


# ---- imports point downward


@dataclass(frozen=True)
class Import:
    "One import from animegan_nb: the module ('losses'; '' is the package itself) and the name taken from it, if any."

    line: int
    module: str
    name: str | None = None


COMPUTED = '(computed)'


def imports(tree: ast.AST, here: str = '', known=()) -> list[Import]:
    "What the module `here` imports from animegan_nb: by statement, by `import_module`, by `animegan_nb.losses.x`."
    parents = ['animegan_nb', *here.split('.')[:-1]]
    package_names = {'animegan_nb'}
    found, attributes = [], []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            attributes.append(node)
        elif isinstance(node, ast.ImportFrom):
            parts = parents[: len(parents) - node.level + 1] if node.level else []
            full = '.'.join([*parts, *filter(None, [node.module])])
            if full.split('.')[0] == 'animegan_nb':
                inside = full.partition('.')[2]
                for alias in node.names:
                    module = f'{inside}.{alias.name}'.lstrip('.')
                    found.append(
                        Import(node.lineno, module) if module in known else Import(node.lineno, inside, alias.name)
                    )
        elif isinstance(node, ast.Import):
            for alias in node.names:
                first, _, inside = alias.name.partition('.')
                if first == 'animegan_nb':
                    found.append(Import(node.lineno, inside))
                    if not inside and alias.asname:
                        package_names.add(alias.asname)
        elif isinstance(node, ast.Call):
            found.extend(imports_by_call(node))
    for node in attributes:
        names = dotted(node).split('.')
        if names[0] in package_names and names[1] in known:
            deeper = '.'.join(names[1:3])
            found.append(Import(node.lineno, deeper if deeper in known else names[1]))
    return found


def dotted(node) -> str:
    "'a.b.c' for the expression a.b.c, '' for anything else."
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and dotted(node.value):
        return f'{dotted(node.value)}.{node.attr}'
    return ''


def imports_by_call(node: ast.Call) -> list[Import]:
    "`importlib.import_module('animegan_nb.losses')`, `__import__(...)`; an f-string is computed while the code runs."
    if dotted(node.func).rpartition('.')[2] not in ('import_module', '__import__') or not node.args:
        return []
    first = node.args[0]
    if isinstance(first, ast.JoinedStr) and first.values:
        first = first.values[0]
        text = first.value if isinstance(first, ast.Constant) else ''
        return [Import(node.lineno, COMPUTED)] if str(text).startswith(('animegan_nb', '.')) else []
    if isinstance(first, ast.Constant) and str(first.value).startswith(('animegan_nb', '.')):
        return [Import(node.lineno, str(first.value).removeprefix('animegan_nb').lstrip('.'))]
    return []


def wrong_imports(trees: dict[str, ast.Module], numbers: dict[str, int]) -> list[str]:
    problems = []
    for here, tree in trees.items():
        exercise = here.startswith('exercises.')
        own = numbers.get(here.removeprefix('exercises.'), -1)
        for item in imports(tree, here, trees):
            where = f'animegan_nb/{here.replace(".", "/")}.py:{item.line}'
            target = item.module
            number = numbers.get(target.removeprefix('exercises.'), 100)
            if (here, target) in ON_CALL:
                continue
            if here in BY_DEMAND and (target == COMPUTED or target.split('.')[0] == 'exercises'):
                continue
            if target == COMPUTED:
                problems.append(f'{where} imports a module whose name is computed')
            elif target.split('.')[0] == 'exercises' and not exercise:
                problems.append(f'{where} imports {target}: exercises are imported only by exercises, grading and cli')
            elif target in ('', 'exercises', '_nearest'):  # the last is written by hand, and imports no chapter
                continue
            elif exercise and (target == 'grading' or number <= own):
                continue
            elif number >= own:
                problems.append(f'{where} ({own:02}) imports {target} ({number:02}): only lower numbers are allowed')
    return problems


def test_imports_point_downward():
    report(wrong_imports(all_modules(), all_numbers()))


@pytest.mark.parametrize(
    'statement',
    [
        'from animegan_nb.dcgan import x',
        'from .dcgan import x',
        'from . import dcgan',
        'from animegan_nb import dcgan',
        'import animegan_nb.dcgan as d',
        'def f():\n    from .dcgan import x',
        'import animegan_nb\nanimegan_nb.dcgan.x()',
        'import animegan_nb as a\na.dcgan.x()',
        'import importlib\nimportlib.import_module("animegan_nb.dcgan")',
        'import importlib\nimportlib.import_module(".dcgan", __package__)',
        'from .exercises.core import check',
        'from importlib import import_module\nimport_module(f"animegan_nb.{name}")',
        'from .exercises import core',
    ],
)
def test_an_import_that_points_upward_is_found(statement):
    trees = trees_of(core='', losses=statement, dcgan='', exercises__core='')
    numbers = {'core': 1, 'losses': 20, 'dcgan': 22}
    assert wrong_imports(trees, numbers)
    assert wrong_imports(trees_of(core='', losses='import torch\nfrom .core import x'), numbers) == []


def test_an_exercise_may_import_its_chapter_and_grading():
    numbers = {'losses': 20, 'dcgan': 22, 'grading': 72}
    chapters = dict(losses='', dcgan='', grading='import importlib\nimportlib.import_module(f"animegan_nb.{x}")')
    fine = trees_of(exercises__losses='from ..losses import x\nfrom ..grading import y', **chapters)
    assert wrong_imports(fine, numbers) == []
    assert wrong_imports(trees_of(exercises__losses='from ..dcgan import x', **chapters), numbers)


# ---- what is imported exists (an import inside a function would fail only when that function runs)


def module_level(body: list[ast.stmt]):
    "The statements that run when a module is imported, also those inside `if`, `try`, `with` and loops."
    for statement in body:
        yield statement
        if not isinstance(statement, execute.DOCUMENTED):
            for block in blocks(statement):
                yield from module_level(block)


def blocks(node: ast.AST) -> list[list[ast.stmt]]:
    "The blocks of statements directly inside a statement."
    inside = [getattr(node, name, None) for name in ('body', 'orelse', 'finalbody')]
    for part in [*getattr(node, 'handlers', []), *getattr(node, 'cases', [])]:
        inside.append(part.body)
    return [block for block in inside if isinstance(block, list) and block and isinstance(block[0], ast.stmt)]


def names_of(tree: ast.Module) -> set[str]:
    "The names that a module has once it is imported."
    names = set()
    for statement in module_level(tree.body):
        if isinstance(statement, execute.DOCUMENTED):
            names.add(statement.name)
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            names.update((alias.asname or alias.name.split('.')[0]) for alias in statement.names)
        else:
            names.update(
                node.id
                for node in ast.walk(statement)
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            )
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            names.update(node.names)
    return names


def missing_names(sources: list[tuple[str, str, ast.AST]], trees: dict[str, ast.Module]) -> list[str]:
    "`sources`: (what to call it, its name as a module or '', its tree)."
    names = {module: names_of(tree) for module, tree in trees.items()}
    names |= {'': {'__version__', '__path__', '__file__', '*'}, 'exercises': {'__path__'}}
    problems = []
    for where, here, tree in sources:
        for item in imports(tree, here, trees):
            if item.module == COMPUTED or item.module.rpartition('.')[2].startswith('_'):
                continue
            if item.module not in names:
                problems.append(f'{where}, line {item.line}: there is no module animegan_nb.{item.module}')
            elif item.name not in {None, '*', *names[item.module]} and not (item.name or '').startswith('_modidx'):
                problems.append(f'{where}, line {item.line}: animegan_nb.{item.module} has no {item.name}')
    return problems


def test_what_is_imported_exists():
    sources = [(f'animegan_nb/{name.replace(".", "/")}.py', name, tree) for name, tree in all_modules().items()]
    sources += [(cell.where, '', cell.tree) for cell in all_cells() if 'animegan_nb' in cell.source]
    for folder in ('tests', 'benchmarks'):
        for path in sorted((ROOT / folder).rglob('*.py')):
            text = path.read_text(encoding='utf-8')
            if path != Path(__file__) and 'animegan_nb' in text:
                sources.append((str(path.relative_to(ROOT)), '', ast.parse(text)))
    report(missing_names(sources, all_modules()))


@pytest.mark.parametrize(
    'statement',
    [
        'from animegan_nb.losses import gone',
        'def f():\n    from animegan_nb.losses import gone',
        'import animegan_nb.gone',
        'from animegan_nb import gone',
    ],
)
def test_a_missing_name_is_found(statement):
    trees = trees_of(losses='def hinge(): return 1')
    assert missing_names([('example', '', ast.parse(statement))], trees)
    assert missing_names([('example', '', ast.parse('from animegan_nb.losses import hinge'))], trees) == []


# ---- one word for one thing

# what keeps the other word: names of files and keys that are stored, and sentences quoted from the sources
KEPT_WORDS = re.compile(r"""(?<!label=)'[\w/]*pictures?'|"[^"\n]*"|`[^`\n]*`""")


def other_words_for_images(texts: dict[str, str]) -> list[str]:
    "Texts, by the place where they stand, that speak of pictures."
    return [
        f'{where}: call it an image: …{text[max(0, found.start() - 40) : found.end()]}'
        for where, text in ((where, KEPT_WORDS.sub('', text)) for where, text in texts.items())
        for found in re.finditer(r'\bpictures?\b', text, re.IGNORECASE)
    ]


def texts_of_notebooks() -> dict[str, str]:
    "The text of all cells, and the comments, docstrings and messages of their code."
    texts = {}
    for path, notebook in all_notebooks().items():
        for cell in notebook['cells']:
            source = ''.join(cell['source'])
            if cell['cell_type'] == 'code':  # double quotes hold messages there, not sentences of others
                source = source.replace('"', ' ')
            texts[f"{path.stem}, cell {cell['id']}"] = source
    return texts


def test_an_image_is_called_an_image():
    report(other_words_for_images(texts_of_notebooks()))


def test_another_word_for_an_image_is_found():
    assert other_words_for_images({'here': 'Look at the picture.', 'there': '"two pictures"'}) == [
        'here: call it an image: …Look at the picture'
    ]
    assert other_words_for_images({'between': 'The "head" of a picture is "small".'})
    assert other_words_for_images({'label': "ax.set(xlabel='pictures')"})


# ---- how the code looks


def long_lines(cells: list[Cell]) -> list[str]:
    return [
        f'{cell.where}, line {number}: {len(line)} characters: {line.strip()[:60]} ...'
        for cell in cells
        for number, line in enumerate(cell.source.splitlines(), 1)
        if len(line) > MAX_LINE
    ]


def test_lines_fit_on_the_screen():
    report(long_lines(all_cells()))


def test_a_long_line_is_found():
    assert long_lines([cell_of('x = 1  # ' + 'y' * MAX_LINE)])
    assert long_lines([cell_of('x = 1')]) == []


def semicolons(cells: list[Cell]) -> list[str]:
    problems = []
    for cell in cells:
        try:
            tokens = list(tokenize.generate_tokens(StringIO(cell.source).readline))
        except (tokenize.TokenError, SyntaxError):  # a line that is only for IPython
            continue
        problems += [
            f'{cell.where}, line {token.start[0]}: {token.line.strip()[:80]}'
            for token in tokens
            if token.type == tokenize.OP and token.string == ';'
        ]
    return problems


def test_no_semicolons():
    report(semicolons(all_cells()))


def test_a_semicolon_is_found():
    assert semicolons([cell_of('a = 1; b = 2')])
    assert semicolons([cell_of('a = ";"  # ; \n')]) == []


def is_guard(node: ast.AST, block: list[ast.stmt]) -> bool:
    "`if x is None: return`, on one line, without an else."
    return (
        isinstance(node, ast.If)
        and block is node.body
        and not node.orelse
        and len(block) == 1
        and isinstance(block[0], (ast.Return, ast.Continue, ast.Break, ast.Raise))
        and node.lineno == block[0].end_lineno
    )


def one_liners(cells: list[Cell]) -> list[str]:
    "A block that begins on the line of its header, unless it is a guard."
    problems = []
    for cell in cells:
        if not cell.exported:
            continue
        lines = cell.source.splitlines()
        for node in ast.walk(cell.tree):
            if not isinstance(node, ast.stmt):
                continue
            for block in blocks(node):
                before = lines[block[0].lineno - 1].encode()[: block[0].col_offset].decode().strip()
                first_decorated = getattr(block[0], 'decorator_list', [])
                if before and not first_decorated and not is_guard(node, block):
                    text = lines[block[0].lineno - 1].strip()[:80]
                    problems.append(f'{cell.where}, line {block[0].lineno}: {text}')
    return problems


def test_one_statement_a_line():
    report(one_liners(all_cells()))


@pytest.mark.parametrize(
    'source',
    [
        'with x: y()',
        'for x in y: z(x)',
        'class A: pass',
        'def f(): return 1',
        'if x: y = 1',
        'while x: y()',
        'try: x = 1\nexcept ValueError:\n    pass',
        'try:\n    x = 1\nexcept ValueError: pass',
        'if x: z()\nelse: y = 2',
        'for x in y:\n    z(x)\nelse: w()',
        'def f(x):\n    if x: return 1\n    else: return 2',
    ],
)
def test_a_one_liner_is_found(source):
    assert one_liners([cell_of(source)])


@pytest.mark.parametrize(
    'source',
    [
        'def f(x):\n    if x is None: return\n    return x',
        'for x in y:\n    if x: continue\n    z(x)',
        'if x:\n    y = 1\nelif z:\n    y = 2\nelse:\n    y = 3',
        'f = lambda x: x',
        'def f(x):\n    if x: raise ValueError(x)',
        'class A:\n    "Text."\n    x: int = 1\n\n    @property\n    def y(self):\n        return {1: 2}',
    ],
)
def test_a_guard_is_no_one_liner(source):
    assert one_liners([cell_of(source)]) == []


def nested_ternaries(cells: list[Cell]) -> list[str]:
    return [
        f'{cell.where}, line {node.lineno}: one conditional expression inside another'
        for cell in cells
        if cell.exported
        for node in ast.walk(cell.tree)
        if isinstance(node, ast.IfExp)
        for part in (node.body, node.test, node.orelse)
        if isinstance(part, ast.IfExp)
    ]


def test_no_nested_ternaries():
    report(nested_ternaries(all_cells()))


def test_a_nested_ternary_is_found():
    assert nested_ternaries([cell_of('a = 1 if b else 2 if c else 3')])
    assert nested_ternaries([cell_of('a = 1 if b else 2')]) == []


def length(node) -> int:
    "Lines of code in a class or function with its decorators: no blank lines, no comments, no docstrings."
    lines = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.stmt | ast.expr):
            lines |= {inner.lineno, inner.end_lineno}
    for inner in ast.walk(node):
        if isinstance(inner, execute.DOCUMENTED) and ast.get_docstring(inner, clean=False) is not None:
            lines -= set(range(inner.body[0].lineno, inner.body[0].end_lineno + 1))
    return len(lines)


def too_long(cells: list[Cell]) -> list[str]:
    problems = []
    for cell in cells:
        for node in ast.walk(cell.tree):
            if not isinstance(node, execute.DOCUMENTED):
                continue
            kind = 'class' if isinstance(node, ast.ClassDef) else 'function'
            most = MAX_CLASS_LINES if kind == 'class' else MAX_FUNCTION_LINES
            most, _ = ALLOWED_LENGTH.get(node.name, (most, ''))
            if length(node) > most:
                problems.append(f'{cell.where}: the {kind} {node.name} has {length(node)} lines, at most {most}')
    return problems


def test_classes_and_functions_fit_on_a_screen():
    report(too_long(all_cells()))


def test_a_long_class_or_function_is_found():
    body = '    x = 1\n' * 60
    assert too_long([cell_of(f'class A:\n{body}')])
    assert too_long([cell_of(f'class A:\n    # a remark\n\n{body[:-10]}')]) == []
    assert too_long([cell_of(f'def f():\n{body}')])
    assert too_long([cell_of(f'class A:\n    """{"text" + chr(10) * 80}"""\n{body[10:]}')]) == []


# ---- a class stands whole in one cell


def added_methods(trees: dict[str, ast.Module]) -> list[tuple[str, str]]:
    "(what is added, as 'module.Class.method'; where) for every attribute that a class gets after its definition."
    classes = {node.name for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    found = []
    for module, tree in trees.items():

        def add(owner, name, node, module=module):
            found.append((f'{module}.{owner}.{name}', f'animegan_nb/{module.replace(".", "/")}.py:{node.lineno}'))

        def is_class(node):
            last = dotted(node).rpartition('.')[2]
            return last in classes or re.match(r'[A-Z]+[a-z]', last) is not None

        for node in module_level(tree.body):
            if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
                for target in getattr(node, 'targets', None) or [node.target]:
                    if isinstance(target, ast.Attribute) and is_class(target.value):
                        add(dotted(target.value), target.attr, node)
            for call in [node.value] if isinstance(node, ast.Expr) else []:
                if isinstance(call, ast.Call) and dotted(call.func) == 'setattr' and is_class(call.args[0]):
                    add(dotted(call.args[0]), ast.unparse(call.args[1]), node)
            if isinstance(node, execute.DOCUMENTED):
                for decorator in node.decorator_list:
                    owner = patched_class(decorator, node)
                    if owner:
                        add(owner, node.name, node)
            if isinstance(node, ast.ClassDef) and node.name in map(dotted, node.bases):
                add(node.name, '(the class again)', node)
    return found


def patched_class(decorator: ast.expr, node) -> str:
    "The class that `@patch` or `@patch_to(Class)` adds to; '' if the decorator does no such thing."
    call = isinstance(decorator, ast.Call)
    if not dotted(decorator.func if call else decorator).rpartition('.')[2].startswith('patch'):
        return ''
    if call and decorator.args:
        return ast.unparse(decorator.args[0])
    first = node.args.args[0].annotation if getattr(node, 'args', None) and node.args.args else None
    return ast.unparse(first).strip('\'"') if first else '?'


def test_no_method_is_added_afterwards():
    added = added_methods(all_modules())
    report([f'{where}: {name} is added after its class' for name, where in added if name not in ALLOWED_PATCHES])
    assert set(ALLOWED_PATCHES) <= {name for name, _ in added}, 'a patch that is gone needs no exemption'


@pytest.mark.parametrize(
    'source',
    [
        'class A:\n    x = 1\ndef f(self): return 1\nA.f = f',
        'from .b import Other\nOther.f = print',
        'import b\nb.Other.f = 1',
        'class A:\n    x = 1\nsetattr(A, "f", print)',
        'class A:\n    x = 1\nfor name in "fg":\n    setattr(A, name, print)',
        '@patch\ndef f(self: A): return 1',
        '@patch_to(A)\ndef f(self): return 1',
        '@core.patch\ndef f(self: A): return 1',
        'class A:\n    x = 1\nclass A(A):\n    y = 1',
        'class A:\n    x = 1\nif True:\n    A.y: int = 1',
    ],
)
def test_an_added_method_is_found(source):
    assert added_methods(trees_of(a=source))


def test_other_attributes_may_be_set():
    source = 'class A:\n    x = 1\n    def f(self):\n        self.y = 1\nsettings.x = 1\nclass B(A):\n    z = 1'
    assert added_methods(trees_of(a=source)) == []


# ---- no oracle and no wrong answer in the library


def oracles(trees: dict[str, ast.Module]) -> list[str]:
    "A `check_…` that judges a candidate (`check_logits`, which checks its input, is none), `@exercise`, mutants."
    problems = []
    for module, tree in trees.items():
        if module == 'grading' or module.startswith('exercises.'):
            continue
        for node in ast.walk(tree):
            line = getattr(node, 'lineno', 0)
            if isinstance(node, ast.FunctionDef) and node.name.startswith('check_'):
                judges = any(argument.arg == 'candidate' for argument in node.args.args)
                if judges or any(isinstance(inner, (ast.Yield, ast.YieldFrom)) for inner in ast.walk(node)):
                    problems.append(f'animegan_nb/{module}.py:{line}: the oracle {node.name}')
            for decorator in getattr(node, 'decorator_list', []):
                if isinstance(decorator, ast.Call) and dotted(decorator.func).rpartition('.')[2] == 'exercise':
                    problems.append(f'animegan_nb/{module}.py:{line}: an exercise')
            for name in identifiers(node):
                if 'mutant' in name.lower():
                    problems.append(f'animegan_nb/{module}.py:{line}: the name {name}')
    return problems


def identifiers(node: ast.AST) -> list[str]:
    "The names that a node of the tree holds itself."
    fields = ('name', 'id', 'attr', 'arg', 'asname')
    return [value for field in fields if isinstance(value := getattr(node, field, None), str)]


def test_no_oracle_in_the_library():
    report(oracles(all_modules()))


@pytest.mark.parametrize(
    'source',
    [
        'def check_hinge(candidate): return 1',
        'def check_hinge(f):\n    yield "it is", f(1) == 1',
        '@exercise("x")\ndef f(): return 1',
        'MUTANTS = {}',
        'def mutant_hinge(x): return 1',
        'f(mutants=1)',
    ],
)
def test_an_oracle_is_found(source):
    assert oracles(trees_of(losses=source))
    assert oracles(trees_of(grading=source, exercises__losses=source)) == []


def test_a_check_of_the_input_is_no_oracle():
    assert oracles(trees_of(losses='def check_logits(logits): return logits')) == []


# ---- one name, one thing


def exports(tree: ast.Module) -> list[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and dotted(node.targets[0]) == '__all__':
            return ast.literal_eval(node.value)
    return []


def origin(module: str, name: str, trees: dict[str, ast.Module]) -> tuple[str, str]:
    "Where the object behind a name is made: its import is followed to the module that defines it."
    for node in module_level(trees[module].body):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    for item in imports(ast.Module([node], []), module, trees):
                        if item.name == alias.name and item.module in trees:
                            return origin(item.module, alias.name, trees)
        alias_of = getattr(node, 'value', None)
        if isinstance(node, ast.Assign) and [dotted(target) for target in node.targets] == [name]:
            if isinstance(alias_of, ast.Name) and alias_of.id != name and alias_of.id in names_of(trees[module]):
                return origin(module, alias_of.id, trees)
    return module, name


def clashes(trees: dict[str, ast.Module]) -> dict[str, list[str]]:
    "Exported name -> the modules that export different things under it."
    owners = defaultdict(dict)
    for module, tree in trees.items():
        if module.startswith('exercises.'):
            continue
        for name in exports(tree):
            owners[name].setdefault(origin(module, name, trees), module)
    return {name: sorted(found.values()) for name, found in sorted(owners.items()) if len(found) > 1}


def test_one_name_is_one_thing():
    found = clashes(all_modules())
    report([f"{name}: {', '.join(modules)}" for name, modules in found.items() if name not in ALLOWED_CLASHES])
    assert set(ALLOWED_CLASHES) <= set(found), 'a clash that is gone needs no exemption'


def test_a_clash_is_found():
    one = '__all__ = ["f"]\ndef f(): return 1'
    assert clashes(trees_of(a=one, b=one)) == {'f': ['a', 'b']}
    assert clashes(trees_of(a=one, b='__all__ = ["f"]\nfrom .a import f', c='__all__ = ["f"]\nfrom .b import f')) == {}
    assert clashes(trees_of(a=one, b='__all__ = ["f"]\nfrom .a import f as g\nf = g')) == {}


# ---- JavaScript and CSS stand in files of their own

SCRIPT = re.compile(r'\bfunction\s*\w*\s*\(|=>\s*\{|\bexport\s+default\b|\.agnb-[\w-]*[^{}\n]*\{')


def scripts(trees: dict[str, ast.Module]) -> list[str]:
    problems = []
    for module, tree in trees.items():
        documents = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, (*execute.DOCUMENTED, ast.Module)) and ast.get_docstring(node) is not None
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
                match = SCRIPT.search(node.value)
                if match:
                    where = f'animegan_nb/{module.replace(".", "/")}.py:{node.lineno}'
                    problems.append(f'{where}: {match[0]!r} belongs in a file under animegan_nb/static')
    return problems


def test_no_scripts_in_strings():
    report(scripts(all_modules()))


@pytest.mark.parametrize(
    'text',
    ['function render(a) {}', 'el.on(x => { y })', 'export default { render }', '.agnb-panel > button { color: red }'],
)
def test_a_script_is_found(text):
    assert scripts(trees_of(a=f'x = """\n{text}\n"""'))
    assert scripts(trees_of(a=f'x = f"""{{y}}\n{text.replace("{", "{{").replace("}", "}}")}\n"""'))


def test_text_is_no_script():
    assert scripts(trees_of(a='def f():\n    """A function (of x).\n    .agnb-x {y}"""\nx = "a function of x"')) == []


# ---- every module has its notebook, and every notebook its number


def misplaced(notebooks: dict[Path, dict], modules, nbs: Path, plan: dict[int, str]) -> list[str]:
    "What does not follow  nbs/NN_name.ipynb <-> animegan_nb/name.py  (and the same in exercises/)."
    problems, expected = [], set()
    chapters = {path.stem for path in notebooks if path.parent == nbs and path.stem != 'index'}
    for path, notebook in notebooks.items():
        folder = path.parent.relative_to(nbs).as_posix()
        if folder.split('/')[0] == 'course' or path.stem == 'index':
            continue
        shown = path.relative_to(nbs).as_posix()
        match = re.fullmatch(r'(\d\d)_([a-z][a-z0-9_]*)', path.stem)
        if not match or folder not in ('.', 'exercises'):
            problems.append(f'nbs/{shown}: a chapter is called nbs/NN_name.ipynb or nbs/exercises/NN_name.ipynb')
            continue
        number, name = int(match[1]), match[2]
        if plan.get(number) != name:
            problems.append(f'nbs/{shown}: number {number:02} is {plan.get(number, "free")!r} in the plan')
        module = name if folder == '.' else f'exercises.{name}'
        if folder == 'exercises' and path.stem not in chapters:
            problems.append(f'nbs/{shown}: there is no chapter nbs/{path.stem}.ipynb')
        if module in WITHOUT_MODULE:
            continue
        expected.add(module)
        source = '\n'.join(''.join(cell['source']) for cell in notebook['cells'] if cell['cell_type'] == 'code')
        exported = re.findall(r'^#\|\s*default_exp\s+(\S+)', source, re.M)
        if exported != [module]:
            problems.append(f'nbs/{shown}: it exports to {exported}, not to {module!r}')
    problems += [f'{name}: a module without a notebook' for name in sorted(set(modules) - expected)]
    problems += [f'{name}: a notebook without a module' for name in sorted(expected - set(modules))]
    return problems


def test_every_module_has_its_notebook():
    report(misplaced(all_notebooks(), all_modules(), NBS, PLAN))


@pytest.mark.parametrize(
    'stem, export, modules',
    [
        ('20_losses', 'losses', []),
        ('20_losses', 'losses', ['losses', 'other']),
        ('20_losses', 'other', ['losses', 'other']),
        ('21_losses', 'losses', ['losses']),
        ('losses', 'losses', ['losses']),
        ('20_Losses', 'losses', ['losses']),
        ('exercises/20_losses', 'exercises.losses', ['exercises.losses']),
        ('more/20_losses', 'losses', ['losses']),
    ],
)
def test_a_misplaced_notebook_is_found(stem, export, modules):
    notebook = example_notebook(f'#| default_exp {export}')
    assert misplaced({NBS / f'{stem}.ipynb': notebook}, modules, NBS, PLAN)
    fine = {NBS / '20_losses.ipynb': example_notebook('#| default_exp losses')}
    assert misplaced(fine, ['losses'], NBS, PLAN) == []


# ---- the package imports its chapters when they are needed


def fresh(*arguments: str) -> str:
    "What a fresh Python prints."
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, text=True, capture_output=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout


WATCHED = ['torch', 'cv2', 'trimesh', 'skimage', 'matplotlib.pyplot', 'decimal']
STEPS = {
    'import': 'import animegan_nb',
    'dir': 'names = dir(animegan_nb)',
    'unknown': 'there = hasattr(animegan_nb, "no_such_chapter")',
    'decimal': 'import decimal',
    'training': 'chapter = animegan_nb.training.__name__',
    'presets': 'import animegan_nb.cli\nassert animegan_nb.cli.main(["presets"]) == 0',
}


@pytest.fixture(scope='module')
def fresh_python():
    "What one fresh Python has loaded after each step, and what it found."
    program = ['import json, sys', 'loaded = {}']
    for step, code in STEPS.items():
        program += [code, f'loaded[{step!r}] = [name for name in {WATCHED} if name in sys.modules]']
    program += ['print(json.dumps([loaded, names, there, chapter]))']
    return json.loads(fresh('-c', '\n'.join(program)).splitlines()[-1])


def test_chapters_are_imported_when_they_are_needed(fresh_python):
    loaded, names, there, chapter = fresh_python
    assert loaded['import'] == [], 'import animegan_nb is to import nothing'
    assert loaded['dir'] == [], 'a list of the chapters needs no import'
    assert {name for name in all_modules() if '.' not in name} <= set(names)
    assert not there
    assert chapter == 'animegan_nb.training'


def test_the_presets_are_listed_without_heavy_packages(fresh_python):
    assert not {'cv2', 'trimesh', 'skimage', 'matplotlib.pyplot'} & set(fresh_python[0]['presets'])


def test_a_heavy_import_is_found(fresh_python):
    assert 'decimal' in fresh_python[0]['decimal']
    assert 'torch' in fresh_python[0]['training']


def test_the_package_is_a_command():
    assert 'animegan' in fresh('-m', 'animegan_nb', '--help')
