"Solutions to the exercises of 47_conditional_style, written from the task alone."


def by_columns(w, tags, directions):
    out = w.clone()
    for column, direction in zip(tags.T, directions.T):
        out = out + column[:, None] * direction
    return out


SOLUTIONS = {'conditional_style.tagged_style': by_columns}
