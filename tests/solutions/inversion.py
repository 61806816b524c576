"Solutions to the exercises of 41_inversion, written from the task alone."

import numpy as np
import torch


def rate(step, steps):
    share = step / steps
    rising = 1 if share > 0.05 else share * 20
    left = (1 - share) * 4
    falling = 1 if left > 1 else np.sin(np.pi * left / 2) ** 2
    return float(rising * falling)


def neighbours(maps):
    sums = []
    for number in range(len(maps[0])):
        of_one = 0
        for noise in maps:
            grid = noise[number, 0].double()
            while True:
                beside, below = torch.cat([grid[:, -1:], grid[:, :-1]], 1), torch.cat([grid[-1:], grid[:-1]])
                of_one = of_one + torch.mean(grid * beside) ** 2 + torch.mean(grid * below) ** 2
                if len(grid) <= 8:
                    break
                side = len(grid) // 2
                grid = grid.reshape(side, 2, side, 2).mean((1, 3))
        sums.append(of_one)
    return torch.stack(sums).to(maps[0].dtype)


def winners(loss, n):
    starts, values = len(loss) // n, loss.tolist()
    values = [np.inf if np.isnan(value) else value for value in values]
    rows = [min(range(i * starts, (i + 1) * starts), key=values.__getitem__) for i in range(n)]
    return torch.tensor(rows)


SOLUTIONS = {
    'inversion.learning_rate_ramp': rate,
    'inversion.noise_regulariser': neighbours,
    'inversion.best_of_starts': winners,
}
