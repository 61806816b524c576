"Several ways to do one thing, timed in turns, so that what slows the machine down for a while slows all of them."

import time
from statistics import median


def in_turns(ways: dict, repeats: int, warm_up: int = 0) -> dict[str, list[float]]:
    "Processor seconds of each way in each round; the first `warm_up` rounds are not counted."
    found = {name: [] for name in ways}
    for turn in range(warm_up + repeats):
        for name, way in ways.items():
            start = time.process_time()
            way()
            if turn >= warm_up:
                found[name].append(time.process_time() - start)
    return found


def best_of(ways: dict, repeats: int) -> dict[str, float]:
    "Least processor seconds of each way."
    return {name: min(found) for name, found in in_turns(ways, repeats).items()}


def print_ratios(seconds: dict[str, list[float]], images: int, base: str, called: str):
    "Milliseconds an image of each way, and the ratio to the way `base`, printed as `called`; medians."
    width, middle = max(map(len, seconds)) + 2, {name: median(found) for name, found in seconds.items()}
    for name, value in middle.items():
        print(f'{name:{width}}{1e3 * value / images:9.1f} ms an image, {value / middle[base]:8.1f} × {called}')
