"""The library that mypyc builds from the modules of the hot path: finding it, building it, working without it."""
