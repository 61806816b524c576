"Anime image synthesis: a book that is a library. Every chapter is a module that is imported when it is first used."
# This file and __main__.py are written by hand. The other modules are generated from nbs/ by `make export`,
# which changes only the line with the version here.

__version__ = "0.1.0"


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
        raise AttributeError(f'module {__name__!r} has no chapter {name!r}') from None


def __dir__() -> list[str]:
    "The chapters, too, without importing them: this is what Tab offers after `animegan_nb.`"
    import pkgutil
    chapters = {module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith('_')}
    return sorted({*globals(), *chapters})
