"""Linear layers as the transformer draws them, and several of them in one matrix."""

from torch import Tensor, nn
from torch.nn import functional as F


def xavier_linear(d_in: int, d_out: int, bias: bool = True) -> nn.Linear:
    """A linear layer with uniform Xavier weights and a bias of zero.

    Parameters
    ----------
    d_in, d_out : int
        Number of inputs and of outputs.
    bias : bool, default True
        Whether there is a bias.

    Returns
    -------
    nn.Linear
        The layer.
    """
    layer = nn.Linear(d_in, d_out, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


class StackedLinear(nn.Module):
    """Several linear layers of the same input, their weights stacked in one matrix.

    layer(x, "s1") applies one of them, and costs no more than that one: a network that does not
    need all parts in each layer computes those it needs.

    Parameters
    ----------
    d_in, d_out : int
        Number of inputs, and of outputs of each part.
    parts : tuple of str
        Names of the parts, in the order of their rows.
    bias : bool, default True
        Whether there are biases.
    """

    def __init__(self, d_in: int, d_out: int, parts: tuple[str, ...], bias: bool = True) -> None:
        super().__init__()
        whole = xavier_linear(d_in, len(parts) * d_out, bias)
        self.weight = whole.weight  # (parts · d_out, d_in)
        self.bias = whole.bias
        self.rows = {part: slice(k * d_out, (k + 1) * d_out) for k, part in enumerate(parts)}

    def layers(self, *parts: str) -> list[tuple[Tensor, Tensor | None]]:
        """Weight [d_out, d_in] and bias [d_out], or None, of some of the parts."""
        places = [list(self.rows).index(part) for part in parts]
        weights = self.weight.chunk(len(self.rows))
        if self.bias is None:
            return [(weights[k], None) for k in places]
        biases = self.bias.chunk(len(self.rows))
        return [(weights[k], biases[k]) for k in places]

    def forward(self, x: Tensor, part: str) -> Tensor:
        """One of the parts: x […, d_in] -> […, d_out]."""
        rows = self.rows[part]
        bias: Tensor | None = None if self.bias is None else self.bias[rows]
        return F.linear(x, self.weight[rows], bias)  # (…, d_in) -> (…, d_out)
