"""The configuration directory that the tests of the configuration write to."""

from tests.config.conftest import house

__all__ = ["house"]
