"Solutions to the exercises of 55_pigan, written from the task alone."

import torch


def towards_the_mean(condition, mean, psi):
    return type(condition)(
        mean.frequencies + psi * (condition.frequencies - mean.frequencies),
        mean.phases + psi * (condition.phases - mean.phases),
    )


def in_pieces(draw, loss, condition, seeds):
    def piece(k):
        return draw(condition, k, torch.Generator().manual_seed(seeds[k]))

    with torch.no_grad():
        values = [piece(k) for k in range(len(seeds))]
    leaves = [v.clone().requires_grad_(True) for v in values]
    loss(torch.cat(leaves)).backward()
    total = torch.zeros_like(condition)
    for k, leaf in enumerate(leaves):
        (gradient,) = torch.autograd.grad((piece(k) * leaf.grad).sum(), condition)
        total += gradient
    return total


SOLUTIONS = {'pigan.truncate_condition': towards_the_mean, 'pigan.deferred_gradient': in_pieces}
