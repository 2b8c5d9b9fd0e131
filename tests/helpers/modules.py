"""What is found by name or may be missing, as what it is: torch says of parts that they are modules or tensors."""

from __future__ import annotations


def as_a[Kind](kind: type[Kind], found: object) -> Kind:
    """What was found, which is of that kind."""
    assert isinstance(found, kind)
    return found


def there[Value](value: Value | None) -> Value:
    """What is there, such as a gradient after the way back."""
    assert value is not None
    return value
