"""The loops of the fused kernels: messages are summed over neighbors as they are formed.

A layer on [edges, d] tensors is bound by memory: each operation reads and writes one, and a
multiplication is over before its numbers have arrived. Here one loop goes over the edges of an
atom, forms the message of each neighbor in registers, eight features at a time, and adds it up.
Nothing of the size [edges, d] is ever written.

A pair's filter w_p [d] is a weighted sum of `taps` consecutive rows of a table T [K, d],

    w_p = Σ_t B_pt T_{node_p + t},

a spline over distance (four taps), or, with B = 1 and node_p = p, row p itself (one tap). Directed
edges are numbered so that edge p < P is i ← j (i receives from j) and edge P + p is j ← i. `start`,
`sources`, `edges` list for every atom its sources, and by which edge. `begin`, `order` list the
pairs that start at each row of T.

Float32 and int64; d, and the width of a head, are multiples of eight. Each loop draws runs of items
from a counter (`runtime`); each result is written by one thread.

`cfconv`, `attention` and `vectors` hold the loops of one form each, with the names of
`neighbor_sums`; `neighbor_attention` and `vector_update` those of a fused function each
(`fused_function`), with second derivatives in files of their own; `rows` what they share, `sorting`
the lists of edges. numba keeps compiled kernels by the date of the file of the loop alone: after a
change of a file that it imports from, such as `rows`, `activations` or `simd`, save that one too.
"""
