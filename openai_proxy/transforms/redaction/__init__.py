"""Taking secrets out of what goes to a provider, and into the logs.

forms       the disguises one secret may wear: base64, percent and hex codes, JSON escapes
shapes      what keys of common services look like
automaton   many strings and patterns in one search (RE2)
hint        a first look at a small body, which nearly always ends the matter
finder      all of these together: is there any, and where
enclosing   which string of a body a place lies in
body        a JSON body: which of its strings change, every other byte kept
parts       secrets split over the parts of a message
redactor    the process's one, kept up to date with the vault
"""
