"""Put the cells that make a chapter run on Colab at its top, or bring them up to date.

    python .ci/run_it.py              every chapter
    python .ci/run_it.py losses       these chapters
    python .ci/run_it.py --check      only list the chapters without them (exit code 1 if there are any)

A badge, which opens the chapter on Colab, and a code cell, which installs the package where it is missing. Both carry
the tag `setup`: the stamp of the outputs does not count such cells (.ci/execute.py), and the site leaves them out
(book/make_book.py).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

import execute

REPOSITORY = 'animegan-nb/animegan_nb'
BADGE = (
    '[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]'
    f'(https://colab.research.google.com/github/{REPOSITORY}/blob/main/nbs/{{name}}.ipynb)'
)
INSTALL = f'''\
# on Colab this installs the book's library; where it is installed, it does nothing
from importlib.util import find_spec

if find_spec('animegan_nb') is None:
    %pip install --quiet "animegan_nb[colab] @ git+https://github.com/{REPOSITORY}"'''


def setup_cells(name: str) -> list[dict]:
    "The two cells for the chapter `name`; their ids depend on nothing but the chapter."
    metadata = {'tags': [execute.SETUP]}
    ids = [hashlib.sha256(f'{name} {kind}'.encode()).hexdigest()[:8] for kind in ('badge', 'install')]
    return [
        {'cell_type': 'markdown', 'id': ids[0], 'metadata': metadata, 'source': [BADGE.format(name=name)]},
        {
            'cell_type': 'code',
            'execution_count': None,
            'id': ids[1],
            'metadata': metadata,
            'outputs': [],
            'source': INSTALL.splitlines(keepends=True),
        },
    ]


def with_setup(notebook: dict, name: str) -> dict:
    "The notebook with up-to-date set-up cells below its title; other cells, outputs and the stamp stay as they are."
    cells = [cell for cell in notebook['cells'] if not execute.is_setup(cell)]
    return {**notebook, 'cells': [*cells[:1], *setup_cells(name), *cells[1:]]}


def find_chapters(nbs: Path) -> list[Path]:
    return sorted(nbs.glob('[0-9][0-9]_*.ipynb'))


def update(path: Path, write: bool = True) -> bool:
    "Was a chapter without them, or did it have old ones? `write` puts them there."
    text = path.read_text(encoding='utf-8')
    notebook = json.loads(text)
    new = with_setup(notebook, path.stem)
    if new == notebook:
        return False
    if write:
        execute.replace_file(path, json.dumps(new, ensure_ascii=False, indent=1, sort_keys=True) + '\n')
    return True


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', metavar='chapter', help='a path, or a name such as 20_losses')
    parser.add_argument('--check', action='store_true', help='only list the chapters that lack them')
    args = parser.parse_args(argv)
    nbs = execute.ROOT / 'nbs'
    paths = [execute.find_notebook(name, nbs) for name in args.names] or find_chapters(nbs)
    changed = [path for path in paths if update(path, write=not args.check)]
    for path in changed:
        print(f"{execute.shown(path)}: {'lacks them' if args.check else 'written'}")
    return int(args.check and bool(changed))


if __name__ == '__main__':
    sys.exit(main())
