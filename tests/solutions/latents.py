"Independent solutions of the exercises of 32_latents."

import math

import torch


def replace_layers(ws, other, layers):
    chosen = torch.zeros(ws.shape[1], dtype=torch.bool)
    for index in layers:
        chosen[index] = True
    return torch.where(chosen[None, :, None], other, ws)


def slerp(a, b, t):
    direction = a / a.norm(dim=-1, keepdim=True)
    cosine = ((direction * b).sum(-1, keepdim=True) / b.norm(dim=-1, keepdim=True)).clamp(-1, 1)
    angle = cosine.arccos()
    angle = angle.clamp(1e-3, math.pi - 1e-3)  # small angles: sines are in the ratio of the angles
    return (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / angle.sin()


def travel(keys, frames, loop=True):
    stops = list(keys) + [keys[0]] * bool(loop)
    film = [stops[i] + (stops[i + 1] - stops[i]) * (k / frames) for i in range(len(stops) - 1) for k in range(frames)]
    return torch.stack(film if loop else film + [stops[-1]])


def principal_axes(samples):
    values, vectors = torch.linalg.eigh(torch.cov(samples.T))
    order = values.argsort(descending=True)
    return vectors[:, order].T, values[order].clamp_min(0).sqrt()


def path_steps(f, g, distance, z0, z1, t, epsilon=1e-4, space='w'):
    def place(amount):
        amount = amount[:, None]
        if space == 'w':
            return (1 - amount) * f(z0) + amount * f(z1)
        a, b = z0 / z0.norm(dim=1, keepdim=True), z1 / z1.norm(dim=1, keepdim=True)
        across = b - (a * b).sum(1, keepdim=True) * a
        angle = torch.atan2(across.norm(dim=1, keepdim=True), (a * b).sum(1, keepdim=True))
        return f((amount * angle).cos() * a + (amount * angle).sin() * across / across.norm(dim=1, keepdim=True))

    return distance(g(place(t)), g(place(t + epsilon))) / math.pow(epsilon, 2)


SOLUTIONS = {
    'latents.replace_layers': replace_layers,
    'latents.slerp': slerp,
    'latents.travel': travel,
    'latents.principal_axes': principal_axes,
    'latents.path_steps': path_steps,
}
