"""The pairs of one large structure, by a cell list: atoms are sorted into cells, and each looks
into those that the cutoff may reach.

    f = x B⁻¹                  fractional coordinates; B, the cell vectors as rows
    w = x - ⌊f⌋ B              the atom in the cell, along periodic directions
    r = w_j + t B - w_i        t: the image of the structure in which a cell is met
      = x_j - x_i + s B,       s = t - ⌊f_j⌋ + ⌊f_i⌋

Cells are parts of a cutoff wide, so that few atoms are looked at that are too far; those along the
last direction follow each other in memory, and so do their atoms. What is compiled is kept on disk.
"""

from typing import Any

import numpy as np

from scdlab.compiling import compiled, part, within

FINENESS = (2, 2, 8)  # cells in a cutoff, along each direction
ROOM = 32  # pairs of an atom that there is room for at first


@within
def _image(x: int, number: int) -> int:
    """In which image of the structure cell x lies: ⌊x / number⌋."""
    if x >= 0:
        return 0 if x < number else x // number
    return -((number - 1 - x) // number)


@within
def _is_after_zero(x: int, y: int, z: int) -> bool:
    """Whether a shift is the one of two opposite ones that is kept."""
    return x > 0 or (x == 0 and (y > 0 or (y == 0 and z > 0)))


@within
def _is_after(j: int, at: np.ndarray, b: int, x: int, y: int, z: int) -> bool:
    """Whether a pair with atom j and shift `at` comes after one with b and (x, y, z)."""
    if j != b:
        return j > b
    if at[0] != x:
        return at[0] > x
    if at[1] != y:
        return at[1] > y
    return at[2] > z


@part
def _filled(
    cutoff: float,
    box: np.ndarray,
    pbc: np.ndarray,
    number: np.ndarray,
    reach: np.ndarray,
    where: np.ndarray,
    floors: np.ndarray,
    start: np.ndarray,
    listed: np.ndarray,
    place: np.ndarray,
    wrapped: np.ndarray,
    i: np.ndarray,
    j: np.ndarray,
    shift: np.ndarray,
    d2: np.ndarray,
) -> int:
    """Write the pairs and give their number; -1 where there is no room for them."""
    limit = cutoff * cutoff
    nx, ny, nz = number[0], number[1], number[2]
    mx, my, mz = reach[0], reach[1], reach[2]
    found = 0
    for a in range(len(where)):
        first = found
        here = place[a]
        hx, hy, hz = wrapped[here, 0], wrapped[here, 1], wrapped[here, 2]
        ax, ay, az = where[a, 0], where[a, 1], where[a, 2]
        for x in range(ax - mx, ax + mx + 1):
            tx = _image(x, nx)
            if tx != 0 and not pbc[0]:
                continue
            for y in range(ay - my, ay + my + 1):
                ty = _image(y, ny)
                if ty != 0 and not pbc[1]:
                    continue
                column = ((x - tx * nx) * ny + y - ty * ny) * nz
                z = az - mz
                while z <= az + mz:  # as far as cells are of one image
                    tz = _image(z, nz)
                    begin = column + z - tz * nz
                    z = min(az + mz + 1, (tz + 1) * nz)
                    end = column + z - tz * nz
                    if tz != 0 and not pbc[2]:
                        continue
                    ox = tx * box[0, 0] + ty * box[1, 0] + tz * box[2, 0] - hx
                    oy = tx * box[0, 1] + ty * box[1, 1] + tz * box[2, 1] - hy
                    oz = tx * box[0, 2] + ty * box[1, 2] + tz * box[2, 2] - hz
                    for k in range(start[begin], start[end]):
                        dx = wrapped[k, 0] + ox
                        dy = wrapped[k, 1] + oy
                        dz = wrapped[k, 2] + oz
                        r2 = dx * dx + dy * dy + dz * dz
                        b = listed[k]
                        if b < a or r2 >= limit:
                            continue
                        sx = tx - floors[b, 0] + floors[a, 0]
                        sy = ty - floors[b, 1] + floors[a, 1]
                        sz = tz - floors[b, 2] + floors[a, 2]
                        if b == a and not _is_after_zero(sx, sy, sz):
                            continue
                        if found == len(i):
                            return -1
                        at = found  # into its place among this atom's pairs
                        while at > first and _is_after(j[at - 1], shift[at - 1], b, sx, sy, sz):
                            j[at] = j[at - 1]
                            d2[at] = d2[at - 1]
                            shift[at, 0] = shift[at - 1, 0]
                            shift[at, 1] = shift[at - 1, 1]
                            shift[at, 2] = shift[at - 1, 2]
                            at -= 1
                        i[found] = a
                        j[at] = b
                        d2[at] = r2
                        shift[at, 0] = sx
                        shift[at, 1] = sy
                        shift[at, 2] = sz
                        found += 1
    return found


@compiled
def _pairs(pos: np.ndarray, box: np.ndarray, pbc: np.ndarray, cutoff: float) -> Any:
    n = len(pos)
    inverse = np.linalg.inv(box)
    f = pos @ inverse
    floors = np.zeros((n, 3), np.int64)
    number = np.ones(3, np.int64)
    reach = np.zeros(3, np.int64)
    low = np.zeros(3)
    width = np.ones(3)  # of what the cells divide, in units of the cell vectors
    for k in range(3):
        if pbc[k]:
            for a in range(n):
                floors[a, k] = int(np.floor(f[a, k]))
        else:
            low[k] = f[:, k].min()
            width[k] = max(f[:, k].max() - low[k], 1e-9)
        height = width[k] / np.sqrt((inverse[:, k] ** 2).sum())
        # a few for an atom at most, so that sparse structures cost no more
        most = FINENESS[k] * (int(np.ceil(n ** (1 / 3))) + 1)
        number[k] = min(max(int(min(FINENESS[k] * height / cutoff, 1e6)), 1), most)
        reach[k] = int(min(np.ceil(cutoff * number[k] / height), 1e9))
        if not pbc[k]:
            reach[k] = min(reach[k], number[k] - 1)
    where = np.empty((n, 3), np.int64)
    cell = np.empty(n, np.int64)
    start = np.zeros(number[0] * number[1] * number[2] + 1, np.int64)
    for a in range(n):
        for k in range(3):
            at = int((f[a, k] - floors[a, k] - low[k]) / width[k] * number[k])
            where[a, k] = min(max(at, 0), number[k] - 1)
        cell[a] = (where[a, 0] * number[1] + where[a, 1]) * number[2] + where[a, 2]
        start[cell[a] + 1] += 1
    for c in range(len(start) - 1):
        start[c + 1] += start[c]
    listed = np.empty(n, np.int64)
    place = np.empty(n, np.int64)
    wrapped = np.empty((n, 3))  # in the order of `listed`
    for a in range(n):  # start[c]: the next free place in cell c, for now
        at = start[cell[a]]
        start[cell[a]] += 1
        listed[at] = a
        place[a] = at
        for k in range(3):
            x = pos[a, k]
            for m in range(3):
                x -= floors[a, m] * box[m, k]
            wrapped[at, k] = x
    for c in range(len(start) - 1, 0, -1):
        start[c] = start[c - 1]
    start[0] = 0

    room = ROOM * n
    lists = (where, floors, start, listed, place, wrapped)
    # arrays that a loop gives another value are counted in every round of it: hence `_filled`
    while True:
        i = np.empty(room, np.int64)
        j = np.empty(room, np.int64)
        shift = np.empty((room, 3), np.int64)
        d2 = np.empty(room)
        found = _filled(cutoff, box, pbc, number, reach, *lists, i, j, shift, d2)
        if found >= 0:
            return i[:found], j[:found], shift[:found], d2[:found]
        room *= 2


def pairs_of(
    pos: np.ndarray, box: np.ndarray, pbc: np.ndarray, cutoff: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The half list of a structure.

    Parameters
    ----------
    pos : numpy.ndarray
        Positions, [n, 3] in Å.
    box : numpy.ndarray
        The cell vectors as rows, [3, 3] in Å, independent along open directions too.
    pbc : numpy.ndarray
        Along which of them the structure repeats, [3] bool.
    cutoff : float
        Distance in Å.

    Returns
    -------
    i, j : numpy.ndarray
        The two atoms of each pair, [P] int64, sorted, i ≤ j; an atom and each image of it once.
    shift : numpy.ndarray
        Image of j in units of the cell vectors, [P, 3] int64; those of a pair in order.
    d2 : numpy.ndarray
        Squared distances, [P] in Å².
    """
    pos = np.array(pos, float, order="C")
    box = np.array(box, float, order="C")
    return _pairs(pos, box, np.array(pbc, bool), float(cutoff))


def compile_search() -> None:
    """Compile the search now and keep it on disk."""
    pairs_of(np.zeros((1, 3)), np.eye(3), np.zeros(3, bool), 1.0)
