"The widget kit: a plain image in the file, panels, static files, and the newest request wins."

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
from animegan_nb.widgets import HeadExplorer, Newest, RichDisplay, WIDGET_VIEW, panel


class Square(RichDisplay):
    def __init__(self, side=20):
        self.side = side

    def image(self, side=20, name='red'):
        return Image.new('RGB', (int(side), int(side)), name)

    def still_image(self):
        return self.image(self.side)

    def alt_text(self):
        return 'a red square'

    def widget(self):
        controls = {'side': widgets.slider('side', 1, 50, 20, step=1), 'name': widgets.menu('name', ('red', 'blue'))}
        return panel(self.image, controls, 'a square')


def decoded(bundle) -> Image.Image:
    kind = next(kind for kind in bundle if kind.startswith('image/'))
    return Image.open(io.BytesIO(base64.b64decode(bundle[kind])))


def drawn(widget) -> Image.Image:
    "The image that the browser holds."
    widget.newest.wait()
    return Image.open(io.BytesIO(base64.b64decode(widget.result['image'].partition(',')[2])))


def ask(widget, moving=False, pressed=None, **values):
    "What the browser does when a control was moved; returns the result."
    request = widget.request
    values = request['values'] | values
    widget.request = dict(values=values, pressed=pressed, moving=moving, id=request['id'] + 1)
    if not moving:
        widget.newest.wait()
    return widget.result


# ---- what a page gets


def test_what_is_stored_is_a_plain_image_that_carries_the_key_of_its_widget():
    pytest.importorskip('anywidget')
    square = Square()
    forms, facts = square._repr_mimebundle_()
    assert set(forms) == {'image/png', 'text/plain'}
    assert facts == {'image/png': {'alt': 'a red square'}} and forms['text/plain'] == '<Square: a red square>'
    image = decoded(forms)
    assert image.size == (20, 20) and (np.asarray(image) == (255, 0, 0)).all()
    assert image.info['Comment'] == square.shown_widget.key == square.shown_widget.model_id
    # the script looks for the key in the first 300 bytes
    assert square.shown_widget.key.encode() in base64.b64decode(forms['image/png'][:400])


def test_an_object_has_one_widget_however_often_it_is_shown():
    pytest.importorskip('anywidget')
    square = Square()
    first, second = (decoded(square._repr_mimebundle_()[0]).info['Comment'] for _ in range(2))
    assert first == second != decoded(Square()._repr_mimebundle_()[0]).info['Comment']


@pytest.mark.parametrize('missing', ['anywidget', 'ipywidgets'])
def test_without_anywidget_it_is_a_plain_image(monkeypatch, missing):
    widgets.widget_class.cache_clear()
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(sys.modules, 'anywidget.widget', raising=False)
    if missing == 'ipywidgets':
        monkeypatch.delitem(sys.modules, 'anywidget', raising=False)
    forms, _ = Square()._repr_mimebundle_()
    assert set(forms) == {'image/png', 'text/plain'} and 'Comment' not in decoded(forms).info


def test_without_a_widget_it_is_a_plain_image():
    class Still(RichDisplay):
        def still_image(self):
            return Image.new('RGB', (3, 2))

    forms, facts = Still()._repr_mimebundle_()
    assert set(forms) == {'image/png', 'text/plain'} and decoded(forms).size == (3, 2)
    assert facts['image/png']['alt']


def test_an_error_in_a_widget_is_not_hidden():
    class Broken(Square):
        def widget(self):
            raise RuntimeError('broken')

    with pytest.raises(RuntimeError, match='broken'):
        Broken()._repr_mimebundle_()


def test_where_a_view_is_needed_there_is_one(monkeypatch):
    pytest.importorskip('anywidget')
    monkeypatch.setenv('ANIMEGAN_WIDGETS', 'view')
    square = Square()
    forms, _ = square._repr_mimebundle_()
    assert forms[WIDGET_VIEW]['model_id'] == square.shown_widget.model_id and 'Comment' not in decoded(forms).info
    monkeypatch.setenv('ANIMEGAN_WIDGETS', 'never')
    forms, _ = Square()._repr_mimebundle_()
    assert set(forms) == {'image/png', 'text/plain'} and 'Comment' not in decoded(forms).info


def test_how_widgets_are_shown(monkeypatch):
    monkeypatch.delenv('ANIMEGAN_WIDGETS', raising=False)
    monkeypatch.delenv('VSCODE_PID', raising=False)
    assert widgets.way_of_showing() == 'place'
    monkeypatch.setenv('VSCODE_PID', '12')
    assert widgets.way_of_showing() == 'view'
    monkeypatch.setenv('ANIMEGAN_WIDGETS', 'place')
    assert widgets.way_of_showing() == 'place'
    monkeypatch.setenv('ANIMEGAN_WIDGETS', 'sometimes')
    with pytest.raises(ValueError, match="place, view, never, not 'sometimes'"):
        widgets.way_of_showing()


def test_a_plain_image_keeps_its_limit():
    class Noise(RichDisplay):
        max_bytes = 9000

        def still_image(self):
            pixels = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
            return Image.fromarray(pixels)

    kind, data = Noise().encoded()
    assert kind == 'image/jpeg' and len(data) <= 9000


@pytest.mark.parametrize('kind', ['PNG', 'JPEG'])
def test_a_comment_changes_no_pixel(kind):
    pixels = np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    plain, marked = file.getvalue(), widgets.with_comment(file.getvalue(), 'a' * 32)
    opened = Image.open(io.BytesIO(marked))
    assert (np.asarray(opened) == np.asarray(Image.open(io.BytesIO(plain)))).all() and opened.format == kind
    assert b'a' * 32 in marked[:300] and len(marked) - len(plain) < 60
    assert str(opened.info.get('Comment') or opened.info['comment'].decode()) == 'a' * 32


# ---- panels


def test_a_panel_draws_what_its_controls_say():
    pytest.importorskip('anywidget')
    widget = Square().widget()
    assert drawn(widget).size == (20, 20) and widget.result['id'] == 0
    ask(widget, side=7)
    assert drawn(widget).size == (7, 7) and widget.result['id'] == 1
    ask(widget, name='blue')
    assert drawn(widget).getpixel((0, 0)) == (0, 0, 255)


def test_an_error_in_a_panel_is_shown_and_the_next_request_is_served():
    pytest.importorskip('anywidget')
    widget = Square().widget()
    result = ask(widget, name='no colour')
    assert result['image'] == '' and result['problem'].startswith('ValueError: unknown color') and result['id'] == 1
    assert ask(widget, name='red')['problem'] == '' and drawn(widget).size == (20, 20)


def test_a_button_acts_once_even_if_its_request_is_superseded():
    pytest.importorskip('anywidget')
    gate, pressed = threading.Event(), []

    def draw(side):
        gate.wait(5)
        return Image.new('RGB', (int(side), 1))

    controls = {'side': widgets.slider('side', 1, 50, 20)}
    widget = panel(draw, controls, 'a line', {'More': lambda: pressed.append(1)})
    ask(widget, moving=True, pressed='More')  # waits behind the first drawing
    ask(widget, moving=True, side=9)  # and is replaced by this one
    gate.set()
    assert drawn(widget).size == (9, 1) and pressed == [1]


def test_a_coarse_image_while_something_moves_and_the_exact_one_at_rest():
    pytest.importorskip('anywidget')
    calls = []

    def note(name):
        return lambda side: (calls.append((name, side)), Image.new('RGB', (4, 4)))[1]

    widget = panel(note('fine'), {'side': widgets.slider('side', 0, 9, 1)}, 'a square', coarse=note('coarse'))
    widget.newest.wait()
    assert calls == [('coarse', 1), ('fine', 1)]
    calls.clear()
    ask(widget, moving=True, side=2)
    widget.newest.wait()
    assert calls == [('coarse', 2)]
    ask(widget, side=2)
    assert calls == [('coarse', 2)] * 2 + [('fine', 2)]


def test_controls_begin_with_their_value():
    assert widgets.number('seed', 7)['value'] == 7
    assert widgets.choice('layers', ['a', 'b'])['value'] == 'a'
    assert widgets.choice('layers', ['a', 'b'], 'b')['value'] == 'b'
    assert widgets.menu('hair', ('x', 'y'), 'y')['value'] == 'y'
    for step, digits in {1: 0, 10: 0, 0.5: 1, 0.1: 1, 0.05: 2, 0.25: 2, 1e-5: 5}.items():
        assert widgets.slider('x', 0, 1, 0, step)['digits'] == digits


@pytest.mark.parametrize(
    'control, words',
    [
        (lambda: widgets.slider('α', 0, 1, 5.0), "slider 'α' runs from 0 to 1 and cannot begin at 5"),
        (lambda: widgets.slider('α', 1, 0, 0.5), "slider 'α' runs from 1 to 0"),
        (lambda: widgets.menu('hair', ['a', 'b'], 'c'), "menu 'hair' cannot begin with 'c': choose one of 'a', 'b'"),
        (lambda: HeadExplorer(size=16).image(hair_style='bobb'), "hair_style has no value 'bobb': choose from"),
        (lambda: HeadExplorer(size=16).image(hats='red'), "no attribute 'hats'"),
    ],
)
def test_a_value_that_is_no_choice_is_refused(control, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        control()


def test_a_transparent_image_can_be_a_jpeg():
    url = widgets.data_url(Image.new('RGBA', (8, 8), (0, 0, 0, 0)), exact=False)
    image = Image.open(io.BytesIO(base64.b64decode(url.partition(',')[2])))
    assert image.format == 'JPEG' and image.getpixel((4, 4)) == (255, 255, 255)


@pytest.mark.parametrize(
    'name, words',
    [('yaw', 'yaw'), ('hair_colour=blonde', 'hair colour: blonde'), ('background=0', 'background: number 0')],
)
def test_labels_are_words(name, words):
    assert widgets.in_words(name) == words


def test_an_exception_is_one_line():
    assert widgets.one_sentence(ValueError('There is no such pixel.\nAnd more.')) == 'There is no such pixel.'
    assert widgets.one_sentence(KeyError('x')) == "KeyError: 'x'" and widgets.one_sentence(OSError()) == 'OSError.'


@pytest.mark.parametrize('scale', [1, 3])
def test_an_image_is_enlarged_exactly(scale):
    images = torch.rand(1, 3, 5, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    small, large = (np.asarray(widgets.enlarged(images, factor)) for factor in (1, scale))
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
    assert 'export default live(mount)' in widgets.static_file('orbit.js')
    with pytest.raises(ValueError, match=r'no static file .*agnb\.css'):
        widgets.static_file('other.js')


def test_every_class_of_the_stylesheet_is_ours(root):
    css = re.sub(r'/\*.*?\*/', '', widgets.static_file('agnb.css'), flags=re.S)
    css = re.sub(r'@keyframes [^{]*\{[^}]*\{[^}]*\}\s*\}', '', css)
    lines = re.sub(r'\{[^}]*\}', '\n', css).replace(',', '\n').splitlines()
    selectors = [line.strip() for line in lines if line.strip()]
    assert len(selectors) > 40 and all(s.startswith('.agnb-') for s in selectors)
    assert {path.suffix for path in (root / 'animegan_nb' / 'static').iterdir()} == {'.css', '.js'}


def test_scripts_leave_no_listener_behind(root):
    "Listeners hang on elements of the widget, which go with it, or are given the signal that ends them."
    for path in (root / 'animegan_nb' / 'static').glob('*.js'):
        text = path.read_text()
        for call in re.findall(r'(?:window|document|document\.body)\.addEventListener\(.*', text):
            assert 'signal' in call, f'{path.name}: {call}'
        if path.name != 'kit.js':
            assert 'model.on(' not in text, f'{path.name} listens to its model without end: use on(…)'


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


def test_work_that_exits_does_not_end_the_service():
    served = []

    def work(request):
        if request == 'exit':
            sys.exit(1)
        served.append(request)

    mailbox = Newest(work)
    mailbox.submit('exit')
    with pytest.raises(SystemExit):
        mailbox.wait(10)
    mailbox.submit('good')
    mailbox.wait(10)
    assert served == ['good']


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
    forms, facts = HeadExplorer(size=24)._repr_mimebundle_()
    assert decoded(forms).size == (312, 312)  # every pixel a square of 13
    assert 'hair colour blue' in facts['image/png']['alt'] and '_' not in facts['image/png']['alt']


def test_the_head_explorer_answers_its_controls():
    pytest.importorskip('anywidget')
    explorer = HeadExplorer(size=24)
    widget = explorer.widget()
    same = lambda a, b: np.array_equal(np.asarray(a), np.asarray(b))
    assert same(drawn(widget), explorer.image())
    ask(widget, yaw=1.0)
    assert same(drawn(widget), explorer.image(yaw=1.0)) and not same(drawn(widget), explorer.image())
    ask(widget, hair_colour='pink')
    assert same(drawn(widget), explorer.image(yaw=1.0, hair_colour='pink'))
    ask(widget, moving=True)
    assert drawn(widget).size == (16, 16)


def test_an_uploaded_image_is_opened_and_a_text_is_not():
    control = widgets.upload('your photo')
    assert control['value'] == dict(name='', data='') and control['kind'] == 'upload'
    url = widgets.data_url(Image.new('RGBA', (3, 2), (255, 0, 0, 255)))
    image = widgets.uploaded_image(dict(name='a.png', data=url))
    assert image.mode == 'RGB' and image.size == (3, 2) and image.getpixel((0, 0)) == (255, 0, 0)
    for data in ('', 'data:text/plain;base64,aGk=', 'data:image/png;base64,'):
        with pytest.raises(ValueError, match="'a.txt' is no image"):
            widgets.uploaded_image(dict(name='a.txt', data=data))


def test_waiting_too_long_is_said():
    gate = threading.Event()
    mailbox = Newest(lambda request: gate.wait(60))
    mailbox.submit(1)
    with pytest.raises(TimeoutError, match='within 0.05 s'):
        mailbox.wait(0.05)
    gate.set()
    mailbox.wait()
    assert mailbox.done == 1
