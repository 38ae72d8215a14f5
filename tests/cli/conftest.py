"""The configuration directory that the tests of the configuration write to."""

from tests.config.conftest import config_directory

__all__ = ["config_directory"]
