"What keeps a notebook readable: small outputs, no widget state, no machine's paths, short cells, no silent skips."
import base64
import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent/'nbs').glob('*.ipynb'))
MACHINE = re.compile(r'/(?:root|home|Users|work|tmp|mnt|opt)/[A-Za-z0-9_.-]+')
FOREIGN = {'application/javascript', 'application/vnd.jupyter.widget-view+json', 'application/vnd.jupyter.widget-state+json'}


@pytest.fixture(params=NOTEBOOKS, ids=lambda p: p.stem)
def notebook(request):
    return json.loads(request.param.read_text())


def outputs(notebook):
    for cell in notebook['cells']:
        yield from cell.get('outputs', [])


def data(notebook):
    for output in outputs(notebook):
        for mime, content in output.get('data', {}).items():
            yield mime, content if isinstance(content, str) else ''.join(content)


def test_size(notebook):
    "A still picture at most 40 kB, all stills 300 kB, an animation 1 MB, the file 1 MB."
    stills = []
    for mime, content in data(notebook):
        if not mime.startswith('image/'): continue
        raw = base64.b64decode(content) if 'svg' not in mime else content.encode()
        if b'acTL' in raw[:2000]: assert len(raw) <= 1_000_000             # an animated PNG
        else: stills.append(len(raw))
    assert max(stills, default=0) <= 40_000
    assert sum(stills) <= 300_000
    assert len(json.dumps(notebook, ensure_ascii=False).encode()) <= 1_000_000


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
    text += '\n'.join(''.join(cell['source']) for cell in notebook['cells'])
    assert not MACHINE.findall(text)


def test_no_errors_are_stored(notebook):
    assert not [output for output in outputs(notebook) if output['output_type'] == 'error']


def test_cells_are_short(notebook):
    long = [''.join(cell['source'])[:60] for cell in notebook['cells'] if cell['cell_type'] == 'code' and len(''.join(cell['source']).splitlines()) > 27]
    assert not long


def test_it_was_run(notebook):
    "A chapter stores its outputs: at least one picture, and it says how long it runs."
    assert any(mime.startswith('image/') for mime, _ in data(notebook))


def test_skipped_cells_say_why(notebook):
    for cell in notebook['cells']:
        source = ''.join(cell['source'])
        if re.search(r'^#\|\s*(slow|cuda|eval:\s*false)', source, re.M): assert re.search(r'^#(?!\|)', source, re.M), source[:80]


def test_first_cells(notebook):
    first = ''.join(notebook['cells'][0]['source'])
    assert re.match(r'# \S', first) and re.search(r'^> \S', first, re.M)


def test_links_lead_somewhere(notebook):
    "Links to other chapters name notebooks that exist."
    names = {path.name for path in NOTEBOOKS}
    linked = set(re.findall(r'\]\(([\w]+\.ipynb)\)', '\n'.join(''.join(cell['source']) for cell in notebook['cells'] if cell['cell_type'] == 'markdown')))
    assert linked <= names
