"""Build the book as a static site, from the outputs that the notebooks store: nothing is executed, nothing downloaded.

    python book/make_book.py                        all chapters, into _book/html
    python book/make_book.py --only 20_losses 21_penalties      some of them, to look at a change quickly

Copies of the notebooks, prepared for readers (`prepared`), and the pages that list them are written to _book/source;
Sphinx with myst-nb makes the site of them. `python -m http.server -d _book/html` shows it.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REPOSITORY = 'animegan-nb/animegan_nb'
SETUP = 'setup'  # the tag of the cells that .ci/run_it.py writes
DIRECTIVE = re.compile(r'^#\|.*\n?', re.M)  # nbdev's lines, such as `#| export`
#: sections that only those who change the library need: their code is folded
WORKINGS = re.compile(r'Bad input|What is refused|Behind the scenes')


# ---- the order of the road


@dataclass(frozen=True)
class Part:
    "Chapters that stand together: those whose number has one of these tens digits, or that are named."

    title: str
    tens: tuple = ()
    names: tuple = ()


ROAD = (
    Part('First steps', names=('00_first_gan',)),
    Part('GANs', (2,)),
    Part('StyleGAN', (3,)),
    Part('Inversion and transfer', (4,)),
    Part('Three dimensions', (5,)),
    Part('Tri-planes', (6,)),
    Part('Workshop: images', (0,)),
    Part('Workshop: training', (1,)),
    Part('Tools for users', (7,)),
)


def chapters_of(nbs: Path) -> dict[str, list[str]]:
    "The names of the chapters of each part, in reading order; a part without chapters is left out."
    names = sorted(path.stem for path in nbs.glob('[0-9][0-9]_*.ipynb'))
    named = {name for part in ROAD for name in part.names}
    parts = {}
    for part in ROAD:
        numbered = [name for name in names if int(name[0]) in part.tens and name not in named]
        parts[part.title] = [name for name in part.names if name in names] + numbered
    return {title: found for title, found in parts.items() if found}


# ---- a notebook for readers


def source_of(cell: dict) -> str:
    return ''.join(cell['source'])


def directives(source: str) -> set[str]:
    "The first words of a cell's lines for nbdev: `#| export` gives 'export'."
    return set(re.findall(r'^#\|\s*(\w+)', source, re.M))


def only_imports(source: str) -> bool:
    "Is a cell one that imports, and gives names to a few things at most?"
    try:
        body = ast.parse(source).body
    except SyntaxError:  # a line for IPython
        return False
    imports = [node for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]
    return len(imports) > len(body) / 2 and all(isinstance(node, ast.Assign) for node in body if node not in imports)


def fold(cell: dict, what: str):
    "Show a cell's code only to those who ask for it; its outputs stay."
    cell['metadata']['tags'] = [*cell['metadata'].get('tags', []), 'hide-input']
    prompts = {'code_prompt_show': f'Show {what}', 'code_prompt_hide': f'Hide {what}'}
    cell['metadata'].setdefault('mystnb', {}).update(prompts)


def is_folded_import(cell: dict) -> bool:
    return cell['cell_type'] == 'code' and only_imports(source_of(cell)) and not cell.get('outputs')


def descriptions(cell: dict) -> str:
    "What the images of a cell show, in words; MyST-NB has one text for all of them."
    outputs = ((output, kind) for output in cell['outputs'] for kind in output.get('data', {}))
    found = (
        output.get('metadata', {}).get(kind, {}).get('alt') for output, kind in outputs if kind.startswith('image/')
    )
    return '; '.join(filter(None, found))


def prepared_code(cell: dict, workings: bool, only_outputs: bool) -> dict | None:
    "A code cell without nbdev's lines; None if nothing remains that a reader needs."
    source = source_of(cell)
    text = DIRECTIVE.sub('', source).strip('\n')
    if 'hide' in directives(source) or not text or only_outputs and not cell['outputs']:
        return None
    cell['source'] = text
    if words := descriptions(cell):
        cell['metadata'].setdefault('mystnb', {})['image'] = {'alt': words}
    if only_outputs:
        cell['metadata']['tags'] = ['remove-input']
    elif only_imports(text):
        fold(cell, 'the imports')
    elif workings:
        fold(cell, 'the code')
    return cell


def run_links(name: str) -> dict:
    "A line that leads to a chapter where it can be run."
    colab = f'https://colab.research.google.com/github/{REPOSITORY}/blob/main/nbs/{name}.ipynb'
    github = f'https://github.com/{REPOSITORY}/blob/main/nbs/{name}.ipynb'
    links = [f'<a href="{colab}">Run it on Colab</a>', f'<a href="{github}">The notebook on GitHub</a>']
    return markdown_cell(f'<p class="agnb-run">{" ".join(links)}</p>', 'run-links')


def prepared(notebook: dict, name: str = '', only_outputs: bool = False) -> dict:
    """A copy of a notebook for the site.

    Without the set-up cells and nbdev's lines; imports and the code of workings (`WORKINGS`) are folded. `only_outputs`
    leaves out all code. A `name` adds a line that leads to where the chapter can be run."""
    notebook = copy.deepcopy(notebook)
    cells, workings = [], False
    for cell in notebook['cells']:
        if SETUP in cell['metadata'].get('tags', []):
            continue
        if cell['cell_type'] == 'markdown':
            for heading in re.findall(r'^##? (.*)$', source_of(cell), re.M):
                workings = bool(WORKINGS.search(heading))
        elif cell['cell_type'] == 'code':
            cell = prepared_code(cell, workings, only_outputs)
        if cell is None:
            continue
        if cells and is_folded_import(cell) and is_folded_import(cells[-1]):  # what is exported, then what is not
            cells[-1]['source'] += '\n' + cell['source']
        else:
            cells.append(cell)
    notebook['cells'] = cells[:1] + [run_links(name)] * bool(name) + cells[1:]
    return notebook


def title_of(notebook: dict) -> str:
    "The heading of a notebook; every notebook begins with one."
    return re.search(r'^# (.+)$', source_of(notebook['cells'][0]), re.M)[1].strip()


# ---- pages that list others


def toctree(entries: list[str], caption: str = '', hidden: bool = True, depth: int = 1) -> str:
    lines = ['```{toctree}', f':maxdepth: {depth}']
    lines += [f':caption: {caption}'] * bool(caption) + [':hidden:'] * hidden
    return '\n'.join([*lines, '', *entries, '```'])


def markdown_cell(text: str, name: str) -> dict:
    return {'cell_type': 'markdown', 'id': name, 'metadata': {}, 'source': text}


def numbered(name: str, notebook: dict) -> str:
    "A line of a table of contents: the chapter's number, title and file."
    return f"{name.rpartition('/')[2][:2]} · {title_of(notebook)} <{name}>"


def api_page(module: str, title: str, chapter: str) -> str:
    "What a module offers, in the order of the chapter that defines it."
    heading = f'animegan_nb.{module}'
    lines = [
        heading,
        '=' * len(heading),
        '',
        f'Explained, shown and tested in :doc:`{title} </{chapter}>`.' if chapter else '',
        '',
        f'.. automodule:: {heading}',
    ]
    return '\n'.join(lines) + '\n'


# ---- the source of the site


@dataclass
class Site:
    "Reads notebooks from `nbs` and writes what Sphinx needs into `source`."

    source: Path
    nbs: Path = ROOT / 'nbs'
    only: tuple = ()  # chapters to build; () means all
    written: set = field(default_factory=set)

    def write(self, name: str, text: str):
        "A file that has not changed keeps its time, so that Sphinx does not build its page again."
        path = self.source / name
        self.written.add(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding='utf-8') != text:
            path.write_text(text, encoding='utf-8')

    def write_notebook(self, name: str, notebook: dict):
        self.write(f'{name}.ipynb', json.dumps(notebook, ensure_ascii=False, indent=1))

    def read(self, name: str) -> dict:
        return json.loads((self.nbs / f'{name}.ipynb').read_text(encoding='utf-8'))

    def wanted(self, name: str) -> bool:
        return not self.only or name in self.only

    def modules(self) -> dict[str, str]:
        "The module that each chapter exports: name -> chapter."
        names = [name for found in chapters_of(self.nbs).values() for name in found if self.wanted(name)]
        return {name[3:]: name for name in names if (ROOT / 'animegan_nb' / f'{name[3:]}.py').exists()}

    def stage(self):
        "Write all sources; what an earlier call wrote and this one did not is removed."
        parts = chapters_of(self.nbs)
        contents = []
        for title, names in parts.items():
            entries = []
            for name in filter(self.wanted, names):
                notebook = self.read(name)
                self.write_notebook(name, prepared(notebook, name))
                entries.append(numbered(name, notebook))
            contents += [toctree(entries, title)] * bool(entries)
        contents.append(toctree(['api/index', *self.exercises(), *self.documents()], 'Reference'))
        self.api()
        index = prepared(self.read('index'), only_outputs=True)
        index['cells'].append(markdown_cell('\n\n'.join(contents), 'contents'))
        self.write_notebook('index', index)
        for path in self.source.rglob('*'):
            if path.is_file() and path not in self.written:
                path.unlink()

    def exercises(self) -> list[str]:
        "The exercises' oracles, for instructors."
        entries = []
        for path in sorted((self.nbs / 'exercises').glob('*.ipynb')):
            if self.wanted(path.stem):
                notebook = self.read(f'exercises/{path.stem}')
                self.write_notebook(f'exercises/{path.stem}', prepared(notebook))
                entries.append(numbered(f'/exercises/{path.stem}', notebook))
        if not entries:
            return []
        text = (
            '# Exercises, for instructors\n\nThe laws by which each exercise is checked, and wrong answers that must'
            ' fail. Students find the exercises at the end of each chapter.\n\n'
        )
        self.write('exercises/index.md', text + toctree(entries, hidden=False) + '\n')
        return ['exercises/index']

    def api(self):
        "One page for each module, and one that lists them."
        modules = self.modules()
        for module, chapter in modules.items():
            self.write(f'api/{module}.rst', api_page(module, title_of(self.read(chapter)), chapter))
        text = (
            '# The library\n\nEvery chapter exports a module of the same name: `20_losses` is `animegan_nb.losses`.'
            ' These pages are made from the docstrings.\n\n'
        )
        self.write('api/index.md', text + toctree([f'{module} <{module}>' for module in modules], hidden=False) + '\n')

    def documents(self) -> list[str]:
        "Files at the root of the repository that belong in the book."
        found = []
        for name in ('CONTRIBUTING', 'CHANGELOG'):
            if (ROOT / f'{name}.md').exists():
                self.write(f'{name.lower()}.md', with_absolute_links((ROOT / f'{name}.md').read_text(encoding='utf-8')))
                found.append(name.lower())
        return found


def with_absolute_links(text: str) -> str:
    "Links to files of the repository, which the site does not hold, lead to the repository."
    base = f'https://github.com/{REPOSITORY}/blob/main/'
    text = re.sub(r'\]\(nbs/([\w/]+\.ipynb)', r'](\1', text)
    return re.sub(r'\]\((?![a-z]+:|#|[\w/]+\.ipynb)', f']({base}', text)


# ---- building


def build(out: Path, only: tuple = (), strict: bool = True) -> Path:
    "Build the site below `out` and return the folder of its pages; a warning of Sphinx is an error."
    html = out / 'html'
    site = Site(out / 'source', only=only)
    site.stage()
    command = [sys.executable, '-m', 'sphinx', '-b', 'html', '-q', '-c', ROOT / 'book', '-d', out / 'doctrees']
    command += ['-W', '--keep-going'] if strict else []
    done = subprocess.run([*map(str, command), str(site.source), str(html)], cwd=ROOT)
    if done.returncode:
        raise SystemExit('The site was not built: see the messages above.')
    for copied in (html / '_sources').rglob('*.ipynb'):  # readers download the notebooks as they are
        original = ROOT / 'nbs' / copied.relative_to(html / '_sources')
        shutil.copyfile(original, copied)
    return html


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=ROOT / '_book', help='where to build (default _book)')
    parser.add_argument('--only', nargs='+', default=(), metavar='CHAPTER', help='build these chapters only')
    args = parser.parse_args(argv)
    # links between chapters lead nowhere if only some of them are built
    html = build(args.out.resolve(), tuple(args.only), strict=not args.only)
    print(f'The book is in {html}: open index.html, or run  python -m http.server -d {html}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
