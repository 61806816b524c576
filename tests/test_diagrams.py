"The drawing helper of the chapters: arrows meet boxes, letters can be read, and every diagram has words."

import itertools

import pytest
import torch
from matplotlib.colors import to_rgb

from animegan_nb.diagrams import Box, Diagram, facing_sides, INK, PAPER, ROLES


def luminance(colour) -> float:
    "Relative luminance (WCAG 2)."
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear))


def contrast(a, b) -> float:
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize('ground', [PAPER, *(fill for fill, _ in ROLES.values())])
def test_letters_can_be_read(ground):
    "4.5 is what WCAG 2 asks of small text; the paper is opaque, so the page behind it does not matter."
    assert contrast(INK, ground) > 4.5
    assert to_rgb(Diagram(2, 1, 'nothing').get_facecolor()[:3]) == to_rgb(PAPER)


@pytest.mark.parametrize('x, y', itertools.product((-3, 0.2, 3), (-3, 0.2, 3)))
def test_an_arrow_joins_the_sides_that_face_each_other(x, y):
    if (x, y) == (0.2, 0.2):
        return  # boxes on top of each other have no such sides
    a, b = Box(0, 0, 2, 1), Box(x, y, 1, 0.5)
    start, end = facing_sides(a, b)
    assert start in (a.left, a.right, a.top, a.bottom) and end in (b.left, b.right, b.top, b.bottom)
    assert facing_sides(b, a) == (end, start)


def test_a_box_is_where_it_was_put():
    diagram = Diagram(4, 3, 'boxes')
    boxes = diagram.box(1, 2, 'two\nlines'), diagram.maps(2, 1, 0.6, 0.3, 'maps')
    boxes += (diagram.samples(3, 2, torch.zeros(2, 3, 4, 4), 1.0),)
    assert [(round(b.x, 6), round(b.y, 6)) for b in boxes] == [(1, 2), (2, 1), (3, 2)]
    assert (diagram.ax.get_xlim(), diagram.ax.get_ylim()) == ((0, 4), (0, 3))  # images change no scale


def test_a_diagram_has_words_and_few_bytes():
    with pytest.raises(ValueError, match='alt'):
        Diagram(2, 1, '')
    diagram = Diagram(6, 3, 'noise in a frame')
    diagram.samples(3, 1.5, torch.rand(3, 3, 32, 32), 4)
    forms, facts = diagram._repr_mimebundle_()
    assert facts == {'image/png': {'alt': 'noise in a frame'}} and len(forms['image/png']) < 120_000


def test_an_arrow_leaves_and_meets_a_box_at_a_side():
    diagram = Diagram(4, 3, 'arrows')
    box, corner = diagram.box(1, 1, 'a'), (1, 2.5)
    ends = []
    for places in ((box, corner), (corner, box), (corner, (3, 2.5))):
        diagram.arrow(*places)
        ends.append([tuple(v) for v in diagram.ax.patches[-1]._path_original.vertices])
    assert ends == [[box.top, corner], [corner, box.top], [corner, (3, 2.5)]]
    with pytest.raises(ValueError, match='two places'):
        diagram.arrow(box)


def test_an_unknown_role_is_answered_with_all_roles():
    diagram = Diagram(4, 3, 'roles')
    for draw in (lambda: diagram.box(1, 1, 'a', 'fraud'), lambda: diagram.note(1, 1, 'a', role='fraud')):
        with pytest.raises(ValueError, match="no role 'fraud': choose one of plain, real"):
            draw()
