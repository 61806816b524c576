"Every image of the book has words for those who do not see it: in the file, and in a page that is made of it."

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from animegan_nb import core

NOTHING = 'No description has been provided for this image'


def outputs_with_images(notebook):
    for cell in notebook['cells']:
        for output in cell.get('outputs', []):
            for kind in output.get('data', {}):
                if kind.startswith('image/'):
                    yield output, kind


def has_description(output, kind):
    return len(output.get('metadata', {}).get(kind, {}).get('alt', '')) >= len('8 images')


def notebooks(root):
    return sorted(
        p for p in (root / 'nbs').rglob('*.ipynb') if not any(x[0] in '._' for x in p.parts[len(root.parts) :])
    )


def test_every_image_of_the_book_is_described(root):
    missing = {
        path.stem
        for path in notebooks(root)
        for output, kind in outputs_with_images(json.loads(path.read_text(encoding='utf-8')))
        if not has_description(output, kind)
    }
    assert not missing


def test_every_image_in_the_text_is_described(root):
    texts = [p.read_text() for p in notebooks(root)] + [(root / 'README.md').read_text()]
    for text in texts:
        assert not re.search(r'!\[\s*\]\((?!data:)[^)]*\)', text) and not re.search(r'<img(?![^>]*alt=)[^>]*src=', text)


def described_page(output, kind):
    nbformat, nbconvert = pytest.importorskip('nbformat'), pytest.importorskip('nbconvert')
    cell = nbformat.v4.new_code_cell('x', outputs=[output])
    exporter = nbconvert.HTMLExporter(preprocessors=['animegan_nb.core.with_descriptions'])
    return exporter.from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))[0]


@pytest.mark.parametrize('kind', ['png', 'jpeg'])
def test_a_page_has_the_description_and_the_same_image(kind):
    nbformat = pytest.importorskip('nbformat')
    from bs4 import BeautifulSoup

    file = io.BytesIO()
    Image.new('RGB', (20, 10), 'navy').save(file, kind.upper())
    alt = 'a "quoted" <figure> & more'
    forms, facts = core.image_bundle(f'image/{kind}', file.getvalue(), alt, 'Figure')
    output = nbformat.v4.new_output('display_data', data=forms, metadata=facts)
    page = described_page(output, kind)
    (image,) = BeautifulSoup(page, 'html.parser').find_all('img')
    assert NOTHING not in page and image['alt'] == alt
    assert image['src'] == f'data:image/{kind};base64,{forms[f"image/{kind}"]}'
    assert 'text/html' not in output['data']  # the notebook stays as it was


def test_pages_made_in_the_environment_of_this_repository_describe(root, tmp_path):
    if Path(sys.prefix) != root / '.venv':
        pytest.skip('this Python is not that of `make`')
    nbformat = pytest.importorskip('nbformat')
    file = io.BytesIO()
    Image.new('RGB', (20, 10), 'navy').save(file, 'PNG')
    forms, facts = core.image_bundle('image/png', file.getvalue(), 'a navy rectangle', 'Figure')
    cell = nbformat.v4.new_code_cell('x', outputs=[nbformat.v4.new_output('display_data', data=forms, metadata=facts)])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / 'one.ipynb')
    call = [sys.executable, '-m', 'nbconvert', '--to', 'html', 'one.ipynb']
    subprocess.run(call, cwd=tmp_path, check=True, capture_output=True, timeout=300)
    page = (tmp_path / 'one.html').read_text(encoding='utf-8')
    assert 'alt="a navy rectangle"' in page and NOTHING not in page


# ---- figures describe themselves


def test_a_plot_says_what_is_drawn():
    fig, axes = core.figure(2, 2)
    axes[0, 0].plot([1, 2, 3], [2.0, np.nan, 0.5], label=r'$\psi$ loss')
    axes[0, 0].plot([1, 2], [0, 0])
    axes[0, 0].set(title='training', xlabel='step', ylabel='loss')
    axes[0, 1].bar(['a', 'b', 'c'], [1, 2, 3])
    axes[1, 0].scatter([1, 2], [3, 4])
    axes[1, 1].imshow(np.zeros((2, 2)))
    fig.suptitle('all')
    training = 'training: psi loss from 2 to 0.5, a line; across: step; upwards: loss'
    assert fig.alt_text() == f'all: 4 panels. {training}. 3 bars. 2 points. an image'
    fig.alt = 'my own words'
    forms, facts = fig._repr_mimebundle_()
    assert list(facts.values()) == [{'alt': 'my own words'}] and forms['text/plain'] == '<Figure: my own words>'


def test_a_grid_says_what_it_is_of():
    images = torch.zeros(6, 3, 8, 8)
    fig = core.show_images(images, 'heads', columns=3, column_titles=['a', 'b', 'c'], row_titles=['real', 'fake'])
    assert fig.alt_text() == 'heads: 6 images in 2 rows; columns: a, b, c; rows: real, fake'
    assert core.show_images(images[:1]).alt_text() == 'one image'
    assert core.show_images(images, alt='six black squares').alt_text() == 'six black squares'


def test_a_description_is_never_empty_or_endless():
    fig = core.Figure()
    assert fig.alt_text()
    ax = fig.subplots()
    for i in range(90):
        ax.plot([0, 1], [i, i], label=f'a curve with a name, number {i}')
    assert 300 < len(fig.alt_text()) < 510


def test_an_animation_is_described():
    frames = torch.zeros(4, 3, 8, 6)
    for alt in ('', 'a turning cube'):
        forms, facts = core.Animation(frames, alt=alt)._repr_mimebundle_()
        assert facts['image/png']['alt'] == (alt or 'an animation of 4 frames of 6×8 pixels')
        assert facts['image/png']['alt'] in forms['text/plain']


def test_a_line_across_a_panel_has_one_place():
    fig, ax = core.figure()
    ax.axvline(0.66, label='median')
    ax.axhline(3.5, label='floor')
    ax.plot([0, 1], [2, 7], label='loss')
    assert fig.alt_text() == 'median at 0.66, floor at 3.5, loss from 2 to 7'
