"Answers to the assignment on the GAN game: another style, and wrong versions with the laws that they break."

import torch
import torch.nn.functional as F


def discriminator_loss(real_logits, fake_logits):
    yes, no = torch.ones_like(real_logits), torch.zeros_like(fake_logits)
    loss = F.binary_cross_entropy_with_logits
    return loss(real_logits, yes) + loss(fake_logits, no)


def generator_loss(fake_logits):
    return -F.logsigmoid(fake_logits).sum() / len(fake_logits)


def train_step(generator, discriminator, optimizer_g, optimizer_d, real, z, loss_d, loss_g):
    for parameter in generator.parameters():
        parameter.requires_grad_(False)
    optimizer_d.zero_grad(set_to_none=False)
    of_d = loss_d(discriminator(real).view(-1), discriminator(generator(z)).view(-1))
    of_d.backward()
    optimizer_d.step()
    for parameter in generator.parameters():
        parameter.requires_grad_(True)
    optimizer_g.zero_grad(set_to_none=False)
    of_g = loss_g(discriminator(generator(z)).view(-1))
    of_g.backward()
    optimizer_g.step()
    return float(of_d.detach()), float(of_g.detach())


def modes_found(points, centres, radius=0.2, share=0.02):
    counts, inside = [0] * len(centres), 0
    for point in points.tolist():
        gaps = [sum((a - b) ** 2 for a, b in zip(point, centre)) ** 0.5 for centre in centres.tolist()]
        if min(gaps) <= radius:
            inside += 1
            counts[gaps.index(min(gaps))] += 1
    return [sum(n >= share * len(points) for n in counts), inside / len(points)]


SOLUTIONS = dict(
    discriminator_loss=discriminator_loss, generator_loss=generator_loss, train_step=train_step, modes_found=modes_found
)

DECIDE = 'a discriminator that cannot decide pays 2 log 2'
VALUE = 'at the logits 1 and -2 it is the value of the formula'
TWICE = 'the same batch given twice costs the same'
OWN_MEAN = 'each batch counts with its own mean, whatever its size'
SIGNS = 'which way does each logit want to move? Look at the signs'
FINITE = 'value and slope at the logits 10,000 and -10,000 are finite'
FULL = 'a real point that is called generated, surely, still gives a full slope'
FULL_TOO = 'so does a generated point that is called real, surely'
MINUS_1 = 'at the logits -50 and -10,000 the slope is -1'


def one_step(order='dg', clear=True, judge_again=True, detach=True):
    "`train_step` with one part changed."

    def step(generator, discriminator, optimizer_g, optimizer_d, real, z, loss_d, loss_g):
        judge = lambda x: discriminator(x).flatten()
        fake = generator(z)
        early = loss_g(judge(fake))
        first = loss_d(judge(real), judge(fake.detach()))
        if clear:
            optimizer_d.zero_grad()
        if judge_again:
            first.backward()
            optimizer_d.step()
            second = loss_g(judge(generator(z)))
        else:
            gradients = torch.autograd.grad(early, list(generator.parameters()))
            first.backward()
            optimizer_d.step()
            second = early
        if clear:
            optimizer_g.zero_grad()
        if judge_again:
            second.backward()
        else:
            for p, g in zip(generator.parameters(), gradients):
                p.grad = g
        optimizer_g.step()
        return first.item(), second.item()

    return step


def count_of_inside(points, centres, radius=0.2, share=0.02):
    nearest, which = torch.cdist(points, centres).min(1)
    inside = nearest <= radius
    counts = torch.bincount(which[inside], minlength=len(centres))
    return int((counts >= share * inside.sum()).sum()), inside.float().mean().item()


def reach_counts_for_all(points, centres, radius=0.2, share=0.02):
    near = torch.cdist(points, centres) <= radius
    return int((near.float().mean(0) >= share).sum()), near.any(1).float().mean().item()


def first_in_reach(points, centres, radius=0.2, share=0.02):
    inside = torch.cdist(points, centres) <= radius
    counts = torch.bincount(inside.float().argmax(1)[inside.any(1)], minlength=len(centres))
    return int((counts >= share * len(points)).sum()), inside.any(1).float().mean().item()


def more_than_the_share(points, centres, radius=0.2, share=0.02):
    nearest, which = torch.cdist(points, centres).min(1)
    inside = nearest <= radius
    counts = torch.bincount(which[inside], minlength=len(centres))
    return int((counts > share * len(points)).sum()), inside.float().mean().item()


def quality_of_the_found(points, centres, radius=0.2, share=0.02):
    nearest, which = torch.cdist(points, centres).min(1)
    counts = torch.bincount(which[nearest <= radius], minlength=len(centres))
    found = counts >= share * len(points)
    return int(found.sum()), int(counts[found].sum()) / len(points)


def quality_counts_twice(points, centres, radius=0.2, share=0.02):
    found, _ = modes_found(points, centres, radius, share)
    return found, int((torch.cdist(points, centres) <= radius).sum()) / len(points)


def squared_distance(points, centres, radius=0.2, share=0.02):
    nearest, which = torch.cdist(points, centres).square().min(1)
    inside = nearest <= radius
    counts = torch.bincount(which[inside], minlength=len(centres))
    return int((counts >= share * len(points)).sum()), inside.float().mean().item()


WRONG = dict(
    discriminator_loss={
        'log of a sigmoid': (
            lambda r, f: -torch.sigmoid(r).log().mean() - (1 - torch.sigmoid(f)).log().mean(),
            [FINITE, FULL_TOO],
        ),
        'a small number under one logarithm': (
            lambda r, f: F.softplus(-r).mean() - (1 - torch.sigmoid(f) + 1e-8).log().mean(),
            [FULL_TOO],
        ),
        'a sum over the batch': (lambda r, f: F.softplus(-r).sum() + F.softplus(f).sum(), [DECIDE, TWICE, OWN_MEAN]),
        'the sign of the objective': (
            lambda r, f: F.logsigmoid(r).mean() + F.logsigmoid(-f).mean(),
            [DECIDE, VALUE, SIGNS, FULL, FULL_TOO],
        ),
        'half of it': (
            lambda r, f: (F.softplus(-r).mean() + F.softplus(f).mean()) / 2,
            [DECIDE, VALUE, FULL, FULL_TOO],
        ),
    },
    generator_loss={
        'minimax': (
            lambda d: -F.softplus(d).mean(),
            ['at the logit 0 it costs log 2, as a scalar', 'how steep is it where the discriminator is sure?', MINUS_1],
        ),
        'log of a sigmoid': (lambda d: -torch.sigmoid(d).log().mean(), [FINITE, MINUS_1]),
        'a small number under the logarithm': (lambda d: -(torch.sigmoid(d) + 1e-8).log().mean(), [MINUS_1]),
        'the sigmoid cut off': (lambda d: -torch.sigmoid(d).clamp(1e-6).log().mean(), [MINUS_1]),
        'cross-entropy of the sigmoid': (
            lambda d: F.binary_cross_entropy(torch.sigmoid(d), torch.ones_like(d)),
            [MINUS_1],
        ),
        'the sign turned': (
            lambda d: F.softplus(d).mean(),
            [
                'which way does the logit want to move? Look at the sign',
                'how steep is it where the discriminator is sure?',
                MINUS_1,
            ],
        ),
    },
    train_step={
        'gradients are never cleared': (
            one_step(clear=False),
            [
                'the second step of the discriminator knows nothing of old gradients',
                'nor does the second step of the generator',
            ],
        ),
        'both judged before either moves': (
            one_step(judge_again=False),
            [
                'the generator answers the discriminator of now, not of before',
                'each loss is that before the step it causes',
                'the second step of the discriminator knows nothing of old gradients',
                'nor does the second step of the generator',
            ],
        ),
    },
    modes_found={
        'the share of the points inside': (
            count_of_inside,
            ['the share is one of all points, also of those that belong to nobody'],
        ),
        'a point belongs to all within reach': (
            reach_counts_for_all,
            ['a point within reach of two centres belongs to the nearer one'],
        ),
        'a point belongs to the first within reach': (
            first_in_reach,
            ['a point within reach of two centres belongs to the nearer one'],
        ),
        'the quality of the found centres only': (
            quality_of_the_found,
            ['the quality counts the points near every centre, also near those that are not found'],
        ),
        'a point counts for all within reach': (
            quality_counts_twice,
            ['within reach of two centres a point counts once in the quality'],
        ),
        'more than the share': (more_than_the_share, ['a centre with exactly the share is found']),
        'squared distances': (squared_distance, ['the distance is the straight one: 0.3 and 0.4 make 0.5']),
    },
)
