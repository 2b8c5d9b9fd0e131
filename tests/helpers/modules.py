"""Parts of torch's modules as what they are: found by name, torch says of them that they are modules or tensors."""

from __future__ import annotations

from torch import Tensor


def as_a[Kind](kind: type[Kind], found: object) -> Kind:
    """What was found, which is of that kind."""
    assert isinstance(found, kind)
    return found


def there(value: Tensor | None) -> Tensor:
    """A tensor that not every layer has, or a gradient after the way back."""
    assert value is not None
    return value
