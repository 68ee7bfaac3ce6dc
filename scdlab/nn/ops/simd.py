"""Eight float32 numbers at once, or eight float64 numbers, as types of numba: what the fused
kernels compute with.

Left to itself, a compiler must assume that arrays overlap, and guards every short loop against it;
here loads and stores are written out. An `eight` lives in one register where the processor has
registers of 256 bits, else in two. Addresses are integers, in bytes.

numba keeps compiled kernels by the date of the file of their loop and does not look here: after a
change, save the files of `loops` too.
"""

import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import carray, njit, types  # pyright: ignore[reportPrivateImportUsage]
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic, models, overload, register_model

_INT = ir.IntType(32)


class _Eight(types.Type):
    """Eight numbers of a kind: of numba, of LLVM, in bytes."""

    def __init__(self, name: str, number: Any, llvm: Any, word: int) -> None:
        self.number = number
        self.word = word
        self.llvm = ir.VectorType(llvm, 8)
        super().__init__(name=name)


eight = _Eight("Eight", types.float32, ir.FloatType(), 4)
eight_doubles = _Eight("EightDoubles", types.float64, ir.DoubleType(), 8)
_OF_NUMBER = {eight.number: eight, eight_doubles.number: eight_doubles}


def typed_intrinsic(define: Callable[..., Any]) -> Any:
    """numba's `intrinsic`; a type checker would take its typing context for a parameter."""
    return intrinsic(define)


@register_model(_Eight)
class _EightModel(models.PrimitiveModel):
    def __init__(self, manager, type_):
        super().__init__(manager, type_, type_.llvm)


def _shuffled(builder, v, lanes):
    return builder.shuffle_vector(v, v, ir.Constant(ir.VectorType(_INT, 8), lanes))


def _load(kind: _Eight) -> Callable[..., Any]:
    def code(context, builder, signature, args):
        value = builder.load(builder.inttoptr(args[0], kind.llvm.as_pointer()))
        value.align = kind.word
        return value

    return code


@typed_intrinsic
def load(typing: Any, address: Any) -> Any:
    """The eight float32 numbers at an address."""
    return eight(types.int64), _load(eight)


@typed_intrinsic
def load_like(typing: Any, address: Any, one: Any) -> Any:
    """The eight numbers at an address, of the kind of the number `one`."""
    kind = _OF_NUMBER[one]
    return kind(types.int64, one), _load(kind)


@typed_intrinsic
def store(typing: Any, address: Any, v: Any) -> Any:
    """Write eight numbers to an address."""

    def code(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], v.llvm.as_pointer())
        builder.store(args[1], pointer).align = v.word
        return context.get_dummy_value()

    return types.void(types.int64, v), code


@typed_intrinsic
def number(typing: Any, address: Any, one: Any) -> Any:
    """The number at an address, of the kind of the number `one`."""
    llvm = _OF_NUMBER[one].llvm.element

    def code(context, builder, signature, args):
        return builder.load(builder.inttoptr(args[0], llvm.as_pointer()))

    return one(types.int64, one), code


@typed_intrinsic
def put(typing: Any, address: Any, x: Any) -> Any:
    """Write the number x to an address."""
    llvm = _OF_NUMBER[x].llvm.element

    def code(context, builder, signature, args):
        builder.store(args[1], builder.inttoptr(args[0], llvm.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64, x), code


@typed_intrinsic
def like(typing: Any, x: Any, one: Any) -> Any:
    """The float64 number x, rounded to the kind of the number `one`."""

    def code(context, builder, signature, args):
        return context.cast(builder, args[0], types.float64, one)

    return one(types.float64, one), code


@typed_intrinsic
def word(typing: Any, one: Any) -> Any:
    """How many bytes numbers of the kind of the number `one` take."""
    size = one.bitwidth // 8

    def code(context, builder, signature, args):
        return context.get_constant(types.int64, size)

    return types.int64(one), code


def ask(builder: Any, address: Any) -> None:
    """Emit the request for the 64 bytes about an address, which will be read soon."""
    pointer = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer, _INT, _INT, _INT])
    request = get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
    where = builder.inttoptr(address, pointer)
    builder.call(request, [where, *(ir.Constant(_INT, x) for x in (0, 3, 1))])  # to read; data


@typed_intrinsic
def prefetch(typing: Any, address: Any) -> Any:
    """Ask for the 64 bytes about an address, which will be read soon."""

    def code(context, builder, signature, args):
        ask(builder, args[0])
        return context.get_dummy_value()

    return types.void(types.int64), code


@typed_intrinsic
def keep_apart(typing: Any) -> Any:
    """Have the function that calls this stay a function, where a compiler would copy it into those
    that call it: for what is large."""

    def code(context, builder, signature, args):
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), code


@typed_intrinsic
def fill(typing: Any, x: Any) -> Any:
    """Eight times the number x."""
    kind = _OF_NUMBER[x]

    def code(context, builder, signature, args):
        one = builder.insert_element(
            ir.Constant(kind.llvm, ir.Undefined), args[0], ir.Constant(_INT, 0)
        )
        return _shuffled(builder, one, [0] * 8)

    return kind(x), code


def _over_lanes(builder, x, combine):
    for half in (4, 2, 1):
        x = combine(x, _shuffled(builder, x, [(k + half) % 8 for k in range(8)]))
    return builder.extract_element(x, ir.Constant(_INT, 0))


@typed_intrinsic
def total(typing: Any, v: Any) -> Any:
    """The sum of the eight."""

    def code(context, builder, signature, args):
        return _over_lanes(builder, args[0], builder.fadd)

    return v.number(v), code


@typed_intrinsic
def totals(typing: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> Any:
    """The sums of each of eight eights."""

    def code(context, builder, signature, args):
        def halved(x, y):
            """Of two rows of sums, neighbors added."""
            even, odd = (
                builder.shuffle_vector(
                    x, y, ir.Constant(ir.VectorType(_INT, 8), [*range(k, 16, 2)])
                )
                for k in (0, 1)
            )
            return builder.fadd(even, odd)

        rows = list(args)
        while len(rows) > 1:
            rows = [halved(*rows[k : k + 2]) for k in range(0, len(rows), 2)]
        return rows[0]

    return a(a, b, c, d, e, f, g, h), code


def _larger(builder, a, b):
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


@typed_intrinsic
def larger(typing: Any, a: Any, b: Any) -> Any:
    """The larger ones of two eights."""

    def code(context, builder, signature, args):
        return _larger(builder, *args)

    return a(a, b), code


@typed_intrinsic
def largest(typing: Any, v: Any) -> Any:
    """The largest of the eight."""

    def code(context, builder, signature, args):
        return _over_lanes(builder, args[0], lambda a, b: _larger(builder, a, b))

    return v.number(v), code


def _operator(function, instruction):
    @typed_intrinsic
    def both(typing, a, b):
        def code(context, builder, signature, args):
            return getattr(builder, instruction)(*args)

        return a(a, b), code

    @overload(function)
    def _(a, b):
        if isinstance(a, _Eight) and a == b:
            return lambda a, b: both(a, b)


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")
_operator(operator.mul, "fmul")
_operator(operator.truediv, "fdiv")


class _Exp(NamedTuple):
    """How e^x = 2^n e^r, x = n ln 2 + r, is taken: ln 2 in two parts, coefficients of a polynomial
    for e^r where |r| ≤ ln(2)/2 (the highest power first), and the bits of 2^n."""

    bound: float  # beyond it, e^x is held: its small multiples stay normal numbers
    ln2: tuple[float, float]
    coefficients: tuple[float, ...]
    bits: int
    bias: int
    mantissa: int


# Cephes' expf; the power series
_SINGLE = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1)
_EXP = {
    "Eight": _Exp(80.0, (0.693359375, -2.12194440e-4), (*_SINGLE, 0.5, 1.0, 1.0), 32, 127, 23),
    "EightDoubles": _Exp(
        700.0,
        (6.93145751953125e-1, 1.42860682030941723212e-6),
        tuple(1 / math.factorial(k) for k in range(13, -1, -1)),
        64,
        1023,
        52,
    ),
}


@typed_intrinsic
def exp(typing: Any, v: Any) -> Any:
    """e to the power of the eight, which are held within ±80, or ±700 of doubles."""
    how = _EXP[v.name]

    def code(context, builder, signature, args):
        def constant(x):
            return ir.Constant(v.llvm, [ir.Constant(v.llvm.element, x)] * 8)

        def call(name, *values):
            kind = ir.FunctionType(v.llvm, [v.llvm] * len(values))
            name = f"llvm.{name}.v8f{how.bits}"
            return builder.call(get_or_insert_function(builder.module, kind, name), values)

        x = call("minnum", args[0], constant(how.bound))
        x = call("maxnum", x, constant(-how.bound))
        n = call("floor", call("fma", x, constant(1 / math.log(2)), constant(0.5)))
        r = x
        for part in how.ln2:
            r = call("fma", n, constant(-part), r)
        p = constant(how.coefficients[0])
        for c in how.coefficients[1:]:
            p = call("fma", p, r, constant(c))
        whole = ir.VectorType(ir.IntType(how.bits), 8)
        power = builder.fptosi(n, ir.VectorType(_INT, 8))
        if how.bits > 32:
            power = builder.sext(power, whole)

        def integer(x):
            return ir.Constant(whole, [ir.Constant(whole.element, x)] * 8)

        power = builder.shl(builder.add(power, integer(how.bias)), integer(how.mantissa))
        return builder.fmul(p, builder.bitcast(power, v.llvm))

    return v(v), code


@typed_intrinsic
def _pointer(typing, address):
    def code(context, builder, signature, args):
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), code


@njit(inline="always")
def ints(address: int, n: int) -> np.ndarray:
    """n int64 numbers at an address, as an array."""
    return carray(_pointer(address), (n,), np.int64)


@njit(inline="always")
def floats(address: int, n: int, d: int) -> np.ndarray:
    """n × d float32 numbers at an address, as an array."""
    return carray(_pointer(address), (n, d), np.float32)


@typed_intrinsic
def draw(typing: Any, counter: Any, size: Any) -> Any:
    """Add `size` to the int64 that `counter` points at, and return what it was.

    Atomic: threads share a queue.
    """

    def code(context, builder, signature, args):
        return builder.atomic_rmw(
            "add", builder.bitcast(args[0], ir.IntType(64).as_pointer()), args[1], "monotonic"
        )

    return types.int64(types.voidptr, types.int64), code
