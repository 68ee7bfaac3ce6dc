"""Lesson 04: which part of adaptive layer norm (adaLN) makes a network use its condition; how the
claim is tested here.

See `self_conditioned` for the paper and for what the claims of the lesson share. All arms are
trained by self-conditioned denoising on frames of ethanol, with the same weights of the body,
batches and noise. They differ in what sets scale, shift and gate of a layer,

    β, γ, α = Linear(LN(SiLU(Linear(read))))

what it reads (the condition c, or [c, LN(x)]), the last layer's first weights (zero, Xavier, or
Xavier doubled, "loud"), and the gate (1 + tanh α, or tanh α). The last arm is the released layout,
with its normalization of vectors and after each layer, and its first weights.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

import scdlab
from scdlab.atoms.batch import Batch
from scdlab.nn.blocks.adaln import GAIN as LOUD
from scdlab.nn.blocks.linear import xavier_linear
from scdlab.nn.model import Model
from scdlab.nn.official_ct import GatedAdaLN, OfficialCT
from scdlab.objectives import SelfConditionedDenoising

from .claim import Arrays, Claim, Settings, Values, register
from .common import SEEN_PAIRED, trained
from .directions import paired_direction
from .self_conditioned import (
    CPU,
    FULL,
    PAPER,
    QUICK,
    fresh,
    gain_of,
)
from .self_conditioned_rules import (
    mechanism_on,
)

# reads the atom beside the condition, gain of the last layer's first weights, 1 + in the gate
ARMS = {
    "c_zero": (False, 0.0, True),
    "c_xavier": (False, 1.0, True),
    "c_loud": (False, LOUD, True),
    "both_zero": (True, 0.0, True),
    "both_xavier": (True, 1.0, True),
    "both_loud": (True, LOUD, True),
    "both_tanh": (True, LOUD, False),
}
WORDS = {
    "c_zero": "reads c, starts at zero",
    "c_xavier": "reads c, starts from Xavier",
    "c_loud": "reads c, starts from Xavier doubled",
    "both_zero": "reads [c, LN(x)], starts at zero",
    "both_xavier": "reads [c, LN(x)], starts from Xavier",
    "both_loud": "reads [c, LN(x)], starts from Xavier doubled, as the library does",
    "both_tanh": "reads [c, LN(x)], starts from Xavier doubled, gate tanh without 1 +",
    "released": "the released layout",
}


class Modulation(nn.Module):
    """Scale, shift and gate of one layer, in the place of the library's `AdaLN`.

    Parameters
    ----------
    d : int
        Width of conditions and features.
    reads_atom : bool
        Whether it reads the atom's own features beside the condition.
    gain : float
        Of the last layer's Xavier weights; 0 starts it at zero.
    open_gate : bool
        Whether the gate is 1 + tanh α, else tanh α.
    """

    def __init__(self, d: int, reads_atom: bool, gain: float, open_gate: bool) -> None:
        super().__init__()
        self.reads_atom = reads_atom
        self.open_gate = open_gate
        self.first = xavier_linear(2 * d if reads_atom else d, d)
        self.norm = nn.LayerNorm(d)
        self.last = xavier_linear(d, 3 * d)
        with torch.no_grad():
            self.last.weight.mul_(gain)

    def forward(self, c: Tensor, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The modulation of a layer, [N, d] each.

        Parameters
        ----------
        c : Tensor
            Conditions of structures, [B, d], or of atoms, [N, d].
        x : Tensor
            Normalized features of the atoms, [N, d].
        batch : Batch
            The structures.
        """
        if len(c) != len(x):
            c = c.index_select(0, batch.batch)  # (B, d) -> (N, d)
        read = torch.cat([c, x], dim=-1) if self.reads_atom else c
        scale, shift, gate = self.last(self.norm(silu(self.first(read)))).chunk(3, dim=-1)
        gate = torch.tanh(gate)
        return 1 + scale, shift, 1 + gate if self.open_gate else gate


def network(arm: str, settings: Settings, seed: int) -> Model:
    """The network of an arm; bodies of all but the released one start from the same weights.

    Parameters
    ----------
    arm : str
        One of WORDS.
    settings : dict
        With hidden_channels, num_layers, num_rbf and pretrain_drop_path.
    seed : int
        Of its first weights.

    Returns
    -------
    Model
        The network.
    """
    d = settings["hidden_channels"]
    if arm == "released":
        torch.manual_seed(seed)
        model = OfficialCT(
            emb_dim=d,
            num_layers=settings["num_layers"],
            num_rbf=settings["num_rbf"],
            trainable_rbf=False,
            inv_post_norm=True,
            drop_path=settings["pretrain_drop_path"],
        )
        start_as_released(model)
        return model
    made = fresh(settings, seed)
    torch.manual_seed(seed)
    made.adaln = nn.ModuleList(Modulation(d, *ARMS[arm]) for _ in range(settings["num_layers"]))
    return made


def start_as_released(model: OfficialCT) -> None:
    """First weights as in the released code: Xavier and no bias everywhere, but for the first layer
    of each adaLN, and a small mask token.

    Parameters
    ----------
    model : OfficialCT
        The released layout, changed in place.
    """
    own = {m.fc[0] for m in model.modules() if isinstance(m, GatedAdaLN)}
    for layer in model.modules():
        if isinstance(layer, nn.Linear) and layer not in own:
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    if model.mask_token is not None:
        nn.init.xavier_uniform_(model.mask_token.data.view(1, -1))


def left_after(
    model: Model, steps: int, settings: Settings, seed: int, device: str, where: str
) -> Values:
    """Noise that a network leaves on unseen frames of ethanol after it was trained on others.

    Parameters
    ----------
    model : Model
        A conditional network, trained in place.
    steps : int
        Steps of self-conditioned denoising.
    settings : dict
        With sigma, pretrain_batch, pretrain_lr and pretrain_clip.
    seed : int
        Of frames, batches and noise.
    device : {"auto", "cpu", "cuda"}
        Where to train.
    where : str
        Ends the names.

    Returns
    -------
    dict of str to float
        left_own_*, left_none_* and gain_* = 1 - own/none.
    """
    frames, _, test = scdlab.load_ethanol().split(1500, 0, seed=seed)
    result = trained(
        model,
        SelfConditionedDenoising(settings["sigma"]),
        frames,
        steps,
        settings["pretrain_batch"],
        settings["pretrain_lr"],
        seed,
        device,
        grad_clip=settings["pretrain_clip"],
    )
    return gain_of(result.model, test, settings, where)


def which_part(settings: Settings, seed: int, device: str) -> Values:
    """Noise left on unseen frames of ethanol with the own condition and with none, arm by arm."""
    values = {}
    for arm in WORDS:
        model = network(arm, settings, seed)
        values |= left_after(model, settings["adaln_steps"], settings, seed, device, arm)
    return values


def words() -> dict[str, str]:
    """Descriptions of what `which_part` gives, the judged ones first.

    Returns
    -------
    dict of str to str
        Name of a quantity -> description.
    """
    found = {f"left_own_{arm}": f"noise left, own condition; {of}" for arm, of in WORDS.items()}
    found = {name: found[name] for name in ("left_own_both_loud", "left_own_c_zero")} | found
    found |= {f"left_none_{arm}": f"noise left, no condition; {of}" for arm, of in WORDS.items()}
    gains = {f"gain_{arm}": f"gain, 1 - own/none; {of}" for arm, of in WORDS.items()}
    return found | gains


def judge_which_part(values: Arrays, settings: Settings) -> str:
    """The rule below, in code."""
    unused = {arm: 1 - values[f"gain_{arm}"] for arm in WORDS}  # own/none
    seen = paired_direction(unused["both_loud"], unused["c_zero"])
    if seen == "paper":
        released = paired_direction(unused["released"], unused["c_zero"])
        return "reproduced" if released == "paper" else "same direction"
    return "contradicted" if seen == "opposite" else "tie"


register(
    Claim(
        id="scd-adaln",
        lesson=4,
        title=(
            "A network uses its condition sooner when adaptive layer norm starts loudly and reads "
            "the atom beside the condition."
        ),
        source=f"the released code of {PAPER}: fc([c, LN(x)]), Xavier; not compared in the paper",
        paper="no number: the released layer reads both and starts from Xavier",
        quantities=words(),
        rule=(
            "Train SCD on frames of ethanol, positions only. On unseen frames compare own/none, "
            "the noise left with the own condition over that with none, where adaLN reads "
            "[c, LN(x)] and starts from Xavier weights doubled, with that where it reads c and "
            "starts at zero."
        )
        + SEEN_PAIRED
        + "With the expected direction: reproduced when the released layout is also ahead of the "
        "latter, in the same sense; else same direction. With the opposite one: contradicted. The "
        "other arms are reported and not judged.",
        judge=judge_which_part,
        recipe=which_part,
        precondition=mechanism_on("gain_both_loud", "frames of ethanol"),
        profiles={
            "quick": QUICK | {"adaln_steps": 3},
            "cpu": CPU | {"adaln_steps": 1000},
            "full": FULL | {"seeds": 3, "adaln_steps": 4000, "pretrain_batch": 64},
        },
        hours={"cpu": 0.8},
        worth=90,
    )
)
