"""How fused kernels are compiled and run: numba's functions on torch's threads.

A kernel is a function of one address: a block of integers that holds a counter, the number of
items, and then sizes and addresses of arrays, in the order that its docstring names. Threads draw
runs of items from the counter until none are left, so each result is written by one thread, in one
order: answers do not depend on the number of threads.

Kernels are compiled when first called, a second each, and kept on disk; importing them compiles
nothing. Like torch's own operations, they hang in a forked process that inherits a team of threads.
"""

import _thread
import ctypes
import functools
import os
import time
from array import array
from collections.abc import Callable
from typing import Any

import torch
from numba import cfunc, njit, types
from torch import Tensor

from scdlab.compiling import warn_once

_FLAGS: dict[str, Any] = dict(
    nopython=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"}
)
# a function that several kernels call
shared_part = njit(**{k: v for k, v in _FLAGS.items() if k != "nopython"})
_KERNELS: list["Kernel"] = []


class Kernel:
    """A kernel, compiled when first called.

    Parameters
    ----------
    body : callable
        The function of one address that numba compiles.
    dtype : torch.dtype, default torch.float32
        The kind of the numbers it reads.
    """

    def __init__(self, body: Callable, dtype: torch.dtype = torch.float32) -> None:
        self.body = body
        self._reads = (dtype, torch.int64)
        self.__doc__ = body.__doc__
        _KERNELS.append(self)

    @functools.cached_property
    def compiled(self) -> Any:
        """numba's compiled function, with an `address` and a `ctypes` call."""
        signature = types.void(types.voidptr)
        try:
            return cfunc(signature, cache=True, **_FLAGS)(self.body)
        except Exception as error:  # a damaged cache may raise anything
            # what has nothing to do with the cache comes again here
            compiled = cfunc(signature, **_FLAGS)(self.body)
            warn_once(error)
            return compiled

    def __call__(self, items: int, *args: int | Tensor | None) -> None:
        """Run the kernel on torch's threads.

        Parameters
        ----------
        items : int
            Number of items that the threads share.
        *args : int or Tensor
            Sizes and tensors, in the order of the kernel's docstring: of the kernel's precision or
            int64, contiguous and on the processor.

        Raises
        ------
        TypeError
            For a tensor that the kernel would misread.
        """
        values = [0, items]
        for x in args:
            if type(x) is int:
                values.append(x)
            elif isinstance(x, Tensor) and x.dtype in self._reads and _is_plain(x):
                values.append(x.data_ptr())
            else:
                given = f"{x.dtype} on {x.device}" if isinstance(x, Tensor) else f"{x!r}"
                raise TypeError(
                    f"{self.body.__name__} was given {given}: a fault in scdlab, please report it."
                )
        _on_threads(self.compiled, array("q", values), args, torch.get_num_threads())


class Precisions:
    """A kernel in float32 and the same in float64.

    Two functions of a module, and not closures made here: numba keeps what it has compiled by the
    place of a function in its file.

    Parameters
    ----------
    single, double : callable
        The two functions of one address.
    """

    def __init__(self, single: Callable, double: Callable) -> None:
        self.kernels = {
            torch.float32: Kernel(single),
            torch.float64: Kernel(double, torch.float64),
        }

    def __call__(self, items: int, *args: int | Tensor) -> None:
        """Run the one in the precision of the last argument.

        Parameters
        ----------
        items : int
            Number of items that the threads share.
        *args : int or Tensor
            As of a `Kernel`; the last one is what is written.
        """
        out = args[-1]
        assert isinstance(out, Tensor)
        self.kernels[out.dtype](items, *args)


def _is_plain(x: Tensor) -> bool:
    """Whether a tensor is numbers in a row in the processor's memory."""
    return x.is_cpu and x.is_contiguous()


def compile_all() -> None:
    """Compile all kernels now and keep them on disk, so that no training waits for it.

    `make lab` calls this.
    """
    import scdlab.atoms.cell_list
    import scdlab.nn.ops.dispatch
    import scdlab.nn.ops.loops.activations
    import scdlab.nn.ops.loops.neighbor_attention
    import scdlab.nn.ops.loops.neighbor_attention_curvatures
    import scdlab.nn.ops.loops.tensor_products
    import scdlab.nn.ops.loops.tokens
    import scdlab.nn.ops.loops.vector_update
    import scdlab.nn.ops.loops.vector_update_curvatures
    from scdlab.nn.inference.force_call import compile_force_calls

    for kernel in _KERNELS:
        kernel.compiled  # noqa: B018
    scdlab.atoms.cell_list.compile_search()
    compile_force_calls()


def all_kernels() -> list[Kernel]:
    """The kernels that have been defined so far."""
    return list(_KERNELS)


def _on_threads(compiled: Any, block: array, args: tuple, n: int) -> None:
    """Run the compiled kernel on n threads at once and wait; block and args: all the memory that it
    works on.

    On torch's own thread team where it is to be had (its OpenMP library runs any C function): a
    second team would find the processors taken by the first, which spins for a while after each
    operation, waiting for the next.
    """
    data, _ = block.buffer_info()
    if n == 1:
        compiled.ctypes(data)
    elif TEAM is not None:
        TEAM(compiled.address, data, n, 0)
    else:
        memory = block, args

        def call(share: int, memory: tuple = memory) -> None:
            compiled.ctypes(data)

        on_own_threads(call, n)


def on_own_threads(call: Callable[[int], object], n: int) -> None:
    """Call a function with 0, 1, … n - 1, each on a thread, and wait.

    An interrupt waits until all have ended, and what the function holds stays until then. Bare
    threads: those of `threading` take locks as they start, and an interrupt that meets one can
    leave it taken.

    Parameters
    ----------
    call : callable
        What to call; it raises nothing, and lets other threads run.
    n : int
        How many threads; this one is the first.
    """
    interrupt = None
    started = []
    ended = []

    def work(share: int) -> None:
        call(share)
        ended.append(1)

    try:
        for share in range(1, n):
            started.append(_thread.start_new_thread(work, (share,)))
        call(0)
    except BaseException as error:
        interrupt = error
    while len(ended) < len(started):
        try:
            time.sleep(0)  # they end about when our own share does
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


def _team() -> Callable | None:
    """GOMP_parallel of the OpenMP library that torch has loaded, or None."""
    for name in ("libgomp.so.1", "libiomp5.so"):
        try:
            library = ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
            call = library.GOMP_parallel
        except (AttributeError, OSError):  # no such library here (other systems), or not loaded
            continue
        call.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        call.restype = None
        return call
    return None


TEAM = _team()  # runs a function on torch's threads; None where torch's are not to be had
