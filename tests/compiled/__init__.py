"""The library mypyc makes of the modules every request passes: found, built, and the same without it."""
