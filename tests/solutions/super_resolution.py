"Solutions to the exercises of 45_super_resolution, written from the task alone."


def by_strides(maps, r):
    batch, channels, height, width = maps.shape
    out = maps.new_empty(batch, channels // r**2, r * height, r * width)
    for a in range(r):
        for b in range(r):
            out[:, :, a::r, b::r] = maps[:, a * r + b :: r**2]
    return out


SOLUTIONS = {'super_resolution.shuffle_pixels': by_strides}
