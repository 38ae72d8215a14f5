"""Taking secrets out of what goes to a provider, and into the logs.

forms       the disguises one secret may wear: base64, percent and hex codes, JSON escapes
shapes      what keys of common services look like
finder      all of these in one automaton: is there any, and where
body        a JSON body: which of its strings change, every other byte kept
redactor    the process's one, kept up to date with the vault
"""
