"Solutions to the exercises of 52_mesh, written from the task alone."

import torch


def cube_grid(resolution, side=2.0):
    k = torch.arange(resolution**3)
    index = torch.stack(
        [
            torch.div(k, resolution**2, rounding_mode='floor'),
            torch.div(k, resolution, rounding_mode='floor') % resolution,
            k % resolution,
        ],
        -1,
    )
    return index * (side / (resolution - 1)) - side / 2


SOLUTIONS = {'mesh.grid_points': cube_grid}
