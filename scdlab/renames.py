"""Argument names of earlier versions, and the sentence that an unknown argument is answered with.

There are no aliases: a call with an old name fails, and the error names the new one.
"""

import difflib
from collections.abc import Iterable

#: Old argument name -> new one, of models, objectives, ECSE and `fit`.
RENAMED: dict[str, str] = {
    # models
    "hidden": "hidden_channels",
    "d": "hidden_channels",
    "layers": "num_layers",
    "attention_layers": "num_attention_layers",
    "heads": "num_heads",
    "n_basis": "num_rbf",
    "n_radial": "num_rbf",
    "n_spherical": "num_spherical",
    "int_emb": "int_emb_size",
    "basis_emb": "basis_emb_size",
    "out_emb": "out_emb_channels",
    "force_encoding": "force_input",
    "clue": "force_input",
    "pool": "kind",
    # objectives
    "main": "supervised",
    "rho": "energy_weight",
    "probability": "prob",
    "ratio": "corrupt_ratio",
    "weight": "denoising_weight",
    "told": "force_encoding",
    "only_below": "max_rms_force",
    "regularize": "reg_sigma",
    "drop": "p_drop_condition",
    "frozen": "freeze_element_embeddings",
    "part": "context",
    # training
    "clip": "grad_clip",
    "ema": "ema_decay",
    # symmetry
    "angle": "sin2_min",
    "angle_width": "sin2_width",
    "outer": "outer_radius",
    "width": "radius_width",
}


def unknown_argument(of: str, name: str, known: Iterable[str]) -> TypeError:
    """The error for an argument that a class or function does not have.

    Parameters
    ----------
    of : str
        Name of the class or function that was called.
    name : str
        The argument that it does not have.
    known : iterable of str
        The arguments that it has.

    Returns
    -------
    TypeError
        To be raised by the caller. Its one sentence names the new name of an argument that was
        renamed, else the known name nearest to the unknown one, else all known names.
    """
    known = list(known)
    problem = f"{of} has no argument {name!r}"
    if (new := RENAMED.get(name)) in known:
        return TypeError(f"{problem}: {name} is now {new}.")
    if near := difflib.get_close_matches(name, known, n=1):
        return TypeError(f"{problem}; the nearest that it has is {near[0]!r}.")
    if not known:
        return TypeError(f"{problem}; it takes none.")
    return TypeError(f"{problem}; it takes {', '.join(known)}.")
