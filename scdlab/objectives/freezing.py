"""Embeddings of the elements that a pretraining leaves as they are.

Denoising is the easier the less of the elements reaches the network, so that their embeddings would
shrink to nothing, and fine-tuning would start from there. Every objective without labels therefore
calls the model with embeddings that carry no gradient, and so all of them train the same
parameters. Labels beside denoising need the elements: they train them.
"""

from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from scdlab.atoms.batch import Batch
from scdlab.nn.model import Model, Prediction


def detached_embeddings(model: Model) -> dict[str, Tensor]:
    """The weights of all embeddings of elements (`nn.Embedding`), without a gradient.

    Parameters
    ----------
    model : Model
        The model.

    Returns
    -------
    dict of str to Tensor
        By the name that each has in the model.
    """
    return {
        key: weight.detach()
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, nn.Embedding)
        for key, weight in module.named_parameters(name, remove_duplicate=False)
    }


def called(model: Model, frozen: dict[str, Tensor], batch: Batch, **inputs: Any) -> Prediction:
    """The model's prediction with other weights in place of some of its own.

    Parameters
    ----------
    model : Model
        The model; its parameters stay as they are, and so does whether they are trained.
    frozen : dict of str to Tensor
        The other weights by name, such as `detached_embeddings` gives; may be empty.
    batch : Batch
        The structures.
    **inputs
        Keyword arguments of the model.

    Returns
    -------
    Prediction
        As the model gives it.
    """
    if not frozen:
        return model(batch, **inputs)
    return functional_call(model, frozen, (batch,), inputs, tie_weights=False)
