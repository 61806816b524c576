"Draws the book's logo, a head of animegan_nb.toon on a clear background:  python book/logo.py"

from pathlib import Path

import torch
from PIL import Image

from animegan_nb import toon
from animegan_nb.cameras import pose
from animegan_nb.core import rng

PERSON, SIZE = 2, 256


def logo() -> Image.Image:
    identity = toon.sample_identity(24, rng(3))[PERSON : PERSON + 1]
    camera, view = pose(torch.tensor([0.35]), torch.tensor([0.08])), torch.tensor([12.0])
    drawn = toon.render(identity, camera, view, SIZE, background='white')
    colour = (drawn['image'][0].clamp(-1, 1) + 1) / 2
    clear = torch.cat([colour, drawn['alpha'][0].reshape(1, SIZE, SIZE)])
    return Image.fromarray((clear * 255).round().byte().permute(1, 2, 0).numpy(), 'RGBA')


if __name__ == '__main__':
    picture = logo()
    folder = Path(__file__).parent / 'static'
    picture.resize((160, 160), Image.Resampling.LANCZOS).quantize(128).save(folder / 'logo.png', optimize=True)
    picture.resize((48, 48), Image.Resampling.LANCZOS).save(folder / 'favicon.png', optimize=True)
