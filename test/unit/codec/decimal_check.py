# SPDX-License-Identifier: Apache-2.0
#
# Reads lines "operation operand.. result" from standard input and computes each again with Python's
# decimal module, which is another implementation of the same arithmetic. Prints the lines of which
# it thinks otherwise, at most 20, and then ends with 1.

import decimal
import sys
from decimal import Decimal

LIMITS = dict(rounding=decimal.ROUND_HALF_UP, Emin=-1, Emax=37, traps=[])
CONTEXT = decimal.Context(prec=38, **LIMITS)
WIDE = decimal.Context(prec=120, rounding=decimal.ROUND_HALF_EVEN, Emin=-999999, Emax=999999, traps=[])

EXACT = {
    'add': lambda a, b: CONTEXT.add(a, b),
    'subtract': lambda a, b: CONTEXT.subtract(a, b),
    'multiply': lambda a, b: CONTEXT.multiply(a, b),
    'divide': lambda a, b: CONTEXT.divide(a, b) if b else Decimal('nan'),
    'remainder': lambda a, b: CONTEXT.plus(WIDE.remainder(a, b)),
    'negate': lambda a: CONTEXT.minus(a),
    'abs': lambda a: CONTEXT.abs(a),
    'parse': lambda a: CONTEXT.plus(a),
}
# Results of which the number of zeros at the end is not looked at.
VALUE = {
    'sqrt': WIDE.sqrt,
    'exp': WIDE.exp,
    'ln': WIDE.ln,
    'log10': WIDE.log10,
    'power': WIDE.power,
    'double': lambda text: Decimal(repr(float.fromhex(text))),
}
ROUNDING = {
    'round': decimal.ROUND_HALF_UP,
    'trunc': decimal.ROUND_DOWN,
    'floor': decimal.ROUND_FLOOR,
    'ceil': decimal.ROUND_CEILING,
}


def said(number):
    """What decimal.h says for it, but for the scale: None is an error."""
    if number.is_nan():
        return 'invalid'
    if number.is_infinite():
        return 'large'
    return number


def agrees(operation, operands, result):
    if operation in EXACT:
        expected = said(EXACT[operation](*map(WIDE.create_decimal, operands)))
        if isinstance(expected, Decimal):
            scale = -expected.as_tuple().exponent
            given = -Decimal(result).as_tuple().exponent
            return Decimal(result) == expected and given == max(scale, 0)
    elif operation in VALUE:
        if operation != 'double':
            operands = map(Decimal, operands)
        expected = said(VALUE[operation](*operands))
        if isinstance(expected, Decimal):
            expected = said(CONTEXT.plus(expected))
    elif operation in ROUNDING:
        unit = Decimal(1).scaleb(-int(operands[1]))
        expected = Decimal(operands[0])
        if -expected.as_tuple().exponent > int(operands[1]):
            expected = expected.quantize(unit, ROUNDING[operation], WIDE)
    elif operation == 'to_double':
        return float(Decimal(operands[0])) == float.fromhex(result)
    elif operation == 'floor_double':
        nearest = float.fromhex(result)
        above = nearest + ulp(nearest)
        return Decimal(nearest) <= Decimal(operands[0]) < Decimal(above)
    elif operation == 'compare':
        left, right = map(Decimal, operands)
        return (left > right) - (left < right) == int(result)
    elif operation == 'compare_double':
        left, right = Decimal(operands[0]), float.fromhex(operands[1])
        return (left > right) - (left < right) == int(result)
    elif operation == 'compare_shortest':
        left, right = Decimal(operands[0]), Decimal(repr(float.fromhex(operands[1])))
        return (left > right) - (left < right) == int(result)
    else:
        return False
    if isinstance(expected, str) or result in ('large', 'invalid'):
        return expected == result
    return Decimal(result) == expected


def ulp(value):
    """To the next double upwards."""
    import math
    return math.nextafter(value, math.inf) - value


def main():
    decimal.setcontext(WIDE)
    lines = wrong = 0
    for line in sys.stdin:
        operation, *operands, result = line.split()
        lines += 1
        if not agrees(operation, operands, result):
            wrong += 1
            if wrong <= 20:
                print('another result is expected:', line.rstrip(), flush=True)
    if lines == 0 or wrong > 0:
        sys.exit(1)


main()
