"""Small programs, each of one library: they ask a question, run their tool `theirs`, and print the last word.

Run by an interpreter that has the library, with root address, model and question as arguments.
"""
