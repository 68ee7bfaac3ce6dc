"""What the words of a command line stand for: data sets, models, objectives."""

import ast
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import scdlab

from .classes import own_class, split_place

if TYPE_CHECKING:
    from scdlab.atoms import AtomStore
    from scdlab.nn.model import AtomisticModel, Model
    from scdlab.objectives import Objective

SOURCES = (
    "qm9, ethanol, aspirin, isomers, alloys, md17:MOLECULE, a saved store, an .npz or any ASE file"
)


def open_data(name: str, energy_unit: str | None = None, **how: Any) -> "AtomStore":
    """The data set of a name.

    Parameters
    ----------
    name : str
        qm9, ethanol, aspirin, isomers, alloys, md17:MOLECULE, a saved store, an .npz file or a file
        that ASE reads; with @START:STOP:STEP behind it, as ASE has it, only those of its
        structures.
    energy_unit : str, optional
        Unit of a file's energies, such as "kcal/mol"; forces are per Å.
    **how
        More of how a file is read: energy, forces, format, specorder, as `AtomStore.from_file` has
        them.

    Returns
    -------
    AtomStore
        The structures.

    Raises
    ------
    ValueError
        What stands behind @ is no slice, or a unit was given for a data set that has its own.
    FileNotFoundError
        There is no such data set or file.
    """
    if not name.strip():
        raise ValueError(f"A data set needs a name, got {name!r}: name {SOURCES}.")
    if "@" in name and not Path(name).exists():
        name, _, part = name.rpartition("@")
        found = re.fullmatch(r"(-?\d{1,18})?:(-?\d{1,18})?(?::([1-9]\d{0,17}))?", part)
        if not found:
            raise ValueError(
                "What stands behind @ must be START:STOP or START:STOP:STEP, got "
                f"{part!r}: write it as in qm9@:1000 or qm9@::10."
            )
        whole = open_data(name, energy_unit, **how)
        some = whole[slice(*(int(n) if n else None for n in found.groups()))]
        if not len(some):
            raise ValueError(
                f"@{part} selects 0 structures of the {len(whole):,} of {name!r}: write it as in "
                "@:1000 or @::10."
            )
        return some
    if Path(name).is_file():
        return scdlab.AtomStore.from_file(name, energy_unit=energy_unit, **how)
    sets = ("qm9", "ethanol", "aspirin", "isomers", "alloys")
    known = name in sets or name.startswith("md17:") or Path(name).is_dir()
    given = [option for option, value in {"energy-unit": energy_unit, **how}.items() if value]
    if known and given:
        raise ValueError(
            f"--{given[0]} is for files; the data set {name!r} has units and labels of its own: "
            "leave the option out."
        )
    if name in sets:
        return getattr(scdlab, f"load_{name}")()
    if name.startswith("md17:"):
        return scdlab.load_md17(name.removeprefix("md17:"))
    if known:
        return scdlab.AtomStore.open(name)
    raise FileNotFoundError(
        f"There is no data set {name!r}: name {', '.join(sets)}, md17:ethanol, or a file."
    )


def refuse_empty(**values: str | None) -> None:
    """Refuse options whose value is empty, such as a variable of the shell that is not set.

    Parameters
    ----------
    **values
        Name of an option -> its value; None where it was not given.

    Raises
    ------
    ValueError
        One is empty.
    """
    for name, value in values.items():
        if value is not None and not value.strip():
            raise ValueError(f"--{name} is empty, got {value!r}: name one, or leave it out.")


def open_model(name: str, device: str = "cpu", own: str | None = None) -> "Model":
    """The model of a name.

    Parameters
    ----------
    name : str
        A model that comes with the kit, or a path that `scdlab.save` or `scdlab train` wrote.
    device : str, default "cpu"
        Where to put it.
    own : str, optional
        Where its class is defined, "path.py:Class" or "module:Class"; a class of scdlab by default.

    Returns
    -------
    Model
        The model.

    Raises
    ------
    ValueError
        There is no such class, or the files of the model are damaged.
    FileNotFoundError
        There is no such model.
    """
    from scdlab.training.checkpoint import pretrained_names

    if own is not None:
        return scdlab.load(name, device, own_class(own, "class"))
    if not name.strip():
        raise ValueError("A model needs a name, got none: give a path such as runs/train/model.")
    return (scdlab.load_pretrained if name in pretrained_names() else scdlab.load)(name, device)


def parse_call(text: str, option: str) -> tuple[str, dict[str, Any]]:
    """The name and the settings in a text such as "SchNet" or "SchNet(cutoff=4.0)".

    Parameters
    ----------
    text : str
        A name, or a name with settings that are literals: no code is run.
    option : str
        The option that it was given for.

    Returns
    -------
    name : str
        The name.
    settings : dict
        Name of a setting -> value.

    Raises
    ------
    ValueError
        The text is anything else.
    """
    try:
        call = ast.parse(text, mode="eval").body
        settings: dict[str, Any] = {}
        if isinstance(call, ast.Call):
            for each in call.keywords:
                if each.arg is None or each.arg in settings:  # **settings; given twice
                    raise ValueError
                settings[each.arg] = ast.literal_eval(each.value)
            if call.args:
                raise ValueError
            call = call.func
        if not isinstance(call, ast.Name):
            raise ValueError
        return call.id, settings
    # TypeError: a literal such as {[]: 1}; the last two: brackets nested too deeply
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(
            f"--{option} must be a name, or a name with settings that are plain values, got "
            f"{_short(text)}: write it as in 'Name(size=1)'."
        ) from error


def _short(text: str) -> str:
    """A text as an error quotes it."""
    return repr(text) if len(text) <= 80 else f"{text[:77]!r}…"


def make_model(text: str, **sizes: int | None) -> "AtomisticModel":
    """A fresh model of scdlab.nn, or of somebody's own class.

    Parameters
    ----------
    text : str
        Its name, with settings or without; "path.py:Class" or "module:Class" for one's own.
    **sizes
        More settings; None for the model's own.

    Returns
    -------
    AtomisticModel
        The model.

    Raises
    ------
    ValueError
        There is no such model, or it cannot have these settings.
    """
    from scdlab import nn

    place, call = split_place(text)
    name, settings = parse_call(call, "model")
    base = nn.AtomisticModel
    if place:
        cls = own_class(f"{place}:{name}", "model")
    else:
        cls = _chosen(name, nn, lambda each: issubclass(each, base) and each is not base, "model")
    return _made(cls, settings | {k: value for k, value in sizes.items() if value is not None})


def make_objective(text: str, target: str, forces: bool = True) -> "Objective":
    """The objective of a command line.

    Parameters
    ----------
    text : str
        Its name, with settings or without; "" for labels alone.
    target : str
        The property to learn, by itself or beside an objective that takes a `supervised` one; ""
        for none.
    forces : bool, default True
        Learn forces beside energies.

    Returns
    -------
    Objective
        The objective.

    Raises
    ------
    ValueError
        There is no such objective, it cannot have these settings, or it needs a property or learns
        none.
    """
    from scdlab import objectives

    if not text and target:
        return objectives.PropertyRegression(target)
    if not text:
        return objectives.EnergyForces(forces=forces)
    name, settings = parse_call(text, "objective")
    cls = _chosen(
        name,
        objectives,
        lambda each: issubclass(each, objectives.Objective) and not inspect.isabstract(each),
        "objective",
    )
    takes = inspect.signature(cls).parameters
    if "name" in takes and not target:
        raise ValueError(
            f"{name} needs the name of a property to learn, got none: add --property NAME."
        )
    if target and not {"name", "supervised"} & set(takes):
        raise ValueError(
            f"{name} learns no property: leave --property {target} out, or name another objective."
        )
    if target and "name" in takes:
        settings["name"] = target
    elif target:
        settings["supervised"] = objectives.PropertyRegression(target)
    return _made(cls, settings)


def _chosen(name: str, module: ModuleType, fits: Callable[[type], bool], option: str) -> type:
    """The public class of that name in a module, of those that fit and can be made. Raises
    ValueError, with what there is, for another."""
    public = {each: getattr(module, each) for each in module.__all__}
    classes = {
        each: cls
        for each, cls in public.items()
        if isinstance(cls, type) and fits(cls) and not inspect.isabstract(cls)
    }
    if name not in classes:
        raise ValueError(f"The {option} must be one of {', '.join(classes)}, got {name!r}.")
    return classes[name]


def _made(cls: type, settings: dict[str, Any]) -> Any:
    """cls(**settings). Raises ValueError for a setting that it does not have, and for values it
    cannot take."""
    from scdlab.renames import unknown_argument

    known = list(inspect.signature(cls).parameters)
    if unknown := [str(key) for key in settings if key not in known]:
        raise ValueError(str(unknown_argument(cls.__name__, unknown[0], known)))
    try:
        return cls(**settings)
    except TypeError as error:
        raise ValueError(
            f"{cls.__name__} cannot be made of {settings} ({str(error).rstrip('.')}): correct the "
            "settings."
        ) from error
