"""Units. Inside the library everything is in Å, eV, eV/Å and Debye; other units are converted where
data enter."""

HARTREE = 27.211386245988  # eV (CODATA 2018)
KCAL_MOL = 0.0433641  # eV, the value the papers' conversions use
BOHR = 0.529177210903  # Å (CODATA 2018)
