"""The calculator: arithmetic for a model, with every step bounded in advance.

simpleeval evaluates; what it may see and how large a step may grow is limited here, because its own limits allow
`4000000**4000000`. Nothing below can take longer than a few milliseconds or produce more than `MAX_DIGITS` digits.
"""

import ast
import math
import operator
from collections.abc import Callable, Iterator
from typing import Any, Final

Number = int | float

MAX_LENGTH: Final = 500  # characters; checked before anything is parsed
MAX_DEPTH: Final = 40  # levels of nesting
MAX_DIGITS: Final = 4000  # below 4300, beyond which Python refuses to print an integer
MAX_BITS: Final = int(MAX_DIGITS / math.log10(2))
MAX_FACTORIAL: Final = 1000
MAX_CHOOSE: Final = 10_000

_SPELLINGS: Final = str.maketrans(
    # What people and models write: multiplication sign, middle dot, division sign, minus sign, en dash, squared, cubed.
    {
        "^": "**", "\u00d7": "*", "\u00b7": "*", "\u00f7": "/", "\u2212": "-", "\u2013": "-",
        "\u00b2": "**2", "\u00b3": "**3", "\n": " ", "\t": " ",
    }
)  # fmt: skip
_CONSTANTS: Final[dict[str, Number]] = {"pi": math.pi, "π": math.pi, "e": math.e, "tau": math.tau}
_ALLOWED: Final = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.Constant, ast.Call, ast.Name, ast.Load, ast.List, ast.Tuple,
    ast.Compare, ast.BoolOp, ast.IfExp, ast.operator, ast.unaryop, ast.cmpop, ast.boolop,
)  # fmt: skip


class CalculatorError(ValueError):
    """Why an expression has no result, in words for the model."""


def calculate(expression: str) -> str:
    """The value of `expression` as text: up to 15 significant digits, integers in full.

    `^` means power. Raises CalculatorError if there is no result, within milliseconds whatever the input.
    """
    from simpleeval import EvalWithCompoundTypes, InvalidExpression  # imported on first use: 3 ms, seldom needed

    tree = _parse(expression)
    engine = EvalWithCompoundTypes(operators=_OPERATORS, functions=_FUNCTIONS, names=_CONSTANTS)
    try:
        return _text(engine.eval(expression, previously_parsed=tree.body))
    except CalculatorError:
        raise
    except ZeroDivisionError:
        raise CalculatorError("Division by zero.") from None
    except OverflowError:
        raise CalculatorError("The result is too large.") from None
    except InvalidExpression as error:
        raise CalculatorError(_unknown(error)) from None
    except (LookupError, AttributeError, SyntaxError):
        raise CalculatorError("This is not an arithmetic expression.") from None
    except (ValueError, TypeError, ArithmeticError) as error:
        raise CalculatorError(f"There is no result: {error}.") from None
    except (RecursionError, MemoryError):
        raise CalculatorError("The expression is nested too deeply.") from None


def _parse(expression: str) -> ast.Expression:
    if len(expression) > MAX_LENGTH:
        raise CalculatorError(f"The expression is too long: at most {MAX_LENGTH} characters.")
    source = expression.translate(_SPELLINGS).strip()
    if not source:
        raise CalculatorError("The expression is empty.")
    depth = deepest = 0
    for character in source:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        raise CalculatorError("The expression is nested too deeply.")
    try:
        tree = ast.parse(source, mode="eval")
    except (SyntaxError, ValueError):
        raise CalculatorError("This is not an arithmetic expression.") from None
    except (RecursionError, MemoryError):
        raise CalculatorError("The expression is nested too deeply.") from None
    for node, level in _nodes(tree):
        if level > MAX_DEPTH * 2:
            raise CalculatorError("The expression is nested too deeply.")
        if not isinstance(node, _ALLOWED) or (isinstance(node, ast.Call) and node.keywords):
            raise CalculatorError("Only numbers, operators and functions of numbers are understood.")
        if isinstance(node, ast.Constant) and not isinstance(node.value, int | float):
            raise CalculatorError("Only numbers can be calculated with.")
    return tree


def _nodes(tree: ast.AST) -> Iterator[tuple[ast.AST, int]]:
    """Every node with its depth, without recursion."""
    pending: list[tuple[ast.AST, int]] = [(tree, 0)]
    while pending:
        node, level = pending.pop()
        yield node, level
        pending.extend((child, level + 1) for child in ast.iter_child_nodes(node))


def _unknown(error: Exception) -> str:
    name = getattr(error, "func_name", None) or getattr(error, "name", None)
    if name:
        return f"{name!r} is not known. Functions: {', '.join(sorted(_FUNCTIONS))}; constants: pi, e, tau."
    return "This is not an arithmetic expression."


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(_small(value))
    if isinstance(value, float):
        if math.isnan(value) or math.isinf(value):
            raise CalculatorError("The result is too large or not defined.")
        return f"{value:.15g}"
    if isinstance(value, complex):
        raise CalculatorError("The result is not a real number.")
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    raise CalculatorError("The result is not a number.")


def _number(value: object) -> Number:
    if isinstance(value, int | float):
        return value
    raise CalculatorError("Only numbers can be calculated with.")


def _integer(value: object, at_most: int) -> int:
    number = _number(value)
    if isinstance(number, float):
        if not number.is_integer():
            raise CalculatorError("A whole number is required here.")
        number = int(number)
    if number > at_most:
        raise CalculatorError(f"The number is too large: at most {at_most}.")
    return number


def _small(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise CalculatorError("The result is too large.")
    return value


def _checked(step: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """`step` for numbers only, with a bounded result (for steps whose result is at most as long as both operands)."""
    return lambda a, b: _small(step(_number(a), _number(b)))


def _power(a: object, b: object) -> Any:
    base, exponent = _number(a), _number(b)
    if isinstance(base, int) and isinstance(exponent, int) and exponent > 0 and abs(base) > 1:
        if exponent > MAX_BITS or base.bit_length() * exponent > MAX_BITS + exponent:
            raise CalculatorError("The result is too large.")
    elif isinstance(base, int) and isinstance(exponent, int) and exponent > 0:
        return base ** (2 - exponent % 2)  # 0, 1 and -1: it only matters whether the exponent is odd
    return _small(base**exponent)


def _shift_left(a: object, b: object) -> int:
    value, by = _integer(a, 1 << MAX_BITS), _integer(b, MAX_BITS)
    return int(_small(value << by))


def _factorial(n: object) -> int:
    return math.factorial(_integer(n, MAX_FACTORIAL))


def _comb(n: object, k: object) -> int:
    return math.comb(_integer(n, MAX_CHOOSE), _integer(k, MAX_CHOOSE))


def _perm(n: object, k: object) -> int:
    return int(_small(math.perm(_integer(n, MAX_FACTORIAL), _integer(k, MAX_FACTORIAL))))


def _round(value: object, digits: object = None) -> Any:
    if digits is None:
        return round(_number(value))
    places = _integer(digits, 100)
    if places < -MAX_DIGITS:
        raise CalculatorError("The number of digits is too large.")
    return round(_number(value), places)


def _lcm(*values: object) -> int:
    numbers = [_integer(v, 1 << MAX_BITS) for v in values]
    if sum(n.bit_length() for n in numbers) > MAX_BITS:
        raise CalculatorError("The result is too large.")
    return math.lcm(*numbers)


def _sum(*values: object) -> Any:
    items = values[0] if len(values) == 1 and isinstance(values[0], list | tuple) else values
    return _small(sum(_number(item) for item in items))


_OPERATORS: Final[dict[type[ast.AST], Callable[..., Any]]] = {
    ast.Add: _checked(operator.add),
    ast.Sub: _checked(operator.sub),
    ast.Mult: _checked(operator.mul),
    ast.Div: _checked(operator.truediv),
    ast.FloorDiv: _checked(operator.floordiv),
    ast.Mod: _checked(operator.mod),
    ast.Pow: _power,
    ast.LShift: _shift_left,
    ast.RShift: lambda a, b: _integer(a, 1 << MAX_BITS) >> _integer(b, MAX_BITS),
    ast.USub: lambda a: -_number(a),
    ast.UAdd: _number,
    ast.Not: operator.not_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Gt: operator.gt,
    ast.Lt: operator.lt,
    ast.GtE: operator.ge,
    ast.LtE: operator.le,
}

_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    **{
        name: getattr(math, name)
        for name in (
            "sqrt", "cbrt", "exp", "log", "log2", "log10", "sin", "cos", "tan", "asin", "acos", "atan", "atan2",
            "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "degrees", "radians", "floor", "ceil", "trunc",
            "gcd", "isqrt", "hypot",
        )
    },
    "abs": abs,
    "comb": _comb,
    "factorial": _factorial,
    "lcm": _lcm,
    "ln": math.log,
    "max": max,
    "min": min,
    "perm": _perm,
    "pow": _power,
    "round": _round,
    "sum": _sum,
}  # fmt: skip
