"Solutions to the exercises of 57_pigan_anime, written from the task alone."

import math
import statistics
import torch
from scipy.stats import t as student


def crop_fov(fov, kept):
    half_width = math.tan(math.radians(fov / 2))
    return 2 * math.degrees(math.atan(half_width * kept))


def expose(image, coverage, gain):
    page = 1 - coverage.float() / 255
    head = image.float() / 255 - page
    lit = head * gain[:, None, None, None] + page
    return (lit.clamp(0, 1) * 255).round().to(torch.uint8)


def paired_difference(base, changed, level=0.95):
    d = [float(y) - float(x) for x, y in zip(base, changed)]
    return statistics.mean(d), student.ppf(0.5 + level / 2, len(d) - 1) * statistics.stdev(d) / math.sqrt(len(d))


SOLUTIONS = {
    'pigan_anime.crop_fov': crop_fov,
    'pigan_anime.expose': expose,
    'pigan_anime.paired_difference': paired_difference,
}
