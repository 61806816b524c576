"""Anime image synthesis: a book that is a library.

Every chapter is a module, imported when it is first used; `dir(animegan_nb)`, or Tab, lists them.

    from animegan_nb.stylegan import StyleGANGenerator
    from animegan_nb.training import load_run, train

    generator = StyleGANGenerator.from_pretrained('stylegan_toon_32')
    train('dcgan-cpu', 'my/pictures', 'runs/first', steps=2_000)
    pair, generator, facts = load_run('runs/first')

Images are float32 [batch, 3, height, width] in [-1, 1]. `help()` of a function says what its parameters mean. What only
some chapters need is installed with an extra, such as `pip install "animegan_nb[mesh]"`; their errors say which.
"""
# This file, __main__.py, _nearest.py and _parameters.py are written by hand. The other modules are generated from nbs/
# by `make export`, which changes only the line with the version here.

__version__ = "0.1.0"

from animegan_nb import _nearest, _parameters

_parameters.install()


def __getattr__(name: str):
    "The chapter `name`, imported on demand: after `import animegan_nb`, `animegan_nb.training` works."
    import importlib
    if name.startswith('_'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    try:
        return importlib.import_module(f'{__name__}.{name}')
    except ModuleNotFoundError as error:
        if error.name != f'{__name__}.{name}':      # the chapter exists, but a package that it needs is missing
            raise
        near = _nearest.did_you_mean(name, _chapters())
        raise AttributeError(f'module {__name__!r} has no chapter {name!r}{near}') from None


def _chapters() -> set[str]:
    "The names of the chapters; none is imported."
    import pkgutil
    return {module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith('_')}


def __dir__() -> list[str]:
    "The chapters, too, without importing them: this is what Tab offers after `animegan_nb.`"
    return sorted({*globals(), *_chapters()})
