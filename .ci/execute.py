"""Run notebooks from top to bottom and store their outputs, stamped with a hash of the code that made them.

    python .ci/execute.py                      every notebook whose outputs are older than its code
    python .ci/execute.py losses 22_dcgan      these notebooks, stale or not
    python .ci/execute.py exercises/losses     the exercises of a chapter
    python .ci/execute.py --check              only list the stale ones (exit code 1 if there are any)
    python .ci/execute.py --stamp losses       stamp without running, after an edit that changes no output

A notebook runs in a fresh kernel, in its own folder, on the CPU, with one thread and the budget `cpu`. If a cell fails,
the file stays as it was and the exit code is 1. The stamp stands in the notebook's metadata: `animegan_nb.outputs_of`.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import re
import sys
import tempfile
import time
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOREIGN = {
    'application/javascript',
    'application/vnd.jupyter.widget-view+json',
    'application/vnd.jupyter.widget-state+json',
}
SETUP = 'setup'  # the tag of cells that only make a notebook run elsewhere (.ci/run_it.py)
IGNORED_FIELDS = {'ctx', 'kind', 'type_comment', 'type_ignores'}
DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
ENVIRONMENT = {
    'ANIMEGAN_BUDGET': 'cpu',
    'ANIMEGAN_WIDGETS': 'never',  # plain images, the same in every run
    'OMP_NUM_THREADS': '1',
    'MKL_NUM_THREADS': '1',
    'CUDA_VISIBLE_DEVICES': '',
}


# ---- the stamp


def describe(node) -> str:
    """A syntax tree as text: like `ast.dump`, but without docstrings and the same in every version of Python.

    Fields that are empty are left out, because newer versions add such fields (`type_params`).
    """
    if isinstance(node, ast.AST):
        fields = dict(ast.iter_fields(node))
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            fields['body'] = fields['body'][1:]
        inside = [
            f'{name}={describe(value)}'
            for name, value in fields.items()
            if name not in IGNORED_FIELDS and value is not None and value != []
        ]
        return f"{type(node).__name__}({', '.join(inside)})"
    if isinstance(node, list):
        return f"[{', '.join(map(describe, node))}]"
    return ascii(node)


def executed(source: str) -> str:
    "What a cell executes, as text: comments, layout, directives and docstrings do not count."
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a line for IPython, such as %time
        return source.strip()
    if not tree.body:
        return ''
    quiet = ';' if source.rstrip().endswith(';') else ''  # IPython shows no result then
    return describe(tree) + quiet


def is_setup(cell: dict) -> bool:
    return SETUP in cell['metadata'].get('tags', [])


def code_hash(notebook: dict) -> str:
    "16 hex digits that change when, and only when, the code of a notebook does something else; set-up does not count."
    code = [cell for cell in notebook['cells'] if cell['cell_type'] == 'code' and not is_setup(cell)]
    cells = [executed(''.join(cell['source'])) for cell in code]
    return hashlib.sha256('\n'.join(filter(None, cells)).encode()).hexdigest()[:16]


def stamp_of(notebook: dict) -> str | None:
    "The hash of the code that made the stored outputs, or None if they were never stamped."
    return notebook['metadata'].get('animegan_nb', {}).get('outputs_of')


def has_outputs(notebook: dict) -> bool:
    return any(cell.get('outputs') for cell in notebook['cells'])


def is_stale(notebook: dict) -> bool:
    return stamp_of(notebook) != code_hash(notebook)


# ---- finding notebooks


def find_notebooks(nbs: Path) -> list[Path]:
    "All notebooks, at any depth; folders whose name begins with a dot or an underscore do not count."
    inside = [(path, path.relative_to(nbs).parts) for path in nbs.rglob('*.ipynb')]
    return sorted(path for path, parts in inside if not any(part.startswith(('.', '_')) for part in parts))


def find_notebook(name: str, nbs: Path) -> Path:
    "The notebook that `name` means: a path, '20_losses', 'losses' or 'exercises/losses'."
    for path in (Path(name), nbs / name, nbs / f'{name}.ipynb'):
        if path.suffix == '.ipynb' and path.is_file():
            return path.resolve()
    for path in find_notebooks(nbs):
        if re.sub(r'\d\d_(?=[^/]*$)', '', path.relative_to(nbs).with_suffix('').as_posix()) == name:
            return path
    raise SystemExit(f"There is no notebook {name!r}: give a path, or a name such as 20_losses or exercises/losses.")


def stale_notebooks(nbs: Path) -> list[Path]:
    "The notebooks to run, in the order of the book; assignments (nbs/course) are not run, they have blanks."
    book = [path for path in find_notebooks(nbs) if path.relative_to(nbs).parts[0] != 'course']
    return [path for path in book if is_stale(json.loads(path.read_text()))]


# ---- tidying and writing


def last_version(text: str) -> str:
    "Text as a terminal shows it: what stands after a carriage return replaces what stood before it."
    return '\n'.join(line.rstrip('\r').rsplit('\r', 1)[-1] for line in text.split('\n'))


def tidy_outputs(outputs: list[dict]) -> list[dict]:
    "Outputs without widgets, scripts and blank streams; pieces of one stream become one."
    tidy = []
    for output in outputs:
        if output['output_type'] == 'stream':
            if tidy and tidy[-1]['output_type'] == 'stream' and tidy[-1]['name'] == output['name']:
                tidy[-1]['text'] += output['text']
            else:
                tidy.append(output)
            continue
        foreign = FOREIGN & set(output.get('data', {}))
        for mime in foreign:
            del output['data'][mime]
        # what remains of a widget without an image is the text of its Python object
        if foreign and not set(output['data']) - {'text/plain'}:
            continue
        tidy.append(output)
    for output in tidy:
        if output['output_type'] == 'stream':
            output['text'] = last_version(output['text'])
    # a progress bar that has cleared itself leaves spaces
    return [output for output in tidy if output['output_type'] != 'stream' or output['text'].strip()]


def cleaned_text(notebook: dict) -> str:
    "The notebook as `nbdev_clean` writes it, so that a later `nbdev_clean` changes nothing."
    from execnb.nbio import nb2str
    from nbdev.clean import clean_nb
    from nbdev.config import get_config

    config = get_config(path=ROOT)
    notebook['metadata'].pop('widgets', None)
    clean_nb(
        notebook,
        False,
        config.allowed_metadata_keys.split(),
        config.allowed_cell_metadata_keys.split(),
        config.clean_ids,
    )
    return nb2str(notebook)


def replace_file(path: Path, text: str):
    "Write the whole file or nothing."
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.stem}.', suffix='.tmp')
    try:
        with open(handle, 'w', encoding='utf-8') as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, path.stat().st_mode)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def stamp(path: Path):
    "Declare the stored outputs to be those of the present code."
    notebook = json.loads(path.read_text(encoding='utf-8'))
    notebook['metadata']['animegan_nb'] = {'outputs_of': code_hash(notebook)}
    replace_file(path, cleaned_text(notebook))


# ---- running


@dataclass(frozen=True)
class Outcome:
    "How the run of one notebook ended: `problem` is empty if all went well."

    path: Path
    seconds: float
    problem: str = ''


def failing_cell(notebook, number: int, error: Exception) -> str:
    "The cell that failed and its error, without the colours."
    if number < 0:
        return f'The kernel did not start: {error}'
    text = re.sub(r'\x1b\[[0-9;]*m', '', str(error)).strip()
    source = notebook.cells[number].source
    code, _, rest = text.partition('\n------------------\n\n')  # nbclient repeats the cell: once is enough
    return f'Cell {number} failed:\n\n{source}\n\n{(rest or code).strip()}'


def run(path: Path, limit: int) -> Outcome:
    "Run one notebook in a fresh kernel; replace the file only if every cell succeeded."
    import nbformat
    from nbclient import NotebookClient

    start = time.monotonic()
    before = path.read_bytes()
    notebook = nbformat.reads(before.decode(), as_version=4)
    at = [-1]

    def note(cell, cell_index):
        at[0] = cell_index

    client = NotebookClient(
        notebook,
        timeout=limit,
        kernel_name='python3',
        store_widget_state=False,
        record_timing=False,
        on_cell_execute=note,
        extra_arguments=['--log-level=50'],
        resources={'metadata': {'path': path.parent}},
    )
    try:
        client.execute()
    except Exception as error:
        return Outcome(path, time.monotonic() - start, failing_cell(notebook, at[0], error))
    if path.read_bytes() != before:
        return Outcome(path, time.monotonic() - start, 'The file was changed while it ran: run it again.')
    for cell in notebook.cells:
        if cell.cell_type == 'code':
            cell.outputs = tidy_outputs(cell.outputs)
    plain = json.loads(nbformat.writes(notebook))
    plain['metadata']['animegan_nb'] = {'outputs_of': code_hash(plain)}
    replace_file(path, cleaned_text(plain))
    return Outcome(path, time.monotonic() - start)


def run_safely(path: Path, limit: int) -> Outcome:
    try:
        return run(path, limit)
    except Exception:
        return Outcome(path, 0, traceback.format_exc())


def run_all(paths: list[Path], workers: int, limit: int) -> int:
    "Run the notebooks, a few at a time, and print one line for each; the number of those that failed."
    os.environ.update(ENVIRONMENT)
    os.environ.pop('MPLBACKEND', None)  # a kernel chooses the backend that shows figures in the notebook
    failed = []
    print(f'Running {len(paths)} notebook{"s"[: len(paths) != 1]}, {min(workers, len(paths))} at a time.', flush=True)
    with ProcessPoolExecutor(workers) as pool:
        runs = [pool.submit(run_safely, path, limit) for path in paths]
        for number, future in enumerate(as_completed(runs), 1):
            outcome = future.result()
            size = f'{outcome.path.stat().st_size / 1000:.0f} kB' if not outcome.problem else 'FAILED'
            print(f'[{number}/{len(paths)}] {shown(outcome.path):32} {outcome.seconds:6.0f} s  {size}', flush=True)
            if outcome.problem:
                failed.append(outcome.path)
                print(f'\n{outcome.problem}\n', file=sys.stderr, flush=True)
    if failed:
        print(f"Unchanged, because they failed: {', '.join(map(shown, failed))}", file=sys.stderr)
    return len(failed)


def shown(path: Path) -> str:
    try:
        return path.relative_to(ROOT).as_posix()
    except ValueError:
        return str(path)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', metavar='notebook', help='a path, or a name such as 20_losses')
    parser.add_argument('--workers', type=int, default=2, help='how many run at the same time (default 2)')
    parser.add_argument('--limit', type=int, default=3600, help='seconds after which a cell counts as hung')
    parser.add_argument('--check', action='store_true', help='only list the stale ones')
    parser.add_argument('--stamp', action='store_true', help='stamp the named notebooks without running them')
    args = parser.parse_args(argv)
    nbs = ROOT / 'nbs'
    paths = list(dict.fromkeys(find_notebook(name, nbs) for name in args.names))
    if args.check:
        old = [path for path in paths or stale_notebooks(nbs) if is_stale(json.loads(path.read_text()))]
        for path in old:
            never = stamp_of(json.loads(path.read_text())) is None
            print(f"{shown(path)}: {'never stamped' if never else 'its code changed after its outputs were made'}")
        return int(bool(old))
    if args.stamp:
        if not paths:
            parser.error('--stamp needs the names of the notebooks: it is for edits that change no output')
        for path in paths:
            stamp(path)
        return 0
    paths = paths or stale_notebooks(nbs)
    if not paths:
        print('Every output belongs to the code above it: nothing to run.')
        return 0
    return int(run_all(paths, args.workers, args.limit) > 0)


if __name__ == '__main__':
    sys.exit(main())
