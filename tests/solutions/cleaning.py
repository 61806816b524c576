"Independent solutions of the exercises of 03_cleaning."

import numpy as np


def hamming(a, b):
    return format(a ^ b, 'b').count('1')


def average_hash(image):
    grey = np.asarray(image.convert('L').reduce(image.width // 8), dtype=float)
    return (grey > np.median(grey)).ravel()


SOLUTIONS = {'cleaning.hamming': hamming, 'cleaning.perceptual_hash': average_hash}
