"The widget kit: MIME bundles with a plain image, panels, static files, and the newest request wins."

import base64
import io
import re
import sys
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from animegan_nb import widgets
from animegan_nb.widgets import HeadExplorer, Newest, RichDisplay, WIDGET_VIEW, panel, png_bytes


class Square(RichDisplay):
    def __init__(self, side=20):
        self.side = side

    def image(self, side=20, name='red'):
        return Image.new('RGB', (int(side), int(side)), name)

    def still_image(self):
        return self.image(self.side)

    def widget(self):
        controls = {'side': widgets.slider('side', 1, 50, 20, step=1), 'name': widgets.menu('name', ('red', 'blue'))}
        return panel(self.image, controls)


def decoded(bundle) -> Image.Image:
    kind = next(kind for kind in bundle if kind.startswith('image/'))
    return Image.open(io.BytesIO(base64.b64decode(bundle[kind])))


# ---- what a page gets


def test_a_bundle_holds_the_widget_and_a_plain_image():
    pytest.importorskip('ipywidgets')
    bundle = Square()._repr_mimebundle_()
    assert set(bundle) == {WIDGET_VIEW, 'image/png', 'text/plain'}
    assert decoded(bundle).size == (20, 20)
    assert 'Square' in bundle['text/plain']


def test_without_ipywidgets_it_is_a_plain_image(monkeypatch):
    monkeypatch.setitem(sys.modules, 'ipywidgets', None)
    assert set(Square()._repr_mimebundle_()) == {'image/png', 'text/plain'}


def test_without_a_widget_it_is_a_plain_image():
    class Still(RichDisplay):
        def still_image(self):
            return Image.new('RGB', (3, 2))

    bundle = Still()._repr_mimebundle_()
    assert set(bundle) == {'image/png', 'text/plain'} and decoded(bundle).size == (3, 2)


def test_an_error_in_a_widget_is_not_hidden():
    class Broken(Square):
        def widget(self):
            raise RuntimeError('broken')

    with pytest.raises(RuntimeError, match='broken'):
        Broken()._repr_mimebundle_()


def test_a_plain_image_keeps_its_limit():
    class Noise(RichDisplay):
        max_bytes = 9000

        def still_image(self):
            pixels = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
            return Image.fromarray(pixels)

    kind, data = Noise().encoded()
    assert kind == 'image/jpeg' and len(data) <= 9000


def test_a_bundle_with_metadata_is_understood():
    class Live:
        def _repr_mimebundle_(self):
            return {WIDGET_VIEW: 1, 'text/plain': 'x'}, {'facts': 2}

    class Silent:
        def _repr_mimebundle_(self):
            return None

    assert widgets.live_view(Live) == {WIDGET_VIEW: 1}
    assert widgets.live_view(Silent) == {}


# ---- panels


def test_a_panel_draws_what_its_controls_say():
    pytest.importorskip('ipywidgets')
    box = Square().widget()
    image, controls = box.children[0], {c.description: c for c in box.children[1].children}
    size = lambda: Image.open(io.BytesIO(image.value)).size
    assert size() == (20, 20) and 'agnb-panel' in box._dom_classes
    controls['side'].value = 7
    assert size() == (7, 7)
    controls['name'].value = 'blue'
    assert Image.open(io.BytesIO(image.value)).getpixel((0, 0)) == (0, 0, 255)


def test_controls_begin_with_their_value():
    pytest.importorskip('ipywidgets')
    assert widgets.number('seed', 7).value == 7
    assert widgets.choice('layers', ['a', 'b']).value == 'a'
    assert widgets.choice('layers', ['a', 'b'], 'b').value == 'b'
    assert widgets.menu('hair', ('x', 'y'), 'y').value == 'y'


@pytest.mark.parametrize('scale', [1, 3])
def test_an_image_is_enlarged_exactly(scale):
    images = torch.rand(1, 3, 5, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    small = np.asarray(Image.open(io.BytesIO(png_bytes(images))))
    large = np.asarray(Image.open(io.BytesIO(png_bytes(images, scale))))
    assert small.shape == (5, 4, 3)
    assert (large == small.repeat(scale, 0).repeat(scale, 1)).all()


@pytest.mark.parametrize('exact', [True, False])
def test_a_data_url_holds_the_image(exact):
    image = Image.new('RGB', (6, 4), (10, 200, 30))
    head, _, data = widgets.data_url(image, exact).partition(',')
    assert head == f'data:image/{"png" if exact else "jpeg"};base64'
    back = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))), int)
    assert back.shape == (4, 6, 3) and abs(back - np.asarray(image, int)).max() <= (0 if exact else 3)


# ---- static files


def test_static_files_are_found_and_a_wrong_name_is_answered():
    assert 'export default { render }' in widgets.static_file('orbit.js')
    with pytest.raises(ValueError, match=r'no static file .*agnb\.css'):
        widgets.static_file('other.js')


def test_every_class_of_the_stylesheet_is_ours(root):
    css = re.sub(r'/\*.*?\*/', '', widgets.static_file('agnb.css'), flags=re.S)
    lines = re.sub(r'\{[^}]*\}', '\n', css).replace(',', '\n').splitlines()
    selectors = [line.strip() for line in lines if line.strip()]
    assert len(selectors) > 40 and all(s.startswith('.agnb-') for s in selectors)
    assert {path.suffix for path in (root / 'animegan_nb' / 'static').iterdir()} == {'.css', '.js'}


# ---- the newest request


def test_the_newest_request_is_served_and_an_error_survived():
    gate, served = threading.Event(), []

    def work(request):
        gate.wait(5)
        if request == 'bad':
            raise RuntimeError('no')
        served.append(request)

    mailbox = Newest(work)
    for i in range(30):
        mailbox.submit(i)
    gate.set()
    mailbox.wait()
    assert served[-1] == 29 and len(served) <= 2 and mailbox.done + mailbox.dropped == 30
    mailbox.submit('bad')
    with pytest.raises(RuntimeError, match='no'):
        mailbox.wait()
    mailbox.submit('good')
    mailbox.wait()
    assert served[-1] == 'good'


def test_a_request_knows_that_it_is_superseded():
    begun, gate, answers = threading.Event(), threading.Event(), []

    def work(request):
        begun.set()
        gate.wait(5)
        answers.append(mailbox.superseded())

    mailbox = Newest(work)
    mailbox.submit(1)
    begun.wait(5)
    mailbox.submit(2)
    gate.set()
    mailbox.wait()
    assert answers == [True, False]


# ---- the head explorer


def test_the_head_explorer_is_an_image_without_a_kernel():
    bundle = HeadExplorer(size=24)._repr_mimebundle_()
    assert decoded(bundle).size == (24, 24) and 'image/png' in bundle


def test_the_head_explorer_answers_its_controls():
    pytest.importorskip('ipywidgets')
    explorer = HeadExplorer(size=24)
    box = explorer.widget()
    image, controls = box.children[0], {c.description: c for c in box.children[1].children}
    assert image.value == png_bytes(explorer.image())
    controls['yaw'].value = 1.0
    assert image.value == png_bytes(explorer.image(yaw=1.0)) != png_bytes(explorer.image())
    controls['hair colour'].value = 'pink'
    assert image.value == png_bytes(explorer.image(yaw=1.0, hair_colour='pink'))
