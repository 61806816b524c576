"""What every viewer of notebooks can show: JupyterLab, GitHub, Colab, VS Code, the site.

They differ in what they do first, Markdown or equations. What is forbidden here is read in two ways.
"""

import json
import re

import pytest
from test_notebooks import name_of, NOTEBOOKS, source_of

CODE = re.compile(r'```.*?```|`[^`\n]*`', re.S)
DISPLAY = re.compile(r'\$\$(.*?)\$\$', re.S)
INLINE = re.compile(r'\$([^$]*)\$')


def equations(text: str) -> list[str]:
    return [*DISPLAY.findall(text), *INLINE.findall(DISPLAY.sub(' ', text))]


def ambiguous(markdown: str) -> list[str]:
    "The faults of one Markdown cell."
    text, faults = CODE.sub('', markdown), []
    for equation in equations(text):
        if re.search(r'<(?=[A-Za-z/!?])', equation):
            faults.append(f'read as HTML, write \\lt or spaces: {equation.strip()}')
        if '\\operatorname' in equation:
            faults.append(f'refused in Markdown on GitHub, write \\mathrm: {equation.strip()}')
    for equation in INLINE.findall(DISPLAY.sub(' ', text)):
        if '\n' in equation or equation != equation.strip():
            faults.append(f'an equation in a line begins and ends with a letter, in that line: {equation!r}')
    if DISPLAY.sub(' ', text).count('$') % 2:
        faults.append('a lonely $')
    for line in text.split('\n'):
        if line.lstrip().startswith('|') and any('|' in equation for equation in equations(line)):
            faults.append(f'a bar ends the column of a table, write \\lvert: {line}')
    if re.search(r'\S[^\S\n]*\$\$', DISPLAY.sub('', text)):
        faults.append('a lonely $$')
    for found in DISPLAY.finditer(text):
        before, after = text[: found.start()].rpartition('\n')[2], text[found.end() :].partition('\n')[0]
        if before.strip(' >-*') or after.strip():
            faults.append(f'a displayed equation has lines of its own: {found[1].strip()}')
    return faults


def relative_faults(markdown: str) -> list[str]:
    "Images of Markdown that are neither in the cell nor on a server are not shown by Colab."
    return re.findall(r'!\[[^\]]*\]\((?!https://|data:|attachment:)([^)]*)\)', CODE.sub('', markdown))


@pytest.mark.parametrize('path', NOTEBOOKS, ids=name_of)
def test_every_viewer_reads_the_same(path):
    notebook = json.loads(path.read_text(encoding='utf-8'))
    cells = [source_of(cell) for cell in notebook['cells'] if cell['cell_type'] == 'markdown']
    assert [fault for cell in cells for fault in ambiguous(cell)] == []
    assert [picture for cell in cells for picture in relative_faults(cell)] == []


@pytest.mark.parametrize(
    'wrong, right',
    [
        (r'$\prod_{j<i} x_j$', r'$\prod_{j \lt i} x_j$ and $a < b$'),
        (r'$\operatorname{tr} A$', r'$\mathrm{tr}\,A$'),
        ('$ x$', '$x$'),
        ('$x +\ny$', '$x + y$'),
        ('5 $ a day', '`$x` and `a $ b`'),
        ('| $|x|$ | y |', r'| $\lvert x \rvert$ | $y$ |'),
        ('so $$ x $$ holds', 'so\n\n$$ x $$\n\nholds'),
        ('$$ x $$ holds', '> $$\n> x\n> $$'),
    ],
)
def test_what_is_read_in_two_ways_is_found(wrong, right):
    assert ambiguous(wrong) and ambiguous(right) == []


def test_an_image_beside_the_notebook_is_found():
    assert relative_faults('![a](b.png)') == ['b.png']
    assert relative_faults('![a](https://x.org/b.png) `![a](b.png)`') == []
