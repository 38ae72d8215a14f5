"""Header fields, looked up by name."""


class HeaderFields:
    """Something with `headers`."""

    headers: list[tuple[str, str]]

    def all(self, name: str) -> list[str]:
        """Every value of header `name`, in order."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str) -> str | None:
        """The value of header `name`, or None; more than one is an error."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} was sent {len(values)} times"
        return values[0] if values else None
