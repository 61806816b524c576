"""Does an installed animegan_nb work, without its checkout and without extras?

    python .ci/check_install.py [--checkout]

Imports every chapter, draws heads, uses each network that ships with the library, and asks for the help of every
command. `--checkout` allows the library to be that of a checkout.
"""

import argparse
import contextlib
import importlib
import io
import pkgutil
import re
import sys
from pathlib import Path


def use(name: str):
    "What the shipped network `name` makes of two latents or images: the images, or what it reads in them."
    import torch

    from animegan_nb import conditional, conditional_style, core, dcgan, encoder, fields, mimic3d, pigan
    from animegan_nb import standing, style_transfer, stylegan, toon_net
    from animegan_nb.cameras import pose

    noise = lambda *shape: torch.randn(*shape, generator=core.rng(0))
    heads = lambda size: noise(2, 3, size, size).clamp(-1, 1)

    def of_adain():
        content, style = heads(64)
        return style_transfer.stylise(content[None], style[None], 'adain')

    def of_conditional():
        styled = name == 'conditional_toon_64'
        load = conditional_style.pretrained_conditional_style if styled else conditional.pretrained_conditional
        generator, known, _ = load(name)
        wanted = conditional.one_hot(known[:2], generator.config.tags)
        return generator(torch.cat([noise(2, generator.config.latent), wanted], 1))

    def of_dcgan():
        generator = dcgan.DCGANGenerator.from_pretrained(name)
        return generator(noise(2, generator.config.latent))

    def of_encoder():
        network, _ = encoder.pretrained_encoder(name)
        generator, _ = stylegan.pretrained_stylegan()
        return generator.synthesis(network(generator, heads(network.config.size)))

    def of_fields():
        field = fields.load_field(core.shipped(f'pretrained/{name}.safetensors'))
        return torch.cat([part.flatten() for part in field(noise(9, 3) / 9)])

    def of_mimic3d():
        generator, _ = mimic3d.pretrained_mimic3d(name)
        return generator(noise(2, generator.z_dim), pose(torch.zeros(2)))

    def of_pigan():
        generator, facts = pigan.pretrained_pigan(name)
        return generator(noise(2, facts['network']['field']['z_dim']), pose(torch.zeros(2)))

    def of_standing():
        network, _ = standing.figure_reader(name)
        return torch.cat([read.flatten() for read in network(heads(64)).values()])

    def of_stylegan():
        generator = stylegan.StyleGANGenerator.from_pretrained(name)
        return generator(noise(2, generator.config.z_dim))

    def of_toon():
        read = toon_net.toon_network()(heads(64))
        return torch.cat([x.flatten() for x in read.values()])

    with torch.no_grad():
        return locals()[f'of_{name.split("_")[0]}']()


def commands(parser, words=()):
    "The words of every command of a parser that has no commands of its own."
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for action in actions:
        for word, below in action.choices.items():
            yield from commands(below, (*words, word))
    if not actions:
        yield words


def help_of(words) -> str:
    from animegan_nb import cli

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        cli.main([*words, '--help'])
    return said.getvalue()


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

    from animegan_nb import cli, core, toon
    from animegan_nb.cameras import pose

    camera, view = pose(torch.zeros(2), torch.zeros(2)), torch.full((2,), 12.0)
    heads = toon.render(toon.sample_identity(2, core.rng(0)), camera, view, 32)['image']
    assert heads.shape == (2, 3, 32, 32) and heads.isfinite().all() and heads.std() > 0.1
    networks = core.shipped_networks()
    assert networks, 'no network ships with the library'
    for name in networks:
        made = use(name)
        assert made.isfinite().all() and made.std() > 0.01, f'{name} makes nothing'
        assert name in core.model_card(name), f'{name} has no card'
    found = list(commands(cli.parser()))
    for words in [(), *found]:
        assert re.match(rf'usage: animegan {" ".join(words)}', help_of(words)), f'{words} has no help'
    return (
        f'animegan_nb {animegan_nb.__version__}: {len(names)} modules, {len(networks)} networks that work,'
        f' {len(found)} commands, heads are drawn.'
    )


if __name__ == '__main__':
    print(check('--checkout' in sys.argv))
