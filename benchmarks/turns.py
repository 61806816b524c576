"Several ways to do one thing, timed in turns, so that what slows the machine down for a while slows all of them."

import time

import numpy as np


def in_turns(ways: dict, repeats: int) -> dict[str, float]:
    "The median processor seconds of each way."
    times = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.process_time()
            way()
            times[name].append(time.process_time() - start)
    return {name: float(np.median(values)) for name, values in times.items()}


def print_ratios(seconds: dict[str, float], images: int, base: str, called: str):
    "Milliseconds an image of each way, and the ratio to the way `base`, printed as `called`."
    width = max(map(len, seconds)) + 2
    for name, value in seconds.items():
        print(f'{name:{width}}{1e3 * value / images:9.1f} ms an image, {value / seconds[base]:8.1f} × {called}')
