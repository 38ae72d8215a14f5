"""Tools without code, from conf/tools/*.yaml.

filling.py       arguments into their places, and nowhere else
request.py       an HTTP action and its arguments as one request; an answer as a result
client.py        sending it: the only file that imports an HTTP client, when the first tool is called
command.py       running a program
openapi.py       the operations of a document as tools
documents.py     documents that are fetched, and what is kept of them
load.py          all of them as handlers
"""
