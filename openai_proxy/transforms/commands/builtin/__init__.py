"""The commands, a small file each (or each family). Whatever module lies here is found by the registry."""
