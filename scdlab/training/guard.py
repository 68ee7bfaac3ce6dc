"""The watch over a run: a step whose loss or gradient is no number is not taken, and what is left
in the model at the end is finite.

On a processor a step is looked at before it is taken. A GPU would have to be waited for; there the
fused AdamW skips such a step by itself (as under automatic mixed precision), and the run looks one
step later, and before weights are validated, written or handed back.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import Parameter


class NotFinite(ArithmeticError):
    """The loss or the gradient of a step is no number.

    Parameters
    ----------
    step : int
        The step, counted from 0.
    loss, norm : float
        The loss, and the norm of its gradient.
    """

    def __init__(self, step: int, loss: float, norm: float):
        super().__init__(f"step {step + 1}: loss {loss}, norm of the gradient {norm}")
        self.step = step
        self.loss = loss
        self.norm = norm

    @property
    def what(self) -> str:
        """What is no number, such as "loss is nan"."""
        if not math.isfinite(self.loss):
            return f"loss is {self.loss}"
        return f"norm of the gradient is {self.norm} where the loss is {self.loss:.4g}"


class Watch:
    """Looks at the loss and the gradient of each step.

    Parameters
    ----------
    parameters : list of Parameter
        What is trained.
    optimizer : Optimizer
        What takes the steps.
    later : bool
        Whether the optimizer skips what is not finite, so that a step is looked at one step later.
    """

    def __init__(
        self, parameters: list[Parameter], optimizer: torch.optim.Optimizer, later: bool
    ) -> None:
        self.parameters = parameters
        self.optimizer = optimizer
        self.later = later
        self._waiting: tuple[int, Tensor, torch.cuda.Event | None] | None = None

    def look(self, step: int, loss: Tensor, grad_clip: float | None) -> None:
        """Clip the gradient and look at it and the loss, before the optimizer takes the step.

        Parameters
        ----------
        step : int
            The step, counted from 0.
        loss : Tensor
            Its loss.
        grad_clip : float or None
            Largest norm of the gradient.

        Raises
        ------
        NotFinite
            When the loss or the gradient of this step or the one before is no number.
        """
        if grad_clip is None:
            grads = [p.grad for p in self.parameters if p.grad is not None]
            norm = torch.nn.utils.get_total_norm(grads)
        else:
            norm = torch.nn.utils.clip_grad_norm_(self.parameters, grad_clip)
        both = torch.stack([loss.detach().double(), norm.detach().double()])
        self.settle()
        self._waiting = (step, *_on_its_way(both))
        if self.later:  # 1.0: the optimizer leaves weights and moments as they are
            bad = (~both.isfinite()).any().float()
            self.optimizer.found_inf = bad  # pyright: ignore[reportAttributeAccessIssue]
        else:
            self.settle()

    def settle(self) -> None:
        """Look at the last step, if that was put off.

        Raises
        ------
        NotFinite
            When its loss or gradient was no number.
        """
        if self._waiting is None:
            return
        step, both, arrived = self._waiting
        self._waiting = None
        if arrived is not None:  # of that step alone, not of what the GPU was given since
            arrived.synchronize()
        loss, norm = both.tolist()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise NotFinite(step, loss, norm)


def _on_its_way(x: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """A copy of x in the processor's memory, and the event after which it is there."""
    if not x.is_cuda:
        return x, None
    copy = x.to("cpu", non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()
    return copy, arrived


def skips_by_itself(optimizer: torch.optim.Optimizer, device: torch.device) -> bool:
    """Whether an optimizer leaves weights alone that `found_inf` says are to be, without anybody
    waiting for the device.

    Parameters
    ----------
    optimizer : Optimizer
        What takes the steps.
    device : torch.device
        Where.
    """
    ours = type(optimizer) is torch.optim.AdamW and optimizer.defaults.get("fused")
    return device.type != "cpu" and bool(ours)


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no number among tensors is NaN or infinite.

    Parameters
    ----------
    tensors : iterable of Tensor
        Those of whole numbers are.
    """
    return all(bool(t.isfinite().all()) for t in tensors if t.is_floating_point())


@torch.no_grad()
def set_weights(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Put values into parameters.

    Parameters
    ----------
    parameters, values : sequence of Tensor
        As many of the one as of the other.
    """
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)


class LastGood:
    """Weights and buffers of a model that were finite, to go back to.

    Parameters
    ----------
    model : nn.Module
        The model at the start.

    Raises
    ------
    ValueError
        For a model whose weights are not finite.
    """

    def __init__(self, model: torch.nn.Module):
        self.model = model
        self.tensors: dict[str, Tensor] = {}
        self.keep()
        if not self.tensors:
            raise ValueError(
                "The weights of the model are not all finite numbers, so it cannot be trained; "
                "start from a new model."
            )

    def keep(self, weights: Sequence[Tensor] | None = None) -> None:
        """Keep the model as it is, if it is finite.

        Parameters
        ----------
        weights : sequence of Tensor, optional
            The parameters that are trained, where others stand for them, such as their average.
        """
        trained = [p for p in self.model.parameters() if p.requires_grad]
        if not all_finite(trained if weights is None else weights):
            return
        kept = {name: t.detach().clone() for name, t in self.model.state_dict().items()}
        if weights is not None:
            place = {id(p): name for name, p in self.model.named_parameters()}
            kept |= {
                place[id(p)]: w.detach().clone() for p, w in zip(trained, weights, strict=True)
            }
        self.tensors = kept

    def restore(self, candidates: Iterable[Sequence[Tensor] | None]) -> None:
        """Leave finite weights in the model.

        Parameters
        ----------
        candidates : iterable of sequence of Tensor, or None
            Parameters that are trained, the best first; the first that are finite are taken, else
            those that were kept.
        """
        trained = [p for p in self.model.parameters() if p.requires_grad]
        for weights in candidates:
            if weights is not None and all_finite(weights):
                set_weights(trained, weights)
                break
        state = self.model.state_dict()
        if not all_finite(trained):
            set_weights([*state.values()], [self.tensors[name] for name in state])
        for name, tensor in state.items():  # a running mean that the last batch spoiled
            if tensor.is_floating_point() and not all_finite([tensor]):
                set_weights([tensor], [self.tensors[name]])
