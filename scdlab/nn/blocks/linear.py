"""Linear layers as the transformer draws them, and several of them in one matrix."""

from torch import Tensor, nn


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

    A network that does not need all parts in each layer asks for the `layers` that it needs, and
    applies them together (`ops.linears`).

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
        self.parts = parts

    def layers(self, *parts: str) -> list[tuple[Tensor, Tensor | None]]:
        """Weight [d_out, d_in] and bias [d_out], or None, of some of the parts."""
        places = [self.parts.index(part) for part in parts]
        weights = self.weight.chunk(len(self.parts))
        if self.bias is None:
            return [(weights[k], None) for k in places]
        biases = self.bias.chunk(len(self.parts))
        return [(weights[k], biases[k]) for k in places]
