"""Tools without code, from conf/tools/*.yaml.

filling.py       fills arguments into their placeholders, safely
request.py       an HTTP action and its arguments as one request; an answer as a result
client.py        sends it: the only file that imports an HTTP client, on the first tool call
command.py       runs a program
openapi.py       the operations of a document as tools
documents.py     fetches and caches documents
load.py          all of them as handlers
"""
