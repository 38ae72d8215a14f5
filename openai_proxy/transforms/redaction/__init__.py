"""Removes secrets from requests to providers, and from the logs.

forms       the encodings of a secret: base64, percent and hex codes, JSON escapes
shapes      the formats of common services' keys
automaton   many strings and patterns in one search (RE2)
hint        a quick check of a small body that is nearly always sufficient
finder      all of these together: whether there are secrets, and where
enclosing   which string of a body a position belongs to
body        a JSON body: which of its strings change, every other byte kept
parts       secrets split over the parts of a message
redactor    the process-wide redactor, kept up to date with the vault
"""
