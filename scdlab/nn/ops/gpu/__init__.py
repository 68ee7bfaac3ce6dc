"""The forms of `neighbor_sums` in Triton, for float32 on an NVIDIA GPU.

As in `loops`, messages are summed over neighbors as they are formed: nothing of the size [edges, d]
is ever written, and filters are read from the rows of their table inside the kernel. Every result
is written by one program, in one order (edges listed by atom, pairs by row of a table), without
atomic additions: a repeated run changes no bit.

`kernels` holds the kernels, `dispatch` says which of them gives which derivative, `lists` makes the
lists that they walk, and `available` says whether they can run here, and if not, why.
"""
