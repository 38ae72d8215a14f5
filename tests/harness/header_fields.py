"""Header fields, looked up by name."""


class HeaderFields:
    """Something with `headers`."""

    headers: list[tuple[str, str]]

    def all(self, name: str) -> list[str]:
        """Every value of header `name`, in order."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str) -> str | None:
        """The only value of header `name`, None without it; several are an error."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None
