"""Gradients of Eq. 6, part by part.

The graph is cut at the restored image and at z_0. Each term of the image is differentiated with respect to the image
before the next one is computed, then their sum passes the decoder, then the last denoising steps. So the activations of
the reward model, of LPIPS's network and of the decoder do not exist at the same time. The gradient norm of a single
term passes the same parts and needs no more memory.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

OfImage = Callable[[Tensor], Tensor]  # restored images (B, 3, S, S), float32 -> a scalar


@dataclass(frozen=True)
class Gradients:
    """Values of the terms and of the weighted sum, unweighted scalars on the device; call `apply` to add the gradients.

    norms: gradient norms of the weighted terms with respect to the parameters; empty if not asked for.
    """

    terms: dict[str, Tensor]
    loss: Tensor
    apply: Callable[[], None]
    norms: dict[str, float]


def differentiate(
    latents: Tensor,
    decode: Callable[[Tensor], Tensor],
    of_image: Mapping[str, OfImage],
    of_policy: Mapping[str, Tensor],
    parameters: Sequence[nn.Parameter],
    *,
    weights: Mapping[str, float],
    share: float = 1.0,
    with_norms: bool = False,
) -> Gradients:
    """Differentiate the weighted sum of the terms of a micro-batch.

    latents: z_0 with its graph. decode: from z_0 to images. of_image: terms that are functions of the images.
    of_policy: terms that are computed already, with their graph. weights: by the names of terms. share: of the step, by
    which the gradients, but not the values and norms, are multiplied.
    """
    terms, at_image = {}, {}
    leaf = latents.detach().requires_grad_()
    if of_image:
        images = decode(leaf)
        seen = images.detach().float().requires_grad_()
        for name, term in of_image.items():
            value = term(seen)
            (at_image[name],) = torch.autograd.grad(share * weights[name] * value, seen)
            terms[name] = value.detach()
    weighted = {name: weights[name] * value for name, value in of_policy.items()}
    terms |= {name: value.detach() for name, value in of_policy.items()}
    loss = torch.stack([weights[name] * value for name, value in terms.items()]).sum()

    def at_latents(at: Tensor, *, keep: bool) -> Tensor:
        (found,) = torch.autograd.grad(images, leaf, at.to(images.dtype), retain_graph=keep)
        return found

    single = {name: at_latents(at, keep=True) for name, at in at_image.items()} if with_norms else {}
    total = at_latents(torch.stack(list(at_image.values())).sum(dim=0), keep=False) if at_image else None
    norms = {
        name: _norm(torch.autograd.grad(latents, parameters, at, retain_graph=True, allow_unused=True)) / share
        for name, at in single.items()
    }
    if with_norms:
        for name, value in weighted.items():
            norms[name] = _norm(torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True))

    def apply() -> None:
        outputs = [(latents, total)] if total is not None else []
        outputs += [(value, torch.full_like(value, share)) for value in weighted.values()]
        torch.autograd.backward(
            [output for output, _ in outputs], [gradient for _, gradient in outputs], inputs=list(parameters)
        )

    return Gradients(terms, loss, apply, norms)


def _norm(gradients: Sequence[Tensor | None]) -> float:
    found = [each.float().norm() for each in gradients if each is not None]
    return float(torch.stack(found).norm()) if found else 0.0
