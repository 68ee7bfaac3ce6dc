"""What the live page says of each of its networks: what it was trained on, and how well it does on
what it has not seen, with the numbers that stand in its checkpoint."""

from typing import Any

_TRAINED = {
    "schnet-molecules": (
        "A SchNet, trained on rattled and pulled geometries of 2,500 molecules of QM9 and on 2,200 "
        "frames at 500 K, with GFN2-xTB energies and forces."
    ),
    "schnet-ethanol": (
        "Both SchNets were trained on the same 1,000 frames of ethanol at 500 K, with GFN2-xTB "
        "energies and forces."
    ),
    "schnet-ethanol-direct": "",  # said with the other of the pair
    "coord-et": (
        "An equivariant transformer, trained to undo noise of 0.04 Å on 100,000 geometries of QM9 "
        "at rest, without labels."
    ),
    "scd-ct": (
        "The map is a UMAP of descriptions by a conditional transformer, trained to undo noise of "
        "0.04 Å on 100,000 other molecules of QM9, without labels; distances between groups mean "
        "little."
    ),
    "scd-ct-frames": (
        "A conditional transformer, trained to undo noise of 0.04 Å on frames of ethanol, aspirin "
        "and isomers of C7H10O2 and on crystals, without labels."
    ),
    "pet-ethanol": (
        "A PET, trained on 950 frames of ethanol of revised MD17 (DFT), each turned at random."
    ),
}


def trained_on(name: str) -> str:
    """The sentence on what a network was trained on.

    Parameters
    ----------
    name : str
        Its name in `data/checkpoints`.

    Returns
    -------
    str
        The sentence.
    """
    return _TRAINED[name]


def error_of(name: str, origin: dict[str, Any]) -> str:
    """The sentence on a network's error on what it has not seen.

    Parameters
    ----------
    name : str
        Its name in `data/checkpoints`.
    origin : dict
        The `provenance` of its checkpoint.

    Returns
    -------
    str
        The sentence.
    """

    def force(part: str = "") -> str:
        return f"{1e-3 * origin[f'test_force_mae{part}_meV_per_A']:.2f} eV/Å"

    def left(entry: str) -> str:
        return f"{100 * origin[entry]:.0f}%"

    if name == "schnet-molecules":
        energy = 1e-3 * origin["test_energy_mae_molecules_meV"]
        return (
            f"Mean error of a force component: {force('_molecules')} on such geometries of "
            f"molecules that it never saw, {force('_ethanol')} on unseen frames of ethanol. Its "
            f"energies of different molecules are off by {energy:.1f} eV; compare those of one."
        )
    if name.startswith("schnet-ethanol"):
        energy = origin["test_energy_mae_ethanol_meV"]
        kind = "direct forces" if name.endswith("direct") else "forces as slope of the energy"
        error = force("_ethanol")
        return f"Mean error of {kind} on unseen frames: {error} (energies {energy:.0f} meV)."
    if name == "coord-et":
        return f"On unseen molecules it leaves {left('test_noise_unexplained')} of such noise."
    if name == "pet-ethanol":
        energy = origin["test_energy_mae_meV"]
        return (
            f"Mean error on unseen frames: {force()} of a force component, {energy:.0f} meV of the "
            "energy."
        )
    return (
        f"On unseen structures it leaves {left('test_noise_left_own')} of such noise with its own "
        f"description, {left('test_noise_left_none')} without."
    )
