"Solutions to the exercises of 59_orbit, written from the task alone."

import math

import torch

from animegan_nb.cameras import rays


def pull(yaw, pitch, dx, dy, gain, pitch_limit=1.2, yaw_limit=None):
    new = pitch + dy * gain
    if new > pitch_limit:
        new = pitch_limit
    if new < -pitch_limit:
        new = -pitch_limit
    yaw -= dx * gain / math.cos(pitch)
    if yaw_limit is not None and abs(yaw) > yaw_limit:
        yaw = math.copysign(yaw_limit, yaw)
    return yaw, new


def wheel(fov, notches, step=1.1):
    focal = 1 / math.tan(math.radians(fov / 2))
    return min(120.0, max(1.0, 2 * math.degrees(math.atan(step**notches / focal))))


def faces(depth, cam2world, fov):
    n, _, h, w = depth.shape
    d = rays(cam2world, fov, (h, w)).directions
    along = (d @ cam2world[:, :3, 2:3])[..., 0].neg()
    t = depth.reshape(n, -1) / along
    p = (cam2world[:, None, :3, 3] + d * t[..., None]).reshape(n, h, w, 3)
    out = torch.zeros_like(p)
    up = p[:, :-2, 1:-1] - p[:, 2:, 1:-1]
    right = p[:, 1:-1, 2:] - p[:, 1:-1, :-2]
    cross = torch.linalg.cross(right, up)
    out[:, 1:-1, 1:-1] = cross / cross.norm(dim=-1, keepdim=True)
    out[~(out.isfinite().all(-1) & depth[:, 0].isfinite())] = 0  # nothing, or next to it
    return out.permute(0, 3, 1, 2)


SOLUTIONS = {'orbit.drag': pull, 'orbit.zoom': wheel, 'orbit.depth_normals': faces}
