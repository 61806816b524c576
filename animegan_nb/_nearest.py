"""The known word that somebody may have meant, for the messages of errors.

The command line and the package itself ask, too, before PyTorch is loaded; so this stands apart from the chapters.
"""
# Written by hand, like __init__.py.

import difflib
import itertools
import os
from pathlib import Path


def did_you_mean(word, known, alike: float = 0.6) -> str:
    "' (did you mean WORD?)', the one of `known` that resembles `word` most; '' where none does."
    words = {str(name).casefold(): str(name) for name in known}
    near = difflib.get_close_matches(str(word)[:100].casefold(), words, 1, alike)
    return f' (did you mean {words[near[0]]}?)' if near else ''


def did_you_mean_path(path, *words: str) -> str:
    "The same for a file or a folder: the nearest name beside it, or of `words` that are meant in its place."
    path = Path(path)
    try:
        with os.scandir(path.parent) as entries:
            beside = [entry.name for entry in itertools.islice(entries, 1000)]
    except OSError:  # the folder above is not there either
        beside = []
    return did_you_mean(path.name, [*words, *beside], 0.7)  # more, since many names end alike
