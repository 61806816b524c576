"""Does an installed animegan_nb work, without its checkout?  python .ci/check_install.py [--checkout]

Imports every chapter, draws heads, and looks for the networks that ship with the library. `--checkout` allows it to
be that of a checkout.
"""

import importlib
import pkgutil
import sys
from pathlib import Path


def check(checkout: bool = False) -> str:
    "One line about what was found; an error where something does not work."
    import animegan_nb

    where = Path(animegan_nb.__file__).resolve().parent
    if not checkout and (where.parent / 'settings.ini').exists():
        raise SystemExit(f'This is the library of the checkout in {where.parent}, not an installed one.')
    names = [module.name for module in pkgutil.iter_modules(animegan_nb.__path__) if not module.name.startswith('_')]
    for name in names:
        importlib.import_module(f'animegan_nb.{name}')

    import torch

    from animegan_nb import core, toon
    from animegan_nb.cameras import pose

    camera, view = pose(torch.zeros(2), torch.zeros(2)), torch.full((2,), 12.0)
    heads = toon.render(toon.sample_identity(2, core.rng(0)), camera, view, 32)['image']
    assert heads.shape == (2, 3, 32, 32) and heads.isfinite().all() and heads.std() > 0.1
    networks = sorted(path.stem for path in core.shipped('pretrained').glob('*.safetensors'))
    assert networks, 'no network ships with the library'
    return f'animegan_nb {animegan_nb.__version__}: {len(names)} modules, {len(networks)} networks, heads are drawn.'


if __name__ == '__main__':
    print(check('--checkout' in sys.argv))
