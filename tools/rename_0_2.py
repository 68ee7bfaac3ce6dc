"""The renames from scdlab 0.1 to 0.2, applied to Python sources (needs `pip install libcst`).

    python tools/rename_0_2.py FILE.py [FILE.py …]      rewrite scripts that were written for 0.1

A name is renamed by its role, since many old names are ordinary words: as a parameter (with its
uses in the body of the function that has it), as a keyword in a call, as an attribute, as a string
(a key of settings), as a name that a module binds. Each rule names the roles that it applies to,
and, where a word has other meanings elsewhere, the files. Text in strings, comments and cells of
prose is changed where it shows code: `name=` and `name` between backticks.
"""

import fnmatch
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import libcst as cst

ANYWHERE = ("*",)
DENS = ("*dens.py", "*test_domains.py", "*test_frozen_reference.py", "*make_frozen_reference.py")
SCD = (
    "*scd.py",
    "*self_conditioned.py",
    "*two_pass.py",
    "*test_benchmarks_baselines.py",
    "*test_frozen_reference.py",
    "*make_frozen_reference.py",
)
ECSE = (
    "*symmetry/ecse.py",
    "*test_ecse*.py",
    "*test_frame_explorer.py",
    "*05_ecse.py",
    "*explore/frames.py",
)


@dataclass(frozen=True)
class Rule:
    """Rename `old` to `new` in some roles: p parameter, k keyword in a call, a attribute, s string
    that is exactly `old`, n any other name, t code in text."""

    old: str
    new: str
    roles: str
    files: tuple[str, ...] = ANYWHERE
    but: tuple[str, ...] = ()
    callees: tuple[str, ...] = ()  # for k: only in calls of these

    def applies(self, path: str) -> bool:
        def among(patterns: tuple[str, ...]) -> bool:
            return any(fnmatch.fnmatch(path, p) for p in patterns)

        return among(self.files) and not among(self.but)


RULES = (
    # arguments of models, as in torch-geometric
    Rule("hidden", "hidden_channels", "pkst", but=("*explore/view.py",)),
    Rule("layers", "num_layers", "pkst"),
    Rule("attention_layers", "num_attention_layers", "pkast"),
    Rule("heads", "num_heads", "pkst"),
    Rule("heads", "num_heads", "a", files=("*scdlab/nn/*",)),
    Rule("n_basis", "num_rbf", "pkast"),
    Rule("n_radial", "num_rbf", "pkast"),
    Rule("n_spherical", "num_spherical", "pkast"),
    Rule("int_emb", "int_emb_size", "pkast"),
    Rule("basis_emb", "basis_emb_size", "pkast"),
    Rule("out_emb", "out_emb_channels", "pkast"),
    Rule("force_encoding", "force_input", "pk"),
    Rule("clue", "force_input", "pkasnt"),
    Rule("d", "hidden_channels", "a"),
    Rule("seen", "trained_elements", "a", but=("*explore/widgets.py",)),
    Rule("table", "filter_table_size", "a"),
    Rule("one_table", "shared_filter_tables", "at"),
    Rule("hops", "n_hops", "pkas"),
    Rule("shares", "per_atom", "pkan"),
    Rule("pool", "kind", "k", callees=("add_property", "PropertyRegression", "PropertyHead")),
    Rule("pool", "kind", "pan", files=("*nn/blocks/heads.py", "*nn/model.py", "*supervised.py")),
    Rule("pool", "kind", "a", files=("*symmetry/*", "*training/fit.py", "*test_ecse.py")),
    Rule("pool", "kind", "a", files=("*test_pairwise.py", "*test_cli.py", "*test_dimenet.py")),
    # objectives
    Rule("main", "supervised", "k"),
    Rule("main", "supervised", "pans", files=("*scdlab/objectives/*",)),
    Rule("main", "supervised", "as", files=("*test_dens.py", "*test_coordinate.py")),
    Rule("main", "supervised", "as", files=("*test_scd.py", "*test_claims_dens.py")),
    Rule("main", "supervised", "as", files=("*test_finetune.py",)),
    Rule("rho", "energy_weight", "pkast"),
    Rule("probability", "prob", "pkast"),
    Rule("ratio", "corrupt_ratio", "k", callees=("DeNS",)),
    Rule("ratio", "corrupt_ratio", "pas", files=("*objectives/dens.py",)),
    Rule("ratio", "corrupt_ratio", "as", files=("*test_dens.py", "*dens.py")),
    Rule("weight", "denoising_weight", "k", callees=("DeNS",)),
    Rule("weight", "denoising_weight", "pas", files=("*objectives/dens.py", "*claims/dens.py")),
    Rule("told", "force_encoding", "k", callees=("DeNS", "dict")),
    Rule("told", "force_encoding", "pas", files=("*objectives/dens.py",)),
    Rule("only_below", "max_rms_force", "pkast"),
    Rule("regularize", "reg_sigma", "pkast"),
    Rule("drop", "p_drop_condition", "pkast", files=SCD),
    Rule("frozen", "freeze_element_embeddings", "pka", files=SCD),
    Rule("part", "context", "pas", files=("*scd.py",)),
    Rule("part", "context", "k", callees=("SelfConditionedDenoising",)),
    Rule("draw_noise", "sample_noise", "pkasnt"),
    Rule("moved", "displaced", "n", files=("*scdlab/objectives/*", "*test_scd.py")),
    Rule("disturb", "perturb", "an"),
    Rule("turn", "random_rotate", "n", files=("*augment.py", "*training/fit.py")),
    Rule("turned", "rotated", "n", files=("*objectives/augment.py",)),
    Rule("turn", "random_rotate", "s", files=("*test_augment.py",)),
    Rule("finite", "finite_expression", "n", files=("*supervised.py", "*training/fit.py")),
    # training
    Rule("clip", "grad_clip", "psn", files=("*training/fit.py",)),
    Rule("clip", "grad_clip", "k", but=("*browser*",)),
    Rule("ema", "ema_decay", "pkst"),
    Rule("ema", "ema_decay", "n", files=("*training/fit.py",)),
    Rule("body", "backbone", "s", files=("*training/fit.py", "*test_finetune.py", "*04_*.py")),
    Rule("body", "backbone", "s", files=("*cli.py",)),
    Rule("paper", "exponential", "s", files=("*schedule.py", "*test_fit.py")),
    # symmetry
    Rule("angle", "sin2_min", "pka", files=ECSE),
    Rule("angle_width", "sin2_width", "pkat", files=ECSE),
    Rule("outer", "outer_radius", "pka", files=ECSE),
    Rule("width", "radius_width", "pka", files=("*symmetry/ecse.py", "*test_ecse*.py")),
    Rule("fall_back", "auxiliary_prediction", "an"),
    # parts
    Rule("BothWays", "DirectedEdges", "nat"),
    Rule("carry", "cfconv", "nat", files=("*scdlab/nn/*", "*tests/*")),
    Rule(
        "point",
        "vector_messages",
        "nat",
        files=("*nn/et.py", "*nn/ops/neighbor_sums.py", "*nn/ops/kernels.py"),
    ),
    Rule("point", "vector_messages", "a", files=("*test_kernels.py", "*test_et_symmetry.py")),
    Rule("attend", "attention_sum", "nat", files=("*nn/et.py", "*nn/ops/neighbor_sums.py")),
    Rule("attend", "attention_sum", "a", files=("*test_kernels.py", "*test_et_symmetry.py")),
    Rule("Place", "FilterRows", "nat", files=("*scdlab/nn/*", "*tests/*")),
    Rule("Spline", "SplineFilters", "nat", files=("*scdlab/nn/*", "*tests/*")),
    Rule("plain_torch", "reference_kernels", "nat"),
    Rule("NumbersHead", "CartesianHead", "nat"),
    Rule("_Head", "Float64Buffers", "n"),
    Rule("norm", "smooth_norm", "n", files=("*nn/blocks/heads.py",)),
    Rule("prepare", "compile_all", "na", files=("*nn/ops/kernels.py", "*test_kernels.py")),
    Rule("fill", "pack_batches", "n", files=("*atoms/store.py", "*training/fit.py")),
    Rule("fill", "pack_batches", "n", files=("*tests/*",)),
    Rule("check_budget", "check_max_atoms", "na"),
    Rule("home", "package_dir", "a"),
    Rule("home", "package_dir", "n", files=("*scdlab/*",), but=("*doctor.py",)),
    Rule("names_a_machine", "has_absolute_path", "na"),
)
KEYS = {  # keys of settings whose words mean something else elsewhere in the same file
    "*claims/dens.py": {"told": "force_encoding"},
    "*test_claims_dens.py": {
        "told": "force_encoding",
        "ratio": "corrupt_ratio",
        "weight": "denoising_weight",
    },
}
MODULES = {  # old dotted name -> new one
    "scdlab.nn.forms": "scdlab.nn.ops.neighbor_sums",
    "scdlab.nn.table": "scdlab.nn.ops.filter_tables",
    "scdlab.nn.kernels": "scdlab.nn.ops.runtime",
    "scdlab.nn.simd": "scdlab.nn.ops.simd",
    "scdlab.nn.adaln": "scdlab.nn.blocks.adaln",
    "scdlab.nn.force_encoding": "scdlab.nn.blocks.force_encoding",
    "scdlab.nn.heads": "scdlab.nn.blocks.heads",
    "scdlab.nn.radial": "scdlab.nn.blocks.radial",
    "scdlab.nn.bessel": "scdlab.nn.blocks.bessel",
}


class Renamer(cst.CSTTransformer):
    """Applies the rules that hold for one file."""

    def __init__(self, path: str):
        rules = [rule for rule in RULES if rule.applies(path)]
        self.by_role = {role: {} for role in "pkasnt"}
        self.callees: dict[tuple[str, str], str] = {}
        for rule in rules:
            for role in rule.roles:
                if role == "k" and rule.callees:
                    self.callees |= {(callee, rule.old): rule.new for callee in rule.callees}
                else:
                    self.by_role[role][rule.old] = rule.new
        self.scopes: list[set[str]] = []
        self.calls: list[str] = []
        self.in_class = 0

    # scopes of parameters

    def _enter(self, node: cst.FunctionDef | cst.Lambda) -> None:
        p = node.params
        every = [*p.params, *p.kwonly_params, *p.posonly_params]
        self.scopes.append({one.name.value for one in every})

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        self._enter(node)

    def leave_FunctionDef(self, old: cst.FunctionDef, new: cst.FunctionDef) -> cst.FunctionDef:
        self.scopes.pop()
        name = old.name.value
        renamed = self.by_role["n"].get(name, name)
        if self.in_class and not self.scopes:
            renamed = self.by_role["a"].get(name, renamed)
        return new.with_changes(name=cst.Name(renamed))

    def visit_Lambda(self, node: cst.Lambda) -> None:
        self._enter(node)

    def leave_Lambda(self, old: cst.Lambda, new: cst.Lambda) -> cst.Lambda:
        self.scopes.pop()
        return new

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        self.in_class += 1

    def leave_ClassDef(self, old: cst.ClassDef, new: cst.ClassDef) -> cst.ClassDef:
        self.in_class -= 1
        return new

    def leave_Decorator(self, old: cst.Decorator, new: cst.Decorator) -> cst.Decorator:
        code = cst.Module([]).code_for_node(old.decorator)
        match = re.fullmatch(r"(\w+)\.setter", code)
        if match and match[1] in self.by_role["a"]:
            renamed = cst.parse_expression(f"{self.by_role['a'][match[1]]}.setter")
            return new.with_changes(decorator=renamed)
        return new

    # names

    def leave_Name(self, old: cst.Name, new: cst.Name) -> cst.Name:
        name = old.value
        if name in self.by_role["n"]:
            return new.with_changes(value=self.by_role["n"][name])
        if name in self.by_role["p"] and any(name in scope for scope in self.scopes):
            return new.with_changes(value=self.by_role["p"][name])
        return new

    def leave_Attribute(self, old: cst.Attribute, new: cst.Attribute) -> cst.Attribute:
        name = old.attr.value
        renamed = self.by_role["a"].get(name, name)
        base = old.value.value if isinstance(old.value, cst.Name) else ""
        if base in ("np", "multiply", "rich", "claims", "harness", "data", "view", "two_pass"):
            renamed = name
        if isinstance(old.value, cst.Attribute) and old.value.attr.value == "multiply":
            renamed = name
        if name == "home" and base == "Path":
            renamed = name
        return new.with_changes(attr=cst.Name(renamed))

    def leave_Param(self, old: cst.Param, new: cst.Param) -> cst.Param:
        name = old.name.value
        return new.with_changes(name=cst.Name(self.by_role["p"].get(name, name)))

    def visit_Call(self, node: cst.Call) -> None:
        callee = node.func
        while isinstance(callee, cst.Attribute):
            callee = callee.attr
        self.calls.append(callee.value if isinstance(callee, cst.Name) else "")

    def leave_Call(self, old: cst.Call, new: cst.Call) -> cst.Call:
        callee = self.calls.pop()
        args = []
        for before, after in zip(old.args, new.args, strict=True):
            if before.keyword is not None:
                name = before.keyword.value
                renamed = self.callees.get((callee, name)) or self.by_role["k"].get(name, name)
                if callee in ("dataclass", "screenshot"):
                    renamed = name
                after = after.with_changes(keyword=cst.Name(renamed))
            args.append(after)
        return new.with_changes(args=args)

    def leave_AnnAssign(self, old: cst.AnnAssign, new: cst.AnnAssign) -> cst.AnnAssign:
        if not self.scopes and isinstance(old.target, cst.Name):  # a field of a class
            name = old.target.value
            return new.with_changes(target=cst.Name(self.by_role["a"].get(name, name)))
        return new

    def leave_AssignTarget(self, old: cst.AssignTarget, new: cst.AssignTarget) -> cst.AssignTarget:
        if not self.scopes and isinstance(old.target, cst.Name) and old.target.value == "hops":
            return new.with_changes(target=cst.Name("n_hops"))
        return new

    def visit_Import(self, node: cst.Import) -> bool:
        return False

    def leave_ImportFrom(self, old: cst.ImportFrom, new: cst.ImportFrom) -> cst.ImportFrom:
        return new.with_changes(module=old.module)

    # text

    def _text(self, text: str) -> str:
        for old, new in self.by_role["t"].items():
            text = re.sub(rf"(?<![\w.-]){old}(?==)", new, text)
            text = re.sub(rf"`{old}`", f"`{new}`", text)
        for (callee, old), new in self.callees.items():
            text = re.sub(rf"(\b{callee}\([^()]*)(?<!\w){old}=(?!=)", rf"\1{new}=", text)
        for old, new in self.by_role["k"].items():
            text = re.sub(rf"(\w\([^()]*)(?<![\w.]){old}=(?!=)", rf"\1{new}=", text)
        return text

    def leave_SimpleString(self, old: cst.SimpleString, new: cst.SimpleString) -> cst.SimpleString:
        value = old.evaluated_value
        if isinstance(value, str) and value in self.by_role["s"]:
            return new.with_changes(value=old.value.replace(value, self.by_role["s"][value]))
        return new.with_changes(value=self._text(old.value))

    def leave_FormattedStringText(
        self, old: cst.FormattedStringText, new: cst.FormattedStringText
    ) -> cst.FormattedStringText:
        return new.with_changes(value=self._text(old.value))

    def leave_Comment(self, old: cst.Comment, new: cst.Comment) -> cst.Comment:
        return new.with_changes(value=self._text(old.value))


def renamed(source: str, path: str) -> str:
    """The source of 0.1 with the names of 0.2."""
    source = source.replace(
        "from scdlab.nn import forms, kernels", "from scdlab.nn.ops import kernels, neighbor_sums"
    )
    source = re.sub(r"\bforms(?=\.[a-zA-Z_]|, (?:name|\"_AT))", "neighbor_sums", source)
    for pattern, keys in KEYS.items():
        if fnmatch.fnmatch(path, pattern):
            for old, new in keys.items():
                source = re.sub(rf'(?<=[{{(,])( ?)"{old}"(?=[:,])', rf'\1"{new}"', source)
    for old, new in MODULES.items():
        source = re.sub(rf"\b{re.escape(old)}\b", new, source)
        parent, name = old.rsplit(".", 1)
        target = new.rsplit(".", 1)
        source = re.sub(
            rf"\bfrom {re.escape(parent)} import {name}\b",
            f"from {target[0]} import {target[1]}",
            source,
        )
    return cst.parse_module(source).visit(Renamer(path)).code


def main() -> None:
    """Run the command."""
    for name in sys.argv[1:]:
        path = Path(name)
        source = path.read_text(encoding="utf-8")
        new = renamed(source, path.as_posix())
        if new != source:
            path.write_text(new, encoding="utf-8")
            print(f"renamed in {name}")


if __name__ == "__main__":
    main()
