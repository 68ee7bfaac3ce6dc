"""Units. Inside the library everything is in Å, eV, eV/Å and Debye; other units are converted where
data enter."""

import math

HARTREE = 27.211386245988  # eV (CODATA 2018)
KCAL_MOL = 0.0433641  # eV, the value the papers' conversions use
BOHR = 0.529177210903  # Å (CODATA 2018)
DEBYE = 0.20819433442462576  # e Å, as in ase

ENERGY = {  # name -> eV
    "eV": 1.0,
    "meV": 1e-3,
    "kcal/mol": KCAL_MOL,
    "kJ/mol": KCAL_MOL / 4.184,
    "Ha": HARTREE,
    "Ry": HARTREE / 2,
}


def energy_in_ev(unit: str | float) -> float:
    """The size of a unit of energy in eV.

    Parameters
    ----------
    unit : str or float
        A name in `ENERGY` ("eV", "meV", "kcal/mol", "kJ/mol", "Ha", "Ry"), or the size itself, eV.

    Returns
    -------
    float
        eV per unit.

    Raises
    ------
    ValueError
        For an unknown name, and for a size that is not positive and finite.
    """
    if isinstance(unit, str):
        if unit not in ENERGY:
            raise ValueError(
                f"energy_unit must be one of {', '.join(ENERGY)}, or the size of the unit in eV, "
                f"got {unit!r}."
            )
        return ENERGY[unit]
    if unit is None or not (unit > 0 and math.isfinite(unit)):
        raise ValueError(
            f"energy_unit must be positive, the size of the unit in eV, got {unit}: pass a name "
            f"({', '.join(ENERGY)}) or a number."
        )
    return float(unit)
