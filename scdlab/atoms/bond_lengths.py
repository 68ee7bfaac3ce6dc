"""How long bonds are: what the elements and the order of a bond allow.

    r(i, j) = r_i(order) + r_j(order) − 0.09 |χ_i − χ_j|

with the covalent radii of single, double and triple bonds (P. Pyykkö, M. Atsumi, Chem. Eur. J. 15,
186 and 12770, 2009; P. Pyykkö, S. Riedel, M. Patzschke, Chem. Eur. J. 11, 3511, 2005) and Pauling's
electronegativities χ. Polar bonds are shorter (V. Schomaker, D. P. Stevenson, J. Am. Chem. Soc. 63,
37, 1941); among H, C, N, O and F the radii hold that already. Bonds between atoms with lone pairs
(O-O, F-F) are longer than any sum of radii; `MEASURED` holds them.
"""

import numpy as np
from ase.data import atomic_numbers

POLAR = 0.09  # Å for one unit of electronegativity
NO_RADIUS = 1.6  # Å, for the few elements that nobody has measured

# Symbol, radii of a single, a double and a triple bond in pm (0: none given), and Pauling's
# electronegativity.
_TABLE = """
H 32 0 0 2.20    He 46 0 0 4.0    Li 133 124 0 0.98    Be 102 90 85 1.57    B 85 78 73 2.04
C 75 67 60 2.55    N 71 60 54 3.04    O 63 57 53 3.44    F 64 59 53 3.98    Ne 67 96 0 4.0
Na 155 160 0 0.93    Mg 139 132 127 1.31    Al 126 113 111 1.61    Si 116 107 102 1.90
P 111 102 94 2.19    S 103 94 95 2.58    Cl 99 95 93 3.16    Ar 96 107 96 3.2
K 196 193 0 0.82    Ca 171 147 133 1.00    Sc 148 116 114 1.36    Ti 136 117 108 1.54
V 134 112 106 1.63    Cr 122 111 103 1.66    Mn 119 105 103 1.55    Fe 116 109 102 1.83
Co 111 103 96 1.88    Ni 110 101 101 1.91    Cu 112 115 120 1.90    Zn 118 120 0 1.65
Ga 124 117 121 1.81    Ge 121 111 114 2.01    As 121 114 106 2.18    Se 116 107 107 2.55
Br 114 109 110 2.96    Kr 117 121 108 3.00    Rb 210 202 0 0.82    Sr 185 157 139 0.95
Y 163 130 124 1.22    Zr 154 127 121 1.33    Nb 147 125 116 1.6    Mo 138 121 113 2.16
Tc 128 120 110 1.9    Ru 125 114 103 2.2    Rh 125 110 106 2.28    Pd 120 117 112 2.20
Ag 128 139 137 1.93    Cd 136 144 0 1.69    In 142 136 146 1.78    Sn 140 130 132 1.96
Sb 140 133 127 2.05    Te 136 128 121 2.1    I 133 129 125 2.66    Xe 131 135 122 2.6
Cs 232 209 0 0.79    Ba 196 161 149 0.89    La 180 139 139 1.10    Ce 163 137 131 1.12
Pr 176 138 128 1.13    Nd 174 137 0 1.14    Pm 173 135 0 1.13    Sm 172 134 0 1.17
Eu 168 134 0 1.2    Gd 169 135 132 1.20    Tb 168 135 0 1.1    Dy 167 133 0 1.22
Ho 166 133 0 1.23    Er 165 133 0 1.24    Tm 164 131 0 1.25    Yb 170 129 0 1.1
Lu 162 131 131 1.27    Hf 152 128 122 1.3    Ta 146 126 119 1.5    W 137 120 115 2.36
Re 131 119 110 1.9    Os 129 116 109 2.2    Ir 122 115 107 2.20    Pt 123 112 110 2.28
Au 124 121 123 2.54    Hg 133 142 0 2.00    Tl 144 142 150 1.62    Pb 144 135 137 2.33
Bi 151 141 135 2.02    Po 145 135 129 2.0    At 147 138 138 2.2    Rn 142 145 133 2.2
Fr 223 218 0 0.7    Ra 201 173 159 0.9    Ac 186 153 140 1.1    Th 175 143 136 1.3
Pa 169 138 129 1.5    U 170 134 118 1.38    Np 171 136 116 1.36    Pu 172 135 0 1.28
"""
# Å in small molecules, where a sum of radii is wrong by more than 0.07 Å: (elements, order)
MEASURED = {
    ("H", "H", 1): 0.741,
    ("F", "F", 1): 1.412,
    ("O", "O", 1): 1.47,
    ("F", "O", 1): 1.41,
    ("N", "O", 1): 1.41,
    ("C", "O", 1): 1.41,
    ("C", "S", 1): 1.81,
    ("O", "O", 2): 1.208,
    ("Cl", "O", 1): 1.70,
    ("S", "S", 1): 2.05,
    ("O", "S", 2): 1.44,
    ("O", "P", 2): 1.48,
    ("F", "Xe", 1): 1.95,
    ("O", "Xe", 2): 1.76,
    ("F", "Kr", 1): 1.88,
    ("H", "Li", 1): 1.595,
    ("F", "Li", 1): 1.564,
}


def _columns() -> tuple[np.ndarray, np.ndarray]:
    words = _TABLE.split()
    radius = np.full((119, 4), NO_RADIUS)  # Å, by atomic number and order
    negativity = np.full(119, 1.3)
    for symbol, single, double, triple, chi in zip(*(words[k::5] for k in range(5)), strict=True):
        z = atomic_numbers[symbol]
        radius[z, 1] = int(single) / 100
        radius[z, 2] = (int(double) or int(single)) / 100
        radius[z, 3] = (int(triple) or int(double) or int(single)) / 100
        negativity[z] = float(chi)
    return radius, negativity


_RADIUS, _NEGATIVITY = _columns()
_MEASURED = {
    (*sorted((atomic_numbers[a], atomic_numbers[b])), order): length
    for (a, b, order), length in MEASURED.items()
}
_FITTED = (1, 6, 7, 8, 9)  # whose radii hold the shortening of their polar bonds


def usual_length(z: int, other: int, order: int = 1) -> float:
    """The usual length of a bond.

    Parameters
    ----------
    z, other : int
        Atomic numbers.
    order : int, default 1
        1, 2 or 3.

    Returns
    -------
    float
        Å.
    """
    first, second = sorted((z, other))
    if (first, second, order) in _MEASURED:
        return _MEASURED[first, second, order]
    length = _RADIUS[z, order] + _RADIUS[other, order]
    if first in _FITTED and second in _FITTED:
        return float(length)
    return float(length - POLAR * abs(_NEGATIVITY[z] - _NEGATIVITY[other]))
