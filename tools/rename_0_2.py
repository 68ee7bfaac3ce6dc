"""Scripts that were written for scdlab 0.1, rewritten with the names of 0.2.

    pip install libcst
    python tools/rename_0_2.py FILE.py [FILE.py …]

Rewritten is what certainly is scdlab's: names that a file imports from it, keywords and values in
calls of them, and attributes of what the file makes with them, such as `model.d` after
`model = scdlab.SchNet(…)`. Names of the file's own, its parameters among them, stay. What may be
scdlab's and cannot be decided from the file alone, such as `.d` of a parameter, is printed as a
line to look at.
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
import libcst.metadata as meta

SIZES = {"hidden": "hidden_channels", "layers": "num_layers", "n_basis": "num_rbf"}
MODELS = {  # constructor -> its keywords
    "SchNet": SIZES,
    "EquivariantTransformer": SIZES | {"heads": "num_heads", "force_encoding": "force_input"},
    "TensorProductNet": SIZES | {"force_encoding": "force_input"},
    "PET": SIZES | {"heads": "num_heads", "attention_layers": "num_attention_layers"},
    "DimeNet": {
        "hidden": "hidden_channels",
        "layers": "num_layers",
        "n_radial": "num_rbf",
        "n_spherical": "num_spherical",
        "int_emb": "int_emb_size",
        "basis_emb": "basis_emb_size",
        "out_emb": "out_emb_channels",
    },
}
FRAMES = {
    "of": "cluster",
    "rest": "auxiliary_weight",
    "first": "j",
    "second": "k",
    "inner": "inner_radius",
}
OBJECTIVES = {
    "EnergyForces": {"rho": "energy_weight"},
    "PropertyRegression": {"pool": "kind"},
    "CoordinateDenoising": {"main": "supervised"},
    "PairwiseDenoising": {"disturb": "perturb"},
    "DeNS": {
        "probability": "prob",
        "ratio": "corrupt_ratio",
        "weight": "denoising_weight",
        "told": "force_encoding",
        "main": "supervised",
        "only_below": "max_rms_force",
    },
    "SelfConditionedDenoising": {
        "regularize": "reg_sigma",
        "drop": "p_drop_condition",
        "part": "context",
        "main": "supervised",
        "frozen": "freeze_element_embeddings",
    },
}
ECSE = {
    "outer": "outer_radius",
    "width": "radius_width",
    "angle": "sin2_min",
    "angle_width": "sin2_width",
}
KEYWORDS = {  # callee -> its keywords
    **MODELS,
    **OBJECTIVES,
    "ECSE": ECSE,
    "Frames": FRAMES,
    "PropertyHead": {"pool": "kind"},
    "add_property": {"pool": "kind"},
    "fit": {"clip": "grad_clip", "ema": "ema_decay"},
    "model": {"clue": "force_input"},  # the call of a model
}
KINDS = {"sum": "scalar_sum", "mean": "scalar_mean", "atoms": "per_atom"}
TOLD = {"own": "true", "other": "shuffled"}
VALUES = {  # (callee, keyword or position) -> its values
    ("add_property", "pool"): KINDS,
    ("add_property", 1): KINDS,
    ("PropertyRegression", "pool"): KINDS,
    ("PropertyRegression", 1): KINDS,
    ("PropertyHead", "pool"): KINDS,
    ("PropertyHead", 1): KINDS,
    ("DeNS", "told"): TOLD,
    ("DeNS", 5): TOLD,
    ("fit", "schedule"): {"paper": "exponential"},
}
DICT_KEYS = {("fit", "lr"): {"body": "backbone"}}  # keys of a dict that is passed

SYMMETRIZED = ("ECSE", "PCAFrames", "QRFrames", "NearestPair", "Quadrature", "RandomRotations")
LOADERS = ("load", "load_pretrained", "load_official_ct", "OfficialCT")
EXPLORERS = ("Condition", "Embedding", "Filter", "Force", "Frame", "Neighbor", "Noise")
STORES = ("load_alloys", "load_aspirin", "load_ethanol", "load_isomers", "load_md17", "load_qm9")
KIND_OF = {  # callee -> the kind of what it returns
    **dict.fromkeys((*MODELS, *SYMMETRIZED, *LOADERS), "model"),
    **dict.fromkeys((f"{name}Explorer" for name in EXPLORERS), "view"),
    **dict.fromkeys(("MoleculeView", "view_molecule"), "view"),
    **dict.fromkeys((*STORES, "simulate", "open", "from_ase", "from_file", "concat"), "store"),
    **dict.fromkeys(("from_arrays", "from_pyg"), "store"),
    **{name: name for name in OBJECTIVES},
    "Frames": "frames",
}
SAME_KIND = ("eval", "train", "to", "cpu", "cuda", "float", "double", "subset", "requires_grad_")
ATTRIBUTES = {  # kind -> attributes and methods
    **OBJECTIVES,
    "model": {
        "d": "hidden_channels",
        "seen": "trained_elements",
        "hops": "n_hops",
        "table": "filter_table_size",
        "one_table": "shared_filter_tables",
    },
    "prediction": {"shares": "per_atom"},
    "frames": FRAMES,
    "view": {"still": "to_svg"},
    "store": {"check_budget": "check_max_atoms"},
}
CONFIG = {old: new for names in MODELS.values() for old, new in names.items()}
UNCERTAIN = frozenset(  # attributes that are looked at where their owner is not known
    ["one_table", "check_budget", "still", "disturb", "shares", "hops", "d", "seen", "table"]
)


def moved(old: str, new: str, names: str) -> dict[str, str]:
    """The names, separated by blanks, of one module and where they are now; a=b renames."""
    pairs = (name.partition("=") for name in names.split())
    return {f"scdlab.{old}.{a}": f"scdlab.{new}.{b or a}" for a, _, b in pairs}


_BONDS = "Band bands_of bond_lengths bond_orders blurred_bonds length_density"
_NOISE = "displacements denoise cosine Reference as_reference energy_against_sigma"
_NUMBERS = "embed reduce_embedding extensivity smoothness"
_PLOTS = "filter_curves filter_cuts filter_figure molecule_figure neighbor_figure"
MOVED = {  # dotted name -> dotted name; a module takes along what is in it
    "scdlab.keep_pages": "scdlab.memory.tune_malloc",
    "scdlab.memory.keep_pages": "scdlab.memory.tune_malloc",
    **moved("nn", "nn.ops", "forms=neighbor_sums table=filter_tables kernels=runtime simd"),
    **moved("nn", "nn.blocks", "adaln bessel force_encoding heads radial"),
    **moved("nn.kernels", "nn.ops.runtime", "prepare=compile_all"),
    **moved("nn.kernels", "nn.ops.dispatch", "sort_pairs"),
    **moved("nn.forms", "nn.ops.neighbor_sums", "plain_torch=reference_kernels carry=cfconv"),
    **moved("nn.forms", "nn.ops.neighbor_sums", "attend=attention_sum point=vector_messages"),
    **moved("nn.forms", "nn.ops.neighbor_sums", "pair_sum=cfconv"),
    **moved("nn.forms", "nn.ops.edges", "BothWays=DirectedEdges"),
    **moved("nn.table", "nn.ops.filter_tables", "Place=FilterRows Spline=SplineFilters"),
    **moved("nn.heads", "nn.blocks.heads", "norm=smooth_norm"),
    **moved("nn.pet", "nn.pet", "NumbersHead=CartesianHead"),
    **moved("objectives", "objectives", "draw_noise=sample_noise"),
    **moved("objectives.coordinate", "objectives", "draw_noise=sample_noise noise_floor"),
    **moved("objectives.augment", "objectives.augment", "turn=random_rotate"),
    **moved("symmetry", "symmetry", "checks=report"),
    **moved("symmetry.frames", "symmetry", "Symmetrized"),
    **moved("training.fit", "training", "evaluate"),
    **moved("files", "files", "home=package_dir names_a_machine=has_absolute_path"),
    **moved("explore", "analysis", _NUMBERS),
    **moved("explore.maps", "analysis", _NUMBERS),
    **moved("explore.noise", "analysis", f"{_BONDS} {_NOISE}"),
    **moved("explore.noise", "explore.noise_words", "in_words=describe regime"),
    **moved("explore.noise", "explore.structures", "read_structure"),
    **moved("explore.noise", "explore.noise_figure", "noise_figure lengths_picture"),
    **moved("explore.frames", "analysis", "Path paths_of turned=rotated energies"),
    **moved("explore.frames", "analysis", "Scan refined weight_matrix"),
    **moved("explore.frames", "explore.frame_words", "in_words=describe verdict"),
    **moved("explore.forces", "analysis", "lobes=degree_curves half_angle corruption"),
    **moved("explore.forces", "analysis", "predicted_forces"),
    **moved("explore.forces", "explore.force_words", "in_words=describe"),
    **moved("explore.condition", "analysis", "Left=MeanAndError self_embedding mixed answer"),
    **moved("explore.condition", "analysis", "shares_left noise_left gates"),
    **moved("explore.condition", "explore.condition_words", "in_words=describe"),
    **moved("explore.condition", "explore", "SvgExplorer"),
    **moved("explore.plots", "analysis", "bonds_of"),
    **moved("explore.plots", "explore", _PLOTS),
    **moved("explore.embedding", "explore.maps", "map_figure map_svg"),
    **moved("explore.widgets", "explore", "NeighborExplorer FilterExplorer"),
}
GONE = {  # dotted name -> what does the same
    "scdlab.explore.noise.bond_table": "scdlab.analysis.bands_of",
    "scdlab.explore.noise.reference_forces": "scdlab.analysis.as_reference(reference)(atoms)[1]",
}
NEW_ARGUMENTS = ("carry", "attend", "point", "pair_sum", "BothWays", "Place", "Spline")


def resolve(full: str) -> str | None:
    """Where a dotted name is now; None where it has not changed."""
    head, tail = full, ""
    while head:
        if head in MOVED:
            return MOVED[head] + tail
        head, _, last = head.rpartition(".")
        tail = f".{last}{tail}"
    return None


def code_of(node: cst.CSTNode) -> str:
    """The source of a node."""
    return cst.Module([]).code_for_node(node)


@dataclass(frozen=True)
class Line:
    """A line to look at, and why."""

    number: int
    reason: str


class Names(cst.CSTVisitor):
    """Every name of a file, and the expression that is bound to each name that is assigned."""

    def __init__(self) -> None:
        self.all: set[str] = set()
        self.values: dict[cst.CSTNode, cst.BaseExpression] = {}

    def visit_Name(self, node: cst.Name) -> None:
        self.all.add(node.value)

    def visit_Assign(self, node: cst.Assign) -> None:
        for target in node.targets:
            self.values[target.target] = node.value

    def visit_AnnAssign(self, node: cst.AnnAssign) -> None:
        if node.value is not None:
            self.values[node.target] = node.value


class Renamer(cst.CSTTransformer):
    """Renames in one file, and collects the lines to look at."""

    METADATA_DEPENDENCIES = (
        meta.QualifiedNameProvider,
        meta.ScopeProvider,
        meta.PositionProvider,
    )

    def __init__(self, names: Names) -> None:
        super().__init__()
        self.names = names
        self.lines: list[Line] = []
        self.no_references: set[cst.CSTNode] = set()  # names after a dot, of keywords, in imports
        self.resolving: list[cst.CSTNode | None] = []  # targets whose kind is being looked for
        self.more: list[cst.ImportFrom] = []  # what one import line becomes besides
        self.imports: dict[str, str] = {}  # module to import besides -> its name in this file

    # what a node stands for

    def full(self, node: cst.CSTNode) -> str | None:
        """The dotted name of something imported from scdlab; None for all else."""
        if node in self.no_references:
            return None
        found = self.get_metadata(meta.QualifiedNameProvider, node, set()) or set()
        if len(found) != 1:
            return None
        (name,) = found
        imported = name.source is meta.QualifiedNameSource.IMPORT
        return name.name if imported and name.name.split(".")[0] == "scdlab" else None

    def callee(self, call: cst.Call) -> str:
        """What of scdlab is called: a function or class, "model", "add_property", or ""."""
        if full := self.full(call.func):
            return full.rpartition(".")[2]
        if isinstance(call.func, cst.Attribute) and self.kind(call.func.value) == "model":
            return call.func.attr.value
        return "model" if self.kind(call.func) == "model" else ""

    def kind(self, node: cst.CSTNode) -> str:
        """The kind of thing that an expression of this file gives, or ""."""
        if isinstance(node, cst.Call):
            return self.kind_of_call(node)
        if not isinstance(node, cst.Name) or node in self.no_references:
            return ""
        scope = self.get_metadata(meta.ScopeProvider, node, None)
        bound = [getattr(one, "node", None) for one in scope[node.value]] if scope else []
        found = set()
        for target in bound:
            if target in self.resolving:  # model = model.eval()
                continue
            self.resolving.append(target)
            value = self.names.values.get(target)
            found.add("" if value is None else self.kind(value))
            self.resolving.pop()
        return found.pop() if len(found) == 1 else ""

    def kind_of_call(self, call: cst.Call) -> str:
        if full := self.full(call.func):
            return KIND_OF.get(full.rpartition(".")[2], "")
        if isinstance(call.func, cst.Attribute):
            kind = self.kind(call.func.value)
            name = call.func.attr.value
            if kind == "model" and name == "frames":
                return "frames"
            return kind if name in SAME_KIND else ""
        return "prediction" if self.kind(call.func) == "model" else ""

    def look(self, node: cst.CSTNode, reason: str) -> None:
        """Note a line to look at."""
        start = self.get_metadata(meta.PositionProvider, node).start
        self.lines.append(Line(start.line, reason))

    # imports

    def visit_Import(self, node: cst.Import) -> bool:
        self.no_references.update(walk(node))
        return True

    def leave_Import(self, old: cst.Import, new: cst.Import) -> cst.Import:
        def renamed(alias: cst.ImportAlias) -> cst.ImportAlias:
            to = resolve(code_of(alias.name))
            return alias if to is None else alias.with_changes(name=cst.parse_expression(to))

        return new.with_changes(names=[renamed(alias) for alias in new.names])

    def visit_ImportFrom(self, node: cst.ImportFrom) -> bool:
        self.no_references.update(walk(node))
        return True

    def leave_ImportFrom(self, old: cst.ImportFrom, new: cst.ImportFrom) -> cst.ImportFrom:
        module = "" if old.relative or old.module is None else code_of(old.module)
        if module.split(".")[0] != "scdlab":
            return new
        if isinstance(old.names, cst.ImportStar):
            self.look(old, f"the names that come from {module} are not renamed")
            return new
        groups: dict[str, list[cst.ImportAlias]] = {}
        for alias in old.names:
            name = code_of(alias.name)
            to = resolve(f"{module}.{name}") or f"{module}.{name}"
            self.look_if_gone(old, f"{module}.{name}")
            parent, _, last = to.rpartition(".")
            changed = alias.with_changes(name=cst.Name(last))
            if alias.asname is None and last != name and not self.is_free(last):
                as_name = cst.AsName(cst.Name(name), cst.SimpleWhitespace(" "))
                changed = changed.with_changes(asname=as_name)
            groups.setdefault(parent, []).append(changed)
            if name in NEW_ARGUMENTS and to != f"{module}.{name}":
                self.look(old, f"{last}, once {name}, has other arguments")
        if len(groups) == 1:
            (parent,) = groups
            return new.with_changes(module=cst.parse_expression(parent), names=groups[parent])
        made = []
        for parent, aliases in groups.items():
            bare = [alias.with_changes(comma=cst.MaybeSentinel.DEFAULT) for alias in aliases]
            made.append(cst.ImportFrom(module=cst.parse_expression(parent), names=bare))
        self.more += made[1:]
        return made[0]

    def leave_SimpleStatementLine(
        self, old: cst.SimpleStatementLine, new: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.FlattenSentinel:
        if not self.more:
            return new
        lines = [cst.SimpleStatementLine([statement]) for statement in self.more]
        self.more = []
        return cst.FlattenSentinel([new, *lines])

    def look_if_gone(self, node: cst.CSTNode, full: str) -> None:
        """Note the use of something that is no more."""
        if full in GONE:
            self.look(node, f"{full} is gone: {GONE[full]}")

    def is_free(self, name: str) -> bool:
        """Whether this file does not use a name for anything yet."""
        return name not in self.names.all

    # names and attributes

    def leave_Name(self, old: cst.Name, new: cst.Name) -> cst.Name:
        full = self.full(old)
        to = resolve(full) if full else None
        if full is None or to is None or old.value != full.rpartition(".")[2]:
            return new
        last = to.rpartition(".")[2]
        return new.with_changes(value=last) if self.is_free(last) else new

    def visit_Attribute(self, node: cst.Attribute) -> None:
        self.no_references.add(node.attr)

    def leave_Attribute(self, old: cst.Attribute, new: cst.Attribute) -> cst.BaseExpression:
        if full := self.full(old):
            return self.moved_attribute(full, old, new)
        name = old.attr.value
        kind = self.kind(old.value)
        if renamed := ATTRIBUTES.get(kind, {}).get(name):
            return new.with_changes(attr=cst.Name(renamed))
        if name in UNCERTAIN and not kind and self.may_be_ours(old.value):
            every = (names[name] for names in ATTRIBUTES.values() if name in names)
            self.look(old, f"if this is scdlab's, .{name} is now .{next(every)}")
        return new

    def may_be_ours(self, owner: cst.BaseExpression) -> bool:
        """Whether the owner of an attribute may be something of scdlab."""
        if code_of(owner) in ("self", "cls"):
            return False
        found = self.get_metadata(meta.QualifiedNameProvider, owner, set()) or set()
        return all(name.source is not meta.QualifiedNameSource.IMPORT for name in found)

    def moved_attribute(
        self, full: str, old: cst.Attribute, new: cst.Attribute
    ) -> cst.BaseExpression:
        """A dotted name of scdlab, or of a module of it that the file imports."""
        if old in self.no_references:
            return new
        to = resolve(full)
        self.look_if_gone(old, full)
        if to is None:
            return new
        root: cst.BaseExpression = old
        while isinstance(root, cst.Attribute):
            root = root.value
        parent, _, last = to.rpartition(".")
        if last != old.attr.value and old.attr.value in NEW_ARGUMENTS:
            self.look(old, f"{last}, once {old.attr.value}, has other arguments")
        if self.full(root) == "scdlab":
            prefix = root.value if isinstance(root, cst.Name) else "scdlab"
            return cst.parse_expression(prefix + to.removeprefix("scdlab"))
        before = full.rpartition(".")[0]
        if parent == (resolve(before) or before):
            return new.with_changes(attr=cst.Name(last))
        if parent not in self.imports:
            name = parent.rpartition(".")[2]
            self.imports[parent] = name if self.is_free(name) else f"scdlab_{name}"
        return cst.parse_expression(f"{self.imports[parent]}.{last}")

    def leave_Subscript(self, old: cst.Subscript, new: cst.Subscript) -> cst.Subscript:
        owner = old.value
        if not (isinstance(owner, cst.Attribute) and owner.attr.value == "config"):
            return new
        if self.kind(owner.value) != "model" or len(old.slice) != 1:
            return new
        index = old.slice[0].slice
        if isinstance(index, cst.Index):
            value = self.value(index.value, CONFIG)
            element = new.slice[0].with_changes(slice=cst.Index(value))
            return new.with_changes(slice=[element])
        return new

    # calls

    def visit_Arg(self, node: cst.Arg) -> None:
        if node.keyword is not None:
            self.no_references.add(node.keyword)

    def leave_Call(self, old: cst.Call, new: cst.Call) -> cst.Call:
        callee = self.callee(old)
        given = list(zip(old.args, new.args, strict=True))
        if not callee and old.args and is_partial(old) and (full := self.full(old.args[0].value)):
            callee = full.rpartition(".")[2]
            rest = [self.argument(callee, k, *one) for k, one in enumerate(given[1:])]
            return new.with_changes(args=[new.args[0], *rest])
        if not callee:
            self.look_at_call(old)
            return new
        args = [self.argument(callee, k, *one) for k, one in enumerate(given)]
        return new.with_changes(args=args)

    def argument(self, callee: str, k: int, old: cst.Arg, new: cst.Arg) -> cst.Arg:
        """An argument of a call of something of scdlab."""
        keywords = KEYWORDS.get(callee, {})
        if old.star == "**" and keywords:
            if isinstance(old.value, cst.Dict) and isinstance(new.value, cst.Dict):
                return new.with_changes(value=self.keys(new.value, keywords))
            self.look(old, f"{code_of(old.value)} may hold old names of arguments of {callee}")
            return new
        place = old.keyword.value if old.keyword is not None else k
        value = new.value
        if (callee, place) in VALUES:
            value = self.value(value, VALUES[callee, place])
            if not is_constant(old.value):
                self.look(old, f"values of {place!r} of {callee} have new names")
        if (callee, place) == ("fit", "anneal") and "weight" in code_of(value):
            self.look(old, "the weight that DeNS anneals is now denoising_weight")
        if (callee, place) in DICT_KEYS and isinstance(value, cst.Dict):
            value = self.keys(value, DICT_KEYS[callee, place])
        keyword = new.keyword
        if old.keyword is not None and old.keyword.value in keywords:
            keyword = cst.Name(keywords[old.keyword.value])
        return new.with_changes(value=value, keyword=keyword)

    def look_at_call(self, call: cst.Call) -> None:
        """Note a call that may be one of a model which the file got from elsewhere."""
        names = {arg.keyword.value for arg in call.args if arg.keyword is not None}
        if "clue" in names:
            self.look(call, "clue= of a model is now force_input=")
        named = call.func.attr.value if isinstance(call.func, cst.Attribute) else ""
        if named == "add_property" and ("pool" in names or len(call.args) > 1):
            self.look(call, "add_property(pool=) is now kind=, with other values")

    def value(self, node: cst.BaseExpression, values: dict[str, str]) -> cst.BaseExpression:
        """A string, renamed if it is one of the values."""
        if isinstance(node, cst.SimpleString) and node.raw_value in values:
            quoted = f"{node.prefix}{node.quote}{values[node.raw_value]}{node.quote}"
            return node.with_changes(value=quoted)
        return node

    def keys(self, node: cst.Dict, names: dict[str, str]) -> cst.Dict:
        """A dict whose keys are renamed."""

        def renamed(element: cst.BaseDictElement) -> cst.BaseDictElement:
            if isinstance(element, cst.DictElement):
                return element.with_changes(key=self.value(element.key, names))
            return element

        return node.with_changes(elements=[renamed(element) for element in node.elements])

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        for base in node.bases:
            full = self.full(base.value) or ""
            if full.startswith(("scdlab.nn.", "scdlab.objectives.")):
                self.look(node, f"{full} has another contract for its subclasses")


class Used(cst.CSTVisitor):
    """Names that a file uses, those in imports and after a dot left out."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def visit_Import(self, node: cst.Import) -> bool:
        return False

    def visit_ImportFrom(self, node: cst.ImportFrom) -> bool:
        return False

    def visit_Attribute(self, node: cst.Attribute) -> bool:
        node.value.visit(self)
        return False

    def visit_Name(self, node: cst.Name) -> None:
        self.found.add(node.value)


class Removal(cst.CSTTransformer):
    """Takes names out of the imports from scdlab."""

    def __init__(self, names: set[str]) -> None:
        self.names = names

    def leave_ImportFrom(
        self, old: cst.ImportFrom, new: cst.ImportFrom
    ) -> cst.ImportFrom | cst.RemovalSentinel:
        if isinstance(new.names, cst.ImportStar) or new.module is None or new.relative:
            return new
        if code_of(new.module).split(".")[0] != "scdlab":
            return new
        kept = [alias for alias in new.names if local_name(alias) not in self.names]
        if len(kept) == len(new.names):
            return new
        if not kept:
            return cst.RemoveFromParent()
        kept[-1] = kept[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
        return new.with_changes(names=kept)


def local_name(alias: cst.ImportAlias) -> str:
    """What a file calls something that it imports."""
    return code_of(alias.asname.name if alias.asname is not None else alias.name)


def used(module: cst.Module) -> set[str]:
    """Names that a file uses."""
    names = Used()
    module.visit(names)
    return names.found


def walk(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """A node and all nodes in it."""
    yield node
    for child in node.children:
        yield from walk(child)


def is_partial(call: cst.Call) -> bool:
    """Whether a call is one of functools.partial."""
    return code_of(call.func) in ("partial", "functools.partial")


def is_constant(node: cst.BaseExpression) -> bool:
    """Whether an expression is a string or None, and not what may be any string."""
    return isinstance(node, cst.SimpleString) or code_of(node) == "None"


def add_imports(code: str, imports: dict[str, str]) -> str:
    """The code with imports of modules, below the first line that imports from scdlab."""
    lines = code.splitlines(keepends=True)
    starts = ("from scdlab", "import scdlab")
    at = next((k for k, line in enumerate(lines) if line.startswith(starts)), 0)
    new = []
    for module, name in sorted(imports.items()):
        parent, _, last = module.rpartition(".")
        new.append(f"from {parent} import {last}" + (f" as {name}\n" if name != last else "\n"))
    at += bool(new) and lines[at].startswith("import")
    return "".join([*lines[:at], *new, *lines[at:]])


def renamed(source: str) -> tuple[str, list[Line]]:
    """A script of 0.1 with the names of 0.2, and the lines of the script to look at.

    Parameters
    ----------
    source : str
        The script.

    Returns
    -------
    str
        The script with new names; as it was where it imports nothing of scdlab.
    list of Line
        What cannot be decided from the script alone.
    """
    wrapper = meta.MetadataWrapper(cst.parse_module(source))
    names = Names()
    wrapper.module.visit(names)
    if "scdlab" not in names.all:
        return source, []
    renamer = Renamer(names)
    new = wrapper.visit(renamer)
    new = new.visit(Removal(used(wrapper.module) - used(new)))
    code = add_imports(new.code, renamer.imports)
    return code, sorted(set(renamer.lines), key=lambda line: (line.number, line.reason))


def rewrite(paths: Iterable[str]) -> None:
    """Rewrite files, and print which were, and the lines to look at."""
    for name in paths:
        path = Path(name)
        source = path.read_text(encoding="utf-8")
        new, lines = renamed(source)
        if new != source:
            path.write_text(new, encoding="utf-8")
            print(f"renamed in {name}")
        for line in lines:
            print(f"{name}:{line.number}: look at this line: {line.reason}")


if __name__ == "__main__":
    rewrite(sys.argv[1:])
