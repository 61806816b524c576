"""`help()` says what parameters mean: the comments beside them become a part of the docstring.

The chapters explain a parameter in a comment behind it, or in comment lines above it, where a reader of the code looks.
Python throws comments away. When a chapter is imported, `describe` reads its source again and appends numpydoc's
sections Parameters and Returns to the docstrings of its public functions, classes and methods.
"""
# Written by hand, like __init__.py.

import ast
import importlib.abc
import importlib.machinery
import inspect
import io
import sys
import textwrap
import tokenize


class Finder(importlib.abc.MetaPathFinder):
    "Finds the chapters where Python finds them, and describes each after it was imported."

    def find_spec(self, name, path=None, target=None):
        package, _, chapter = name.rpartition('.')
        if package.split('.')[0] != __package__ or chapter.startswith('_'):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is importlib.machinery.SourceFileLoader:
            spec.loader = Loader(name, spec.origin)
        return spec


class Loader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module):
        super().exec_module(module)
        describe(module, self.get_source(module.__name__))


def install():
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())


def describe(module, source: str | None):
    "Append what the comments of `source` say about parameters to the docstrings of `module`."
    if source is None:
        return
    lines = source.splitlines()
    for node in ast.parse(source).body:
        owner = vars(module).get(getattr(node, 'name', ''))
        if owner is None or node.name.startswith('_'):
            continue
        if isinstance(node, ast.FunctionDef):
            append(owner, *of_function(node, lines))
        elif isinstance(node, ast.ClassDef) and isinstance(owner, type):
            describe_class(owner, node, lines)


def describe_class(owner: type, node: ast.ClassDef, lines: list[str]):
    "Fields and the parameters of `__init__` belong to the class, those of a method to the method."
    parameters = of_fields(node, lines)
    for method in node.body:
        if not isinstance(method, ast.FunctionDef):
            continue
        if method.name == '__init__':
            parameters |= of_function(method, lines)[0]
        elif not method.name.startswith('_'):
            found = vars(owner).get(method.name)
            append(getattr(found, '__func__', found), *of_function(method, lines))
    append(owner, parameters, {})


def of_fields(node: ast.ClassDef, lines: list[str]) -> dict[str, str]:
    "head → meaning of the annotated fields of a class."
    found, end = {}, node.lineno
    for field in node.body:
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            if text := meaning(comments(lines, end + 1, field.end_lineno), end + 1, field.end_lineno):
                found[head(field.target.id, field.annotation, field.value)] = text
        end = field.end_lineno
    return found


def of_function(node: ast.FunctionDef, lines: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    "head → meaning of the parameters, and of what is returned."
    last = node.body[0].lineno - 1 if node.body[0].lineno > node.lineno else node.lineno
    said, a = comments(lines, node.lineno, last), node.args
    if not said:
        return {}, {}
    positional = [*a.posonlyargs, *a.args]
    defaults = [None] * (len(positional) - len(a.defaults)) + a.defaults
    pairs = [*zip(positional, defaults), *zip(a.kwonlyargs, a.kw_defaults)]
    pairs += [(x, None) for x in (a.vararg, a.kwarg) if x is not None]
    pairs = sorted(pairs, key=lambda pair: (pair[0].lineno, pair[0].col_offset))
    found, end = {}, node.lineno
    groups = {}  # last line → parameters that end there
    for argument, default in pairs:
        if argument.arg not in ('self', 'cls'):
            groups.setdefault((default or argument).end_lineno, []).append((argument, default))
    for line, group in groups.items():
        if line > node.lineno and (text := meaning(said, end + 1, line)):
            found[', '.join(head(x.arg, x.annotation, default) for x, default in group)] = text
        end = line
    rest = meaning(said, end + (end > node.lineno), last)
    if rest and node.returns is None:
        names = ', '.join(x.arg for group in groups.values() for x, _ in group)
        return found | ({names: rest} if names else {}), {}
    return found, {ast.unparse(node.returns): rest} if rest else {}


def comments(lines: list[str], first: int, last: int) -> dict[int, str]:
    "line → comment on these lines of a module."
    text = lines[first - 1 : last]
    if not any('#' in line for line in text):
        return {}
    found, reader = {}, io.StringIO(textwrap.dedent('\n'.join(text)) + '\n')
    try:
        for token in tokenize.generate_tokens(reader.readline):
            if token.type == tokenize.COMMENT:
                found[first + token.start[0] - 1] = token.string.lstrip('#: ').strip()
    except (tokenize.TokenError, IndentationError, SyntaxError):
        pass  # the piece ends in the middle of something: its comments were seen
    return {line: said for line, said in found.items() if not said.startswith(('noqa', 'fmt:', 'type:', '%%'))}


def meaning(said: dict[int, str], first: int, last: int) -> str:
    return ' '.join(said[line] for line in range(first, last + 1) if line in said)


def head(name: str, annotation, default) -> str:
    "A parameter as numpydoc writes it."
    kind = f' : {ast.unparse(annotation)}' if annotation is not None else ''
    return f'{name}{kind}' + (f', default {ast.unparse(default)}' if default is not None else '')


def append(thing, parameters: dict[str, str], returned: dict[str, str]):
    "Append the sections to a docstring."
    sections = []
    for title, rows in (('Parameters', parameters), ('Returns', returned)):
        if rows:
            text = '\n'.join(
                f'{name}\n{textwrap.indent(textwrap.fill(said, 92), "    ")}' for name, said in rows.items()
            )
            sections.append(f'{title}\n{"-" * len(title)}\n{text}')
    if thing is None or not sections:
        return
    first = inspect.cleandoc(vars(thing).get('__doc__') or '' if isinstance(thing, type) else thing.__doc__ or '')
    if isinstance(thing, type) and first.startswith(f'{thing.__name__}('):
        first = ''  # a dataclass without a docstring gets its signature
    try:
        thing.__doc__ = '\n\n'.join(filter(None, [first, *sections]))
    except AttributeError:  # of something that cannot be written to
        pass
