"""Every widget of the library in a real JupyterLab: alive while its kernel is, an image in the saved file,
and an image that is *seen* when the file is opened again without that kernel."""

import json
from pathlib import Path

import pytest


pytestmark = pytest.mark.browser

TESTS = str(Path(__file__).resolve().parents[1])
SETUP = f'''import sys; sys.path.insert(0, {TESTS!r})
import torch; torch.set_num_threads(1)
from tiny import *
"ready"'''
# class → a cell that shows one
WIDGETS = {
    'HeadExplorer': 'from animegan_nb.widgets import HeadExplorer\nHeadExplorer(size=32)',
    'FaceMaker': "from animegan_nb.conditional import FaceMaker\nFaceMaker(n=4, hair_colour='pink')",
    'LatentExplorer': (
        'from animegan_nb.latents import LatentExplorer, StyleMixer\n'
        'from animegan_nb.stylegan import pretrained_stylegan\n'
        "generator, _ = pretrained_stylegan()\nstep = torch.randn(generator.mapping.w_avg.shape[-1])\n"
        "LatentExplorer(generator, {'hair_colour=blonde': step, 'background=0': -step}, scale=3)"
    ),
    'StyleMixer': 'StyleMixer(generator, scale=3)',
    'InversionViewer': (
        'from animegan_nb.inversion import InversionViewer\n'
        'InversionViewer(generator, torch.zeros(1, 3, 32, 32), alpha=0.0, steps=8, scale=3).run(4)'
    ),
    'Animefier': (
        'from animegan_nb.crossdomain import Animefier\n'
        'Animefier(generator, generator, torch.zeros(1, 3, 32, 32), steps=2, scale=3)'
    ),
    'RayInspector': (
        'from animegan_nb.cameras import pose, rays\nfrom animegan_nb.raymarch import RayInspector\n'
        'field = lambda p, d=None: ((p + 1)/2, 30*torch.sigmoid(40*(.5 - p.norm(dim=-1))))\n'
        'RayInspector(field, *rays(pose(.3, radius=2.), 40., 16), 1.3, 2.7, 16)'
    ),
    'OrbitViewer': (
        'from animegan_nb.orbit import FieldSource, OrbitViewer\n'
        'ball = lambda p, d=None: (p*5 + .5, 600*torch.sigmoid(400*(.1 - p.norm(dim=-1))))\n'
        "OrbitViewer(FieldSource(ball, samples=12, fine=12, name='ball'), sizes=(16, 32))"
    ),
    'TrainingDashboard': (
        'from test_dashboard import trainer\nfrom animegan_nb.dashboard import TrainingDashboard\n'
        'TrainingDashboard(trainer(), steps=20).run()'
    ),
}


def test_every_widget_of_the_library_is_tried():
    import animegan_nb
    from animegan_nb.widgets import RichDisplay

    for chapter in dir(animegan_nb):
        getattr(animegan_nb, chapter)

    def below(cls):
        return {cls}.union(*map(below, cls.__subclasses__()))

    known = {c for c in below(RichDisplay) if c.__module__.startswith('animegan_nb.')}
    live = {c.__name__ for c in known if 'widget' in vars(c)} - {'RichDisplay'}
    assert live == set(WIDGETS)


def check_alive(page, i, name):
    "The widget stands in the place of the image of its cell, and has drawn something."
    live = page.cell(i).locator('.agnb-live')
    page.until(lambda: live.count() == 1, 60, f'the live {name}')
    assert not page.cell(i).locator('.jp-RenderedImage > img').first.is_visible()
    page.until(lambda: live.locator('img').first.evaluate('e => e.naturalWidth') > 8, 60, f'an image of {name}')


@pytest.fixture(scope='module')
def saved(lab):
    "The notebook, run and saved; its kernel is gone."
    with lab.open([SETUP, *WIDGETS.values()], name='all', size=(1180, 1400)) as page:
        page.run(0, 240)
        for i, name in enumerate(WIDGETS, 1):
            page.run(i, 240)
            check_alive(page, i, name)
        assert page.our_errors() == []
        page.save()
        path = page.path
    lab.end_kernels()
    return path


def test_no_widget_is_stored(saved):
    text = saved.read_text()
    assert 'widget-view' not in text and 'widget-state' not in text and '"widgets"' not in text
    for cell in json.loads(text)['cells'][1 : 1 + len(WIDGETS)]:
        (output,) = cell['outputs']
        (kind,) = set(output['data']) - {'text/plain'}
        assert kind.startswith('image/') and output['metadata'][kind]['alt']


@pytest.fixture(scope='module')
def reopened(lab, saved):
    with lab.reopen(saved) as page:
        page.page.wait_for_timeout(3000)  # a widget manager would report its missing models by now
        yield page


@pytest.mark.parametrize('name', WIDGETS)
def test_a_reopened_notebook_shows_the_image(reopened, name):
    output = reopened.output(1 + list(WIDGETS).index(name))
    output.first.scroll_into_view_if_needed()
    image = output.locator('img')
    reopened.until(image.is_visible, what='the image')
    size = image.bounding_box()
    assert image.evaluate('e => e.complete && e.naturalWidth') > 20 and min(size['width'], size['height']) > 20
    assert output.all_inner_texts() == ['']  # no words: no error, no name of a missing widget
    assert output.locator('.agnb-live').count() == 0


def test_a_page_of_the_file_has_the_images_and_their_descriptions(saved):
    from nbconvert import HTMLExporter

    page, _ = HTMLExporter().from_filename(str(saved))
    assert page.count('src="data:image/') == len(WIDGETS) and 'widget-view' not in page
