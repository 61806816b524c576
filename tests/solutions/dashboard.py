"Independent solutions of the dashboard chapter's exercises."

import math


def throttle(interval, clock):
    state = {}

    def ready():
        now = clock()
        if 'last' in state and now < state['last'] + interval:
            return False
        state['last'] = now
        return True

    return ready


def steps_per_second(durations, half_life):
    ago, weights = 0.0, []
    for d in reversed(durations):
        weights.append((math.exp(-math.log(2) * ago / half_life), d))
        ago += d
    return sum(w for w, _ in weights) / sum(w * d for w, d in weights)


def halve(values):
    out = []
    for i in range(0, len(values) - 1, 2):
        out.append(sum(values[i : i + 2]) / 2)
    return out


SOLUTIONS = {'dashboard.throttle': throttle, 'dashboard.steps_per_second': steps_per_second, 'dashboard.halve': halve}
