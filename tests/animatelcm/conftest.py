"""What the tests of this room share."""

from tests.helpers.opened import networks_are_opened_once

__all__ = ["networks_are_opened_once"]
