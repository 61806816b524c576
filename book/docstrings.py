"Docstrings as Sphinx reads them: the book's are Markdown, with the sections that `animegan_nb._parameters` appends."

from __future__ import annotations

import re

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


def sections_begin(lines: list[str]) -> int:
    "Where the sections Parameters and Returns begin, which the library appends for `help()`."
    pairs = enumerate(zip(lines, lines[1:]))
    starts = (k for k, (title, rule) in pairs if title in ('Parameters', 'Returns') and rule == '-' * len(title))
    return next(starts, len(lines))


def meanings(lines: list[str]) -> list[str]:
    "The sections, for Napoleon: what is said of a parameter is no markup."
    return ['    ' + plain(line.strip()) if line.startswith('    ') else line for line in lines]


def describe(app, what, name, thing, options, lines):
    "For Sphinx's event `autodoc-process-docstring`, before Napoleon: `lines` are changed in place."
    begin = sections_begin(lines)
    lines[:] = [*as_rst(lines[:begin]), *meanings(lines[begin:])]


def forget_bases(app, name, thing, options, bases):
    "`object` is no news."
    bases[:] = [base for base in bases if base is not object]
