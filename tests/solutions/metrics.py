"Independent solutions of the exercises of 14_metrics."

import numpy as np
import torch


def frechet(real, fake):
    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    s1, s2 = np.atleast_2d(np.cov(real, rowvar=False)), np.atleast_2d(np.cov(fake, rowvar=False))
    u, s, _ = np.linalg.svd(s1, hermitian=True)
    half = u * np.sqrt(s) @ u.T
    roots = np.sqrt(np.clip(np.linalg.eigvalsh(half @ s2 @ half), 0, None))
    gap = real.mean(0) - fake.mean(0)
    return gap @ gap + np.trace(s1) + np.trace(s2) - 2 * roots.sum()


def inception_score(logits):
    z = np.asarray(logits, np.float64)
    z = z - z.max(1, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    q = p.mean(0)
    terms = np.where(p > 0, p * (np.log(np.where(p > 0, p, 1)) - np.log(np.where(q > 0, q, 1))), 0)
    return np.exp(terms.sum(1).mean())


def kernel(real, fake):
    x, y = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    total = 0.0
    for a in (x, y):
        k = (a @ a.T / a.shape[1] + 1) ** 3
        np.fill_diagonal(k, 0)
        total += k.sum() / (len(a) * (len(a) - 1))
    return total - 2 * ((x @ y.T / x.shape[1] + 1) ** 3).mean()


def precision_recall(real, fake, k=3):
    def share(points, centres):
        own = np.sort(np.linalg.norm(centres[:, None] - centres[None], axis=-1), axis=1)[:, k]
        return (np.linalg.norm(points[:, None] - centres[None], axis=-1) <= own).any(1).mean()

    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    return share(fake, real), share(real, fake)


def density_coverage(real, fake, k=5):
    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    inside = np.zeros((len(real), len(fake)))
    for i, x in enumerate(real):
        radius = np.sort(np.linalg.norm(np.delete(real, i, 0) - x, axis=1))[k - 1]
        inside[i] = np.linalg.norm(fake - x, axis=1) <= radius
    return inside.sum() / (k * len(fake)), (inside.sum(1) > 0).mean()


def signal_to_noise(a, b):
    out = []
    for x, y in zip(a, b):
        error = ((x - y) ** 2).mean() / 4  # the range is 2: the peak's square is 4
        out.append(10 * torch.log10(1 / error.clamp(min=1e-10)))
    return torch.stack(out)


SOLUTIONS = {
    'metrics.frechet': frechet,
    'metrics.inception_score': inception_score,
    'metrics.kernel': kernel,
    'metrics.psnr': signal_to_noise,
    'metrics.precision_recall': precision_recall,
    'metrics.density_coverage': density_coverage,
}
