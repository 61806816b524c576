"The cells at the top of a chapter that make it run on Colab: they install what is missing, and do nothing at home."

import ast
import importlib.util
import json
import re
import sys

import pytest
from packaging.requirements import Requirement
from test_house import execute, NBS, ROOT

sys.path.append(str(ROOT / '.ci'))
import run_it  # noqa: E402


def chapter(*sources: str) -> dict:
    cells = [{'cell_type': 'markdown', 'id': 'a', 'metadata': {}, 'source': ['# Losses\n', '\n', '> How.']}]
    for number, source in enumerate(sources):
        cells.append({'cell_type': 'code', 'id': f'c{number}', 'metadata': {}, 'outputs': [], 'source': [source]})
    return {'cells': cells, 'metadata': {'animegan_nb': {'outputs_of': '0'}}}


def test_they_stand_below_the_title_and_change_nothing_else():
    before = chapter('#| default_exp losses', 'x = 1')
    after = run_it.with_setup(before, '20_losses')
    badge, install = after['cells'][1:3]
    assert after['cells'][0] == before['cells'][0] and after['cells'][3:] == before['cells'][1:]
    assert after['metadata'] == before['metadata']
    assert badge['cell_type'] == 'markdown' and '/blob/main/nbs/20_losses.ipynb)' in badge['source'][0]
    assert install['cell_type'] == 'code' and install['outputs'] == []


def test_they_are_replaced_and_not_repeated():
    once = run_it.with_setup(chapter('x = 1'), '20_losses')
    assert run_it.with_setup(once, '20_losses') == once
    old = json.loads(json.dumps(once))
    old['cells'][2]['source'] = ['an old way to install']
    assert run_it.with_setup(old, '20_losses') == once
    ids = [cell['id'] for name in ('20_losses', '21_penalties') for cell in run_it.setup_cells(name)]
    assert len(set(ids)) == 4


def test_no_output_becomes_older_than_its_code():
    before = chapter('#| default_exp losses', 'x = 1')
    assert execute.code_hash(run_it.with_setup(before, '20_losses')) == execute.code_hash(before)
    marked = chapter('x = 1', 'x = 2')
    marked['cells'][2]['metadata']['tags'] = ['slow']  # any other tag changes nothing: the cell counts
    assert execute.code_hash(marked) != execute.code_hash(chapter('x = 1'))


def test_the_file_is_as_nbdev_writes_it(tmp_path):
    path = tmp_path / '20_losses.ipynb'
    notebook = json.loads((NBS / '20_losses.ipynb').read_text(encoding='utf-8'))
    notebook['cells'] = [cell for cell in notebook['cells'] if not execute.is_setup(cell)]
    path.write_text(json.dumps(notebook))
    assert run_it.update(path)
    once = path.read_bytes()
    assert not run_it.update(path)
    execute.replace_file(path, execute.cleaned_text(json.loads(once)))
    assert path.read_bytes() == once


class Shell:
    "Stands for IPython: it notes the magics that a cell calls."

    def __init__(self):
        self.magics = []

    def run_line_magic(self, name, line):
        self.magics.append(f'{name} {line}')


def magics_of(cell: dict, monkeypatch, installed: bool) -> list[str]:
    from IPython.core.inputtransformer2 import TransformerManager

    shell = Shell()
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: object() if installed else None)
    code = TransformerManager().transform_cell(''.join(cell['source']))
    exec(compile(code, 'cell', 'exec'), {'get_ipython': lambda: shell})
    return shell.magics


def test_a_missing_library_is_installed(monkeypatch):
    (call,) = magics_of(run_it.setup_cells('20_losses')[1], monkeypatch, installed=False)
    assert call.startswith('pip install') and '--quiet' in call and run_it.REPOSITORY in call


def test_an_installed_library_is_left_alone(monkeypatch, capsys):
    assert magics_of(run_it.setup_cells('20_losses')[1], monkeypatch, installed=True) == []
    assert capsys.readouterr() == ('', '')
    tree = ast.parse(''.join(run_it.setup_cells('20_losses')[1]['source']).replace('%pip', 'pip #'))
    imported = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert [node.module for node in imported] == ['importlib.util']  # neither the library nor PyTorch is loaded


def test_what_it_installs_exists():
    "The extra that the cell names is one of the package's, and is installed beside a Jupyter that is there already."
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))['project']
    wanted = Requirement(re.search(r'"(.+)"$', run_it.INSTALL)[1])  # as pip reads it
    assert wanted.name == project['name'] and wanted.url == f"git+{project['urls']['Homepage']}"
    assert wanted.extras == {'colab'} <= set(project['optional-dependencies'])
    assert not [name for name in project['optional-dependencies']['colab'] if name.startswith('jupyter')]
    assert project['urls']['Homepage'] == f'https://github.com/{run_it.REPOSITORY}'


def test_a_chapter_without_them_is_found(tmp_path):
    path = tmp_path / '20_losses.ipynb'
    path.write_text(json.dumps(chapter('x = 1')))
    assert run_it.update(path, write=False) and 'Colab' not in path.read_text()
    assert run_it.update(path) and not run_it.update(path, write=False)
    with pytest.raises(SystemExit, match='no notebook'):
        run_it.main(['loses'])


@pytest.mark.parametrize('path', run_it.find_chapters(NBS), ids=lambda path: path.stem)
def test_every_chapter_has_them(path):
    assert not run_it.update(path, write=False), 'run  make run-it  and commit'
