"""A Debian with systemd, for testing the service: `make test-systemd` boots one in a container, which runs guest.py."""
