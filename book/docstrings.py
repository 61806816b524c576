"Docstrings as Sphinx reads them: the book's are Markdown, and what a parameter means is a comment beside it."

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable

from fastcore.docments import docments

SECTIONS = re.compile(r'\s*(:param |(Parameters|Args|Arguments):?\s*$)')
SPAN = re.compile(r'(``.+?``|`[^`]+`)')


def plain(text: str) -> str:
    "Text in which nothing is markup for Sphinx; code in backticks stays code."
    result = ''
    for piece in SPAN.split(text):
        if piece.startswith('`'):
            # markup has to stand alone: an empty escape separates it from letters
            result += ('\\ ' if result[-1:].isalnum() else '') + f"``{piece.strip('`')}``"
        else:
            piece = re.sub(r'([\\*|_])', r'\\\1', piece)
            result += ('\\ ' if result.endswith('``') and piece[:1].isalnum() else '') + piece
    return result


def as_rst(lines: list[str]) -> list[str]:
    "A docstring's lines as reStructuredText: paragraphs stay, indented blocks are shown as they are."
    result, literal = [], False
    for line in lines:
        if line.strip() and line[0] == ' ':
            if not literal:
                result += ['', '::', '']
            literal = True
            result.append(line)
            continue
        if literal and line.strip():
            result.append('')
            literal = False
        result.append(plain(line) if line.strip() else '')
    return result


def parameters(thing: Callable) -> list[str]:
    "A field for each parameter: its type, and the comment that stands beside it."
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # it looks for NumPy's sections, of which PyTorch has others
            found = docments(thing, full=True, returns=True)
        signature = inspect.signature(thing)
    except (TypeError, ValueError, OSError, SyntaxError, AttributeError):
        return []
    if not any(info.docment for info in found.values()):
        return []
    lines = []
    for name, info in found.items():
        kind = signature.return_annotation if name == 'return' else None
        if name == 'return':
            if info.docment:
                lines.append(f':returns: {typed(kind, info.docment)}')
        elif name in signature.parameters:
            parameter = signature.parameters[name]
            lines.append(f':param {name}: {typed(parameter.annotation, info.docment)}')
    return lines


def typed(annotation, comment: str | None) -> str:
    "'Tensor: [batch, 3, height, width]'."
    kind = '' if annotation is inspect.Parameter.empty else annotation
    kind = kind if isinstance(kind, str) else inspect.formatannotation(kind)
    text = plain(' '.join((comment or '').split()))
    return ' · '.join(filter(None, [f'``{kind}``' if kind else '', text]))


def without_appended(lines: list[str]) -> list[str]:
    "A docstring without the sections that the library appends for `help()`: here they become fields."
    pairs = enumerate(zip(lines, lines[1:]))
    starts = (k for k, (title, rule) in pairs if title in ('Parameters', 'Returns') and rule == '-' * len(title))
    return lines[: next(starts, None)]


def describe_parameters(app, what, name, thing, options, lines):
    "For Sphinx's event `autodoc-process-docstring`: `lines` are changed in place."
    lines[:] = without_appended(lines)
    text = as_rst(lines)
    if any(map(SECTIONS.match, lines)):  # the docstring says itself what they mean
        pass
    elif what in ('function', 'method'):
        text += ['', *parameters(thing)]
    elif what == 'class':
        text += ['', *parameters(thing.__init__ if not hasattr(thing, '__dataclass_fields__') else thing)]
    lines[:] = text


def forget_bases(app, name, thing, options, bases):
    "`object` is no news."
    bases[:] = [base for base in bases if base is not object]
