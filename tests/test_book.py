"The sources of the site: which chapters, in which order, and what readers do not see of a notebook."

import json
import sys

import pytest
from test_house import NBS, ROOT

sys.path.append(str(ROOT / 'book'))
import docstrings  # noqa: E402
import make_book as build  # noqa: E402

# ---- the order


def test_every_chapter_is_in_the_book_once():
    names = [name for found in build.chapters_of(NBS).values() for name in found]
    assert sorted(names) == sorted(path.stem for path in NBS.glob('[0-9][0-9]_*.ipynb'))


def test_the_road_comes_before_the_workshop(tmp_path):
    names = '00_first_gan 01_core 10_training 20_losses 25_augment 31_stylegan 40_perceptual 50_raymarch 60_triplane'
    for name in f'{names} 71_cli'.split():
        (tmp_path / f'{name}.ipynb').touch()
    found = [name for names in build.chapters_of(tmp_path).values() for name in names]
    road = '00_first_gan 20_losses 25_augment 31_stylegan 40_perceptual 50_raymarch 60_triplane'
    assert found == f'{road} 01_core 10_training 71_cli'.split()


# ---- a notebook for readers


def notebook_of(*cells) -> dict:
    "Text becomes a Markdown cell, a tuple of text and tags a code cell."
    made = [{'cell_type': 'markdown', 'metadata': {}, 'source': ['# Losses\n', '\n', '> How.']}]
    for cell in cells:
        if isinstance(cell, str):
            made.append({'cell_type': 'markdown', 'metadata': {}, 'source': [cell]})
        else:
            source, *tags = cell
            metadata = {'tags': tags} if tags else {}
            made.append({'cell_type': 'code', 'metadata': metadata, 'source': [source], 'outputs': []})
    return {'cells': made, 'metadata': {}}


def code_of(notebook: dict) -> list[str]:
    return [build.source_of(cell) for cell in notebook['cells'] if cell['cell_type'] == 'code']


def is_folded(cell: dict) -> bool:
    return 'hide-input' in cell['metadata'].get('tags', [])


def test_what_only_nbdev_needs_is_gone():
    before = notebook_of(
        ('#| default_exp losses',),
        ('#| export\ndef f():\n    return 1',),
        ('#| hide\nassert f() == 1',),
        ('f()\n#| slow\nf()',),
        ('#| export\n#| hide_input',),
    )
    untouched = json.loads(json.dumps(before))
    assert code_of(build.prepared(before)) == ['def f():\n    return 1', 'f()\nf()']
    assert before == untouched


def test_set_up_is_gone_and_a_line_says_where_to_run_it():
    prepared = build.prepared(notebook_of(('%pip install x', 'setup'), ('1 + 1',)), '20_losses')
    assert code_of(prepared) == ['1 + 1']
    line = build.source_of(prepared['cells'][1])
    assert 'colab.research.google.com' in line and line.count('nbs/20_losses.ipynb') == 2


def test_imports_are_folded_into_one():
    prepared = build.prepared(
        notebook_of(
            ('#| export\nfrom __future__ import annotations\nimport torch',),
            ('import time\nimport math\nbudget = 1',),
            ('import time\nstart = time.time()\nprint(start)',),
        )
    )
    first, second = prepared['cells'][1:]
    assert is_folded(first) and build.source_of(first).count('import') == 4
    assert not is_folded(second)


def test_the_first_page_shows_what_comes_out():
    notebook = notebook_of(('import torch',), ('show()',))
    picture = {'data': {'image/png': ''}, 'metadata': {'image/png': {'alt': 'a head'}}}
    notebook['cells'][2]['outputs'] = [picture]
    (cell,) = build.prepared(notebook, only_outputs=True)['cells'][1:]
    assert build.source_of(cell) == 'show()' and cell['metadata']['tags'] == ['remove-input']
    assert cell['metadata']['mystnb'] == {'image': {'alt': 'a head'}}


def test_workings_are_folded():
    cells = build.prepared(
        notebook_of(
            '## The loss', ('f()',), '## Bad input is answered', ('g()',), '### More', ('h()',), '## End', ('i()',)
        )
    )['cells']
    assert [build.source_of(cell) for cell in cells if is_folded(cell)] == ['g()', 'h()']


def test_no_cell_is_lost_without_a_reason():
    "All text of every chapter is on the site, and all code but nbdev's, set-up and hidden cells."
    for path in NBS.glob('[0-9][0-9]_*.ipynb'):
        notebook = json.loads(path.read_text(encoding='utf-8'))
        prepared = build.prepared(notebook)
        shown = '\n'.join(map(build.source_of, prepared['cells']))
        for cell in notebook['cells']:
            source = build.source_of(cell)
            if build.SETUP in cell['metadata'].get('tags', []) or 'hide' in build.directives(source):
                continue
            assert build.DIRECTIVE.sub('', source).strip('\n') in shown, (path.stem, source[:60])


def test_links_to_the_repository():
    text = '[a](nbs/20_losses.ipynb) [b](LICENSE) [c](https://x.org) [d](#part) [e](tests/browser/lab.py)'
    base = f'https://github.com/{build.REPOSITORY}/blob/main'
    assert build.with_absolute_links(text) == (
        f'[a](20_losses.ipynb) [b]({base}/LICENSE) [c](https://x.org) [d](#part) [e]({base}/tests/browser/lab.py)'
    )


def test_a_page_that_has_not_changed_keeps_its_time(tmp_path):
    for only in (('20_losses', '21_penalties'), ('20_losses',)):
        build.Site(tmp_path, only=only).stage()
        times = {path.name: path.stat().st_mtime_ns for path in tmp_path.rglob('*') if path.is_file()}
        if len(only) == 2:
            before = times
    assert times['losses.rst'] == before['losses.rst']
    assert '21_penalties.ipynb' in before and '21_penalties.ipynb' not in times


# ---- docstrings


@pytest.mark.parametrize(
    'text, expected',
    [
        ('of `ws` [batch, 3]', 'of ``ws`` [batch, 3]'),
        ('the `image`s', r'the ``image``\ s'),
        ('`a` that names `b`, x`c`', r'``a`` that names ``b``, x\ ``c``'),
        ('w_avg_ and *args | z', r'w\_avg\_ and \*args \| z'),
        ('E[(‖∇D(x̂)‖ − center)²]', 'E[(‖∇D(x̂)‖ − center)²]'),
    ],
)
def test_markdown_becomes_rst(text, expected):
    assert docstrings.plain(text) == expected


def test_an_indented_block_is_shown_as_it_is():
    lines = docstrings.as_rst(['Trains.', '', '    f(*x)', '    g(x)', 'Then `y`.'])
    assert '::' in lines and '    f(*x)' in lines and 'Then ``y``.' in lines


def test_the_sections_that_help_shows_are_kept_for_napoleon():
    lines = ['Of `w_avg`.', '', 'Parameters', '----------', 'real, fake : Tensor | None', '    [batch, n_c], `x`']
    docstrings.describe(None, 'function', 'f', None, None, lines)
    assert lines[0] == 'Of ``w_avg``.' and lines[2:4] == ['Parameters', '----------']
    assert lines[4:] == ['real, fake : Tensor | None', r'    [batch, n\_c], ``x``']


def test_the_word_parameters_alone_begins_no_section():
    assert docstrings.sections_begin(['Parameters', 'of a network.']) == 2
