"""`help()` says what parameters mean: the comments beside them become a part of the docstring.

The chapters explain a parameter in a comment behind it, or in comment lines above it, where a reader of the code looks.
Python throws comments away. So the docstring of every public function, class and method of a chapter is made a
`Described`: when `help()`, Jupyter or Sphinx show it, the source is read again, once for each chapter, and numpydoc's
sections Parameters and Returns are appended. A program that shows no docstring pays nothing for it.
"""
# Written by hand, like __init__.py.

import ast
import importlib.abc
import importlib.machinery
import inspect
import io
import linecache
import sys
import textwrap
import tokenize
from functools import cache


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
        describe(module, self.path)


def install():
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())


class Described(str):
    """A docstring that says what parameters mean, too, when it is shown: `inspect.getdoc`, pydoc and Sphinx first call
    `expandtabs`, and `print` calls `__str__`. As a value it is the docstring that stands in the source."""

    def __new__(cls, first: str, path: str, name: str):
        self = super().__new__(cls, first)
        self.path, self.name = path, name  # of the source, and of the thing in it
        return self

    def __str__(self):
        first, sections = inspect.cleandoc(str.__str__(self)), meanings_of(self.path).get(self.name, '')
        return '\n\n'.join(filter(None, [first, sections]))

    def expandtabs(self, tabsize=8):
        return str(self).expandtabs(tabsize)

    def __reduce__(self):
        return Described, (str.__str__(self), self.path, self.name)


def describe(module, path: str):
    "Make the docstrings of `module`, whose source is the file `path`, `Described`."
    for name, thing in list(vars(module).items()):
        if name.startswith('_') or getattr(thing, '__module__', '') != module.__name__:
            continue
        redescribe(thing, path, name)
        if isinstance(thing, type):
            for method, found in list(vars(thing).items()):
                if not method.startswith('_'):
                    redescribe(getattr(found, '__func__', found), path, f'{name}.{method}')


def redescribe(thing, path: str, name: str):
    "Put a `Described` in the place of a docstring; a dataclass without one has its signature, which says nothing new."
    is_class = isinstance(thing, type)
    doc = vars(thing).get('__doc__') if is_class else getattr(thing, '__doc__', None)
    if doc is None and parameters_on_lines(thing):
        doc = ''
    if isinstance(doc, str) and (callable(thing) or isinstance(thing, property)):
        try:
            thing.__doc__ = Described('' if is_class and doc.startswith(f'{thing.__name__}(') else doc, path, name)
        except (AttributeError, TypeError):  # of something that cannot be written to
            pass


def parameters_on_lines(function) -> bool:
    "Has a function a line for each parameter, where comments may stand? (Without a docstring it shows an inherited one.)"
    if not inspect.isfunction(function):
        return False
    first = function.__code__.co_firstlineno
    return min((line for *_, line in function.__code__.co_lines() if line and line > first), default=0) > first + 1


@cache
def meanings_of(path: str) -> dict[str, str]:
    "Name of a function, a class or `Class.method` → the sections for its docstring, from the comments of a source."
    lines = [line.rstrip('\r\n') for line in linecache.getlines(path)]
    found = {}
    for node in ast.parse('\n'.join(lines)).body if lines else ():
        if isinstance(node, ast.FunctionDef):
            found[node.name] = sections(*of_function(node, lines))
        elif isinstance(node, ast.ClassDef):
            found |= of_class(node, lines)
    return found


def of_class(node: ast.ClassDef, lines: list[str]) -> dict[str, str]:
    "Fields and the parameters of `__init__` belong to the class, those of a method to the method."
    parameters, found = of_fields(node, lines), {}
    for method in node.body:
        if not isinstance(method, ast.FunctionDef):
            continue
        if method.name == '__init__':
            parameters |= of_function(method, lines)[0]
        else:
            found[f'{node.name}.{method.name}'] = sections(*of_function(method, lines))
    return found | {node.name: sections(parameters, {})}


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


def sections(parameters: dict[str, str], returned: dict[str, str]) -> str:
    "The sections of a docstring, as numpydoc writes them."
    found = []
    for title, rows in (('Parameters', parameters), ('Returns', returned)):
        if rows:
            text = '\n'.join(
                f'{name}\n{textwrap.indent(textwrap.fill(said, 92), "    ")}' for name, said in rows.items()
            )
            found.append(f'{title}\n{"-" * len(title)}\n{text}')
    return '\n\n'.join(found)
