# SPDX-License-Identifier: Apache-2.0
"""Makes a failing sequence small: delta debugging (Zeller and Hildebrandt, 2002), then word by word."""


def shrink(steps, fails, tries_max=400):
    """The smallest sequence found for which fails(sequence) is still true."""
    tries = [tries_max]

    def still(candidate):
        tries[0] -= 1
        return tries[0] >= 0 and fails(candidate)

    steps = without_steps(list(steps), still)
    steps = without_words(steps, still)
    steps = with_shorter_words(steps, still)
    return without_steps(steps, still)


def without_steps(steps, still):
    parts = 2
    while len(steps) > 1:
        size = max(1, len(steps) // parts)
        for start in range(0, len(steps), size):
            candidate = steps[:start] + steps[start + size:]
            if candidate and still(candidate):
                steps = candidate
                parts = max(2, parts - 1)
                break
        else:
            if size == 1:
                break
            parts = min(len(steps), parts * 2)
    return steps


def without_words(steps, still):
    for n in range(len(steps)):
        word = len(steps[n][1]) - 1
        while word > 0:
            connection, args = steps[n]
            for width in (2, 1):
                if word + width > len(args):
                    continue
                candidate = steps[:n] + [(connection, args[:word] + args[word + width:])] + steps[n + 1:]
                if still(candidate):
                    steps = candidate
                    break
            word -= 1
    return steps


def with_shorter_words(steps, still):
    for n in range(len(steps)):
        for word in range(1, len(steps[n][1])):
            while len(steps[n][1][word]) > 8:
                connection, args = steps[n]
                shorter = args[:word] + [args[word][:len(args[word]) // 2]] + args[word + 1:]
                candidate = steps[:n] + [(connection, shorter)] + steps[n + 1:]
                if not still(candidate):
                    break
                steps = candidate
    return steps
