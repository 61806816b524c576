"Write README.md (and its images) from nbs/index.ipynb, its only source. `--check` compares instead of writing."

import re
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parent.parent
CODE = re.compile(r'```python\n.*?```\n', re.S)


def descriptions(notebook) -> list[str]:
    "What the stored images show, in the order of the page."
    outputs = (output for cell in notebook.cells for output in cell.get('outputs', []))
    kinds = ((output, kind) for output in outputs for kind in output.get('data', {}) if kind.startswith('image/'))
    return [output.metadata.get(kind, {}).get('alt', 'what the code draws') for output, kind in kinds]


def build(folder: Path):
    "README.md and README_files/ in `folder`."
    notebook = nbformat.read(ROOT / 'nbs' / 'index.ipynb', as_version=4)
    notebook.cells = [cell for cell in notebook.cells if '#| hide' not in cell.source]
    exporter = MarkdownExporter(exclude_input=True)  # a README shows what comes out; the notebook shows how
    resources = {'output_files_dir': 'README_files', 'unique_key': 'README'}
    text, resources = exporter.from_notebook_node(notebook, resources=resources)
    words = iter(descriptions(notebook))
    text = re.sub(r'!\[(png|jpeg)\]\(', lambda _: f'![{next(words)}](', text)
    text = re.sub(r'\]\((?!http|#|README_files)([\w/]+\.ipynb)\)', r'](nbs/\1)', text)
    text = re.sub(r'\n{3,}', '\n\n', text).strip() + '\n'
    (folder / 'README.md').write_text(
        '<!-- written by `make readme` from nbs/index.ipynb: edit that -->\n' + text, encoding='utf-8'
    )
    for name, data in resources['outputs'].items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as temporary:
        build(Path(temporary))
        new = {p.relative_to(temporary): p.read_bytes() for p in Path(temporary).rglob('*') if p.is_file()}
    if '--check' in sys.argv:
        files = [ROOT / 'README.md', *(ROOT / 'README_files').glob('*')]
        old = {path.relative_to(ROOT): path.read_bytes() for path in files if path.exists()}
        sys.exit(0 if old == new else 'README.md is not what nbs/index.ipynb says: run  make readme')
    shutil.rmtree(ROOT / 'README_files', ignore_errors=True)
    for name, data in new.items():
        (ROOT / name).parent.mkdir(exist_ok=True)
        (ROOT / name).write_bytes(data)
