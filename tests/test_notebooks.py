"What keeps a notebook readable: small outputs, no widget state, no machine's paths, short cells, no silent skips."

import ast
import base64
import json
import re
from pathlib import Path

import pytest
from test_house import length  # in lines of code

NBS = Path(__file__).parent.parent / 'nbs'
NOTEBOOKS = sorted(
    path
    for path in NBS.rglob('*.ipynb')
    if not any(part.startswith(('.', '_')) for part in path.relative_to(NBS).parts)
)
CHAPTERS = [path for path in NOTEBOOKS if path.parent == NBS]  # and the index; not the exercises
MACHINE = re.compile(r'/(?:root|home|Users|work|tmp|mnt|opt)/[A-Za-z0-9_.-]+')
FOREIGN = {
    'application/javascript',
    'application/vnd.jupyter.widget-view+json',
    'application/vnd.jupyter.widget-state+json',
}
MAX_STILL = 120_000  # bytes
MAX_NOTEBOOK = 1_000_000
MAX_CELL_LINES = 60


def name_of(path: Path) -> str:
    return path.relative_to(NBS).with_suffix('').as_posix()


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding='utf-8'))


@pytest.fixture(params=NOTEBOOKS, ids=name_of)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return read(path)


def source_of(cell: dict) -> str:
    return ''.join(cell['source'])


def outputs(notebook):
    for cell in notebook['cells']:
        yield from cell.get('outputs', [])


def data(notebook):
    for output in outputs(notebook):
        for mime, content in output.get('data', {}).items():
            yield mime, content if isinstance(content, str) else ''.join(content)


def test_size(notebook):
    "A still image at most 120 kB; the file, animations and all, at most 1 MB."
    for mime, content in data(notebook):
        if not mime.startswith('image/'):
            continue
        raw = content.encode() if 'svg' in mime else base64.b64decode(content)
        animated = b'acTL' in raw[:2000]
        assert animated or len(raw) <= MAX_STILL
    assert len(json.dumps(notebook, ensure_ascii=False).encode()) <= MAX_NOTEBOOK


def test_text_is_short(notebook):
    for output in outputs(notebook):
        text = output.get('text') or output.get('data', {}).get('text/plain', '')
        assert len(text if isinstance(text, str) else ''.join(text)) <= 3000


def test_no_widget_state_no_counts_no_scripts(notebook):
    assert 'widgets' not in notebook['metadata']
    assert not FOREIGN & {mime for mime, _ in data(notebook)}
    assert all(cell.get('execution_count') is None for cell in notebook['cells'])
    assert all(output.get('execution_count') is None for output in outputs(notebook))


def test_no_path_of_a_machine(notebook):
    text = '\n'.join(content for mime, content in data(notebook) if not mime.startswith('image/'))
    text += '\n'.join(''.join(output.get('text', '')) for output in outputs(notebook))
    text += '\n'.join(map(source_of, notebook['cells']))
    assert not MACHINE.findall(text)


def test_no_errors_are_stored(notebook):
    assert not [output for output in outputs(notebook) if output['output_type'] == 'error']


def long_cells(notebook) -> list[str]:
    "The beginnings of cells with too many lines of code; the length of a class that fills its cell is no matter here."
    long = []
    for cell in notebook['cells']:
        source = source_of(cell)
        if cell['cell_type'] != 'code':
            continue
        try:
            tree = ast.parse(source)
            lines, body = length(tree), tree.body
        except SyntaxError:  # a line for IPython
            lines, body = len(source.splitlines()), []
        if lines > MAX_CELL_LINES and not (len(body) == 1 and isinstance(body[0], ast.ClassDef)):
            long.append(source[:60])
    return long


def test_cells_are_short(notebook):
    assert not long_cells(notebook)


def hidden_images(notebook) -> list[str]:
    "Ids of cells that end inside a block with images: only an expression that stands by itself is displayed."
    hidden = []
    for cell in notebook['cells']:
        try:
            last = ast.parse(source_of(cell)).body[-1:] if cell['cell_type'] == 'code' else []
        except SyntaxError:
            continue
        inner = last[0].body[-1] if last and isinstance(last[0], ast.With | ast.For | ast.If | ast.Try) else None
        call = inner.value if isinstance(inner, ast.Expr) else None
        if isinstance(call, ast.Call) and getattr(call.func, 'id', '') == 'show_images':
            hidden.append(cell['id'])
    return hidden


def test_images_are_displayed(notebook):
    assert not hidden_images(notebook)


def test_hidden_images_are_found():
    def of(source):
        return hidden_images({'cells': [{'cell_type': 'code', 'id': 'a', 'source': source}]})

    assert of('with file:\n    show_images(x)') == ['a']
    assert not of('with file:\n    x = 1\nshow_images(x)') and not of('def f():\n    show_images(x)')


def test_a_long_cell_is_found():
    def notebook(source):
        return {'cells': [{'cell_type': 'code', 'source': source}]}

    lines = '    x = 1\n' * 60
    assert long_cells(notebook(f'if True:\n{lines}'))
    assert long_cells(notebook(f'class A:\n{lines}\nb = 2'))
    assert long_cells(notebook(f'#| export\n@final\nclass A:\n{lines}')) == []


@pytest.mark.parametrize('path', CHAPTERS, ids=name_of)
def test_it_was_run(path):
    "A chapter stores its outputs: at least one image."
    assert any(mime.startswith('image/') for mime, _ in data(read(path)))


def test_skipped_cells_say_why(notebook):
    for cell in notebook['cells']:
        source = source_of(cell)
        if re.search(r'^#\|\s*(slow|cuda|eval:\s*false)', source, re.M):
            assert re.search(r'^#(?!\|)', source, re.M), source[:80]


def test_first_cells(notebook):
    first = source_of(notebook['cells'][0])
    assert re.match(r'# \S', first) and re.search(r'^> \S', first, re.M)


def dead_links(path: Path, text: str) -> list[str]:
    "Links to notebooks that do not exist; a link is relative to the notebook in which it stands."
    links = re.findall(r'\]\((?!\w+:)([^)#\s]+\.ipynb)(?:#[^)\s]*)?\)', text)
    return [link for link in links if not (path.parent / link).is_file()]


def test_links_lead_somewhere(path, notebook):
    cells = [source_of(cell) for cell in notebook['cells'] if cell['cell_type'] == 'markdown']
    assert not dead_links(path, '\n'.join(cells))


def test_a_dead_link_is_found(tmp_path):
    (tmp_path / 'exercises').mkdir()
    (tmp_path / '20_losses.ipynb').touch()
    (tmp_path / 'exercises' / '20_losses.ipynb').touch()
    chapter, exercises = tmp_path / '20_losses.ipynb', tmp_path / 'exercises' / '20_losses.ipynb'
    fine = '[a](20_losses.ipynb) [b](exercises/20_losses.ipynb#Part-1) [c](https://x.org/y.ipynb)'
    assert dead_links(chapter, fine) == []
    assert dead_links(exercises, '[the chapter](../20_losses.ipynb)') == []
    assert dead_links(chapter, '[a](21_penalties.ipynb)') == ['21_penalties.ipynb']
    assert dead_links(exercises, '[a](exercises/20_losses.ipynb)') == ['exercises/20_losses.ipynb']
