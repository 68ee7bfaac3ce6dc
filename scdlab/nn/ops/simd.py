"""Eight float32 numbers at once, as a type of numba: what the fused kernels compute with.

Left to itself, a compiler must assume that arrays overlap, and guards every short loop against it;
here loads and stores are written out. An `eight` lives in one register where the processor has
registers of 256 bits, else in two. Addresses are integers, in bytes.

numba keeps compiled kernels by the date of the file of their loop and does not look here: after a
change, save the files of `loops` too.
"""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types  # pyright: ignore[reportPrivateImportUsage]
from numba.extending import intrinsic, models, overload, register_model

_LLVM = ir.VectorType(ir.FloatType(), 8)
_INT = ir.IntType(32)


class _Eight(types.Type):
    def __init__(self):
        super().__init__(name="Eight")


eight = _Eight()


def typed_intrinsic(define: Callable[..., Any]) -> Any:
    """numba's `intrinsic`; a type checker would take its typing context for a parameter."""
    return intrinsic(define)


@register_model(_Eight)
class _EightModel(models.PrimitiveModel):
    def __init__(self, manager, type_):
        super().__init__(manager, type_, _LLVM)


def _shuffled(builder, v, lanes):
    return builder.shuffle_vector(v, v, ir.Constant(ir.VectorType(_INT, 8), lanes))


@typed_intrinsic
def load(typing: Any, address: Any) -> Any:
    """The eight numbers at an address."""

    def code(context, builder, signature, args):
        value = builder.load(builder.inttoptr(args[0], _LLVM.as_pointer()))
        value.align = 4
        return value

    return eight(types.int64), code


@typed_intrinsic
def store(typing: Any, address: Any, v: Any) -> Any:
    """Write eight numbers to an address."""

    def code(context, builder, signature, args):
        builder.store(args[1], builder.inttoptr(args[0], _LLVM.as_pointer())).align = 4
        return context.get_dummy_value()

    return types.void(types.int64, eight), code


@typed_intrinsic
def fill(typing: Any, x: Any) -> Any:
    """Eight times the number x."""

    def code(context, builder, signature, args):
        one = builder.insert_element(
            ir.Constant(_LLVM, ir.Undefined), args[0], ir.Constant(_INT, 0)
        )
        return _shuffled(builder, one, [0] * 8)

    return eight(types.float32), code


@typed_intrinsic
def total(typing: Any, v: Any) -> Any:
    """The sum of the eight."""

    def code(context, builder, signature, args):
        x = args[0]
        for half in (4, 2, 1):
            x = builder.fadd(x, _shuffled(builder, x, [(k + half) % 8 for k in range(8)]))
        return builder.extract_element(x, ir.Constant(_INT, 0))

    return types.float32(eight), code


def _operator(function, instruction):
    @typed_intrinsic
    def both(typing, a, b):
        def code(context, builder, signature, args):
            return getattr(builder, instruction)(*args)

        return eight(eight, eight), code

    @overload(function)
    def _(a, b):
        if a is eight and b is eight:
            return lambda a, b: both(a, b)


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")
_operator(operator.mul, "fmul")


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
