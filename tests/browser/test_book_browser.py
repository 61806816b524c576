"The whole book as a site, built from the stored outputs, in headless Chromium and from a plain static server."

import functools
import http.server
import json
import os
import re
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from lab import find_chromium, FLAGS

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted(path.stem for path in (ROOT / 'nbs').glob('[0-9][0-9]_*.ipynb'))
pytestmark = [pytest.mark.browser, pytest.mark.slow]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """The folder of the built site; a warning of Sphinx (a dead link, a broken equation) ends the build.

    `ANIMEGAN_BOOK` names a site that is built already, such as _book/html."""
    if os.environ.get('ANIMEGAN_BOOK'):
        sys.path.append(str(ROOT / 'book'))
        return Path(os.environ['ANIMEGAN_BOOK']).resolve()
    pytest.importorskip('myst_nb', reason='Sphinx is not installed: pip install -e ".[book]"')
    sys.path.append(str(ROOT / 'book'))
    import make_book

    return make_book.build(tmp_path_factory.mktemp('book'))


@pytest.fixture(scope='module')
def address(site):
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}/'
    server.shutdown()


@pytest.fixture(scope='module')
def browser():
    sync_api = pytest.importorskip('playwright.sync_api')
    if not find_chromium():
        pytest.skip('there is no Chromium here: install chromium, or set ANIMEGAN_CHROMIUM to its path')
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        yield chromium
        chromium.close()


# ---- the files


class Links(HTMLParser):
    "What a page points to, and the places in it to which others may point."

    def __init__(self):
        super().__init__()
        self.anchors, self.links, self.loaded = set(), [], []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.anchors.add(values.get('id'))
        if tag == 'a' and values.get('href'):
            self.links.append(values['href'])
        if tag == 'link' and values.get('rel') in ('stylesheet', 'icon', 'preload') and values.get('href'):
            self.loaded.append(values['href'])
        if tag in ('img', 'script', 'iframe', 'video', 'source') and values.get('src'):
            self.loaded.append(values['src'])


def pages_of(html: Path) -> list[Path]:
    "All pages; the theme keeps templates, which are no pages, in _static."
    return sorted(path for path in html.rglob('*.html') if '_static' not in path.parts)


def read_links(html: Path) -> dict[str, Links]:
    pages = {}
    for path in pages_of(html):
        links = Links()
        links.feed(path.read_text(encoding='utf-8'))
        pages[path.relative_to(html).as_posix()] = links
    return pages


def dead_links(html: Path) -> list[str]:
    pages, dead = read_links(html), []
    for page, found in pages.items():
        for link in {*found.links, *found.loaded}:
            if urlsplit(link).scheme:
                continue
            target = urlsplit(urljoin(f'/{page}', link))
            name = unquote(target.path).lstrip('/') or 'index.html'
            if not (html / name).is_file():
                dead.append(f'{page}: {link}')
            elif target.fragment and name in pages and unquote(target.fragment) not in pages[name].anchors:
                dead.append(f'{page}: {link}')
    return dead


def test_no_link_is_dead(site):
    assert dead_links(site) == []


def test_a_dead_link_is_found(tmp_path):
    (tmp_path / 'a.html').write_text(
        '<a id="x" href="b.html#y"></a><a href="#x"></a><img src="c.png"><a href="d.html">'
    )
    (tmp_path / 'b.html').write_text('<a id="z" href="a.html?q#x"></a><a href="https://x.org/a">')
    assert sorted(dead_links(tmp_path)) == ['a.html: b.html#y', 'a.html: c.png', 'a.html: d.html']


def test_nothing_is_loaded_from_elsewhere(site):
    foreign = [
        (page, link) for page, found in read_links(site).items() for link in found.loaded if urlsplit(link).netloc
    ]
    assert foreign == []


def test_every_chapter_has_a_page_in_the_order_of_the_road(site):
    import make_book

    road = [name for names in make_book.chapters_of(ROOT / 'nbs').values() for name in names]
    links = read_links(site)['index.html'].links
    listed = [link[:-5] for link in links if re.fullmatch(r'\d\d_\w+\.html', link)]
    assert listed[: len(road)] == road and sorted(road) == CHAPTERS
    text = (site / '20_losses.html').read_text(encoding='utf-8')
    assert re.search(r'class="right-next"\s+href="21_penalties.html"', text)


def test_no_line_for_nbdev_is_shown(site):
    for path in site.glob('*_*.html'):
        text = re.sub(r'<[^>]*>', '', path.read_text(encoding='utf-8'))
        assert not re.search(r'^#\|', text, re.M) and '%pip' not in text, path.name


def test_the_downloaded_notebook_is_the_one_of_the_book(site):
    for name in CHAPTERS:
        assert (site / '_sources' / f'{name}.ipynb').read_bytes() == (ROOT / 'nbs' / f'{name}.ipynb').read_bytes()


def test_the_reference_names_everything_with_a_docstring(site):
    import inspect

    import animegan_nb

    for module in ('losses', 'penalties', 'stylegan', 'raymarch'):
        offered = {name: getattr(getattr(animegan_nb, module), name) for name in getattr(animegan_nb, module).__all__}
        text = (site / 'api' / f'{module}.html').read_text(encoding='utf-8')
        for name, thing in offered.items():
            if inspect.isfunction(thing) and thing.__doc__:
                assert f'id="animegan_nb.{module}.{name}"' in text
    assert 'the gradient divided' in (site / 'api' / 'penalties.html').read_text(encoding='utf-8')


# ---- the pages in a browser

LOOK = """() => {
  const typeset = document.querySelectorAll('mjx-container').length;
  const images = [...document.querySelectorAll('.bd-article img')];
  return {
    equations: document.querySelectorAll('.bd-article .math').length, typeset,
    wrong: document.querySelectorAll('mjx-merror, [data-mjx-error]').length,
    images: images.length,
    broken: images.filter(p => !(p.complete && p.naturalWidth)).map(p => p.getAttribute('src')),
    silent: images.filter(p => !p.alt).map(p => p.getAttribute('src')),
  };
}"""
SETTLED = """async () => { if (document.querySelector('.math')) await MathJax.startup.promise; }"""
WIDTHS = """() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]"""


class Visit:
    "One page after another in one tab, and what goes wrong on each."

    def __init__(self, tab, address):
        self.tab, self.address, self.problems, self.at = tab, address, [], ''
        tab.on('console', lambda m: m.type in ('error', 'warning') and self.note(m.text))
        tab.on('pageerror', lambda e: self.note(str(e)))
        tab.on('requestfailed', lambda r: self.note(f'not loaded: {r.url}'))
        tab.on('request', lambda r: None if r.url.startswith((address, 'data:')) else self.note(f'asked: {r.url}'))

    def note(self, text: str):
        self.problems.append(f'{self.at}: {text}')

    def open(self, page: str):
        self.at = page
        self.tab.goto(self.address + page, timeout=120_000)
        self.tab.evaluate(SETTLED)

    def look(self, chapter: bool):
        for image in self.tab.locator('.bd-article img').all():
            image.evaluate("i => { i.loading = 'eager'; return i.decode().catch(() => 0) }")
        seen = self.tab.evaluate(LOOK)
        for name in ('wrong', 'broken', 'silent'):
            if seen[name]:
                self.note(f'{name}: {seen[name]}')
        if seen['equations'] != seen['typeset']:
            self.note(f"{seen['typeset']} of {seen['equations']} equations")
        if chapter and not seen['images']:
            self.note('no image')
        return seen

    def measure(self):
        for width in (1280, 400):
            self.tab.set_viewport_size({'width': width, 'height': 800})
            full, shown = self.tab.evaluate(WIDTHS)
            if full > shown:
                self.note(f'{full} px wide in a window of {width}')


@pytest.fixture
def visit(browser, address):
    context = browser.new_context(viewport={'width': 1280, 'height': 800})
    yield Visit(context.new_page(), address)
    context.close()


def test_every_page_shows_its_equations_and_images_and_fits(site, visit):
    equations = {}
    for path in pages_of(site):
        name = path.relative_to(site).as_posix()
        visit.open(name)
        equations[name] = visit.look(chapter=path.stem in CHAPTERS and path.parent == site)['equations']
        visit.measure()
    assert visit.problems == []
    assert all(equations[f'{name}.html'] for name in ('20_losses', '21_penalties', '50_raymarch', '31_stylegan'))


def test_search_finds_what_a_chapter_says(visit):
    visit.open('search.html?q=gradient+penalty')
    results = visit.tab.locator('#search-results li a')
    results.first.wait_for(timeout=60_000)
    found = results.evaluate_all('links => links.map(a => a.getAttribute("href"))')
    assert any('21_penalties.html' in link for link in found)
    assert any('api/penalties.html' in link for link in found)
    shown = visit.tab.locator('#search-results li p.context')
    shown.nth(2).wait_for(timeout=60_000)
    assert not any('System Settings' in text for text in shown.all_text_contents())
    assert visit.problems == []


def test_search_is_a_key_away(visit):
    visit.open('20_losses.html')
    visit.tab.keyboard.press('Control+k')
    visit.tab.keyboard.type('gradient penalty')
    visit.tab.keyboard.press('Enter')
    visit.tab.locator('#search-results li a').first.wait_for(timeout=60_000)
    assert 'search.html' in visit.tab.url and visit.problems == []


CONTRAST = """() => {
  const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const linear = v => v <= 10 ? v / 3294 : ((v / 255 + .055) / 1.055) ** 2.4;
  const light = c => { const [r, g, b] = c.map(linear); return .2126 * r + .7152 * g + .0722 * b; };
  const ground = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
                        if (c.length === 3 || c[3] === 1) return c.slice(0, 3); } return [255, 255, 255]; };
  const low = {};
  const walk = document.createTreeWalker(document.querySelector('.bd-main'), NodeFilter.SHOW_TEXT);
  for (let n = walk.nextNode(); n; n = walk.nextNode()) {
    const e = n.parentElement;
    if (!n.textContent.trim() || !e.checkVisibility() || e.closest('mjx-container, svg, .headerlink, script')) continue;
    const a = light(parse(getComputedStyle(e).color).slice(0, 3)), b = light(ground(e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) low[`${e.tagName}.${e.className}`] = `${ratio.toFixed(1)} ${n.textContent.trim().slice(0, 30)}`;
  }
  return low;
}"""


@pytest.mark.parametrize('theme', ['light', 'dark'])
def test_text_can_be_read(browser, address, theme):
    "A contrast of at least 4.5 (WCAG AA) between every piece of text and its ground."
    context = browser.new_context(viewport={'width': 1280, 'height': 800}, color_scheme=theme)
    visit = Visit(context.new_page(), address)
    for page in ('index', '21_penalties', '10_training', '71_cli', 'api/losses', 'exercises/20_losses'):
        visit.open(f'{page}.html')
        assert visit.tab.locator('html').get_attribute('data-theme') == theme
        ground = visit.tab.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (sum(ground[:3]) < 150) == (theme == 'dark')
        assert visit.tab.evaluate(CONTRAST) == {}, page
    context.close()


def test_folded_code_unfolds(visit):
    visit.open('21_penalties.html')
    code = visit.tab.get_by_text('from animegan_nb.losses import check_logits')
    assert code.count() == 0 or not code.first.is_visible()
    visit.tab.locator('details.hide > summary').first.click()
    assert visit.tab.locator('details.hide pre').first.is_visible()
    assert visit.problems == []


def test_the_search_index_holds_every_chapter(site):
    text = (site / 'searchindex.js').read_text(encoding='utf-8')
    index = json.loads(text[text.index('(') + 1 : text.rindex(')')])
    assert set(CHAPTERS) <= set(index['docnames'])
