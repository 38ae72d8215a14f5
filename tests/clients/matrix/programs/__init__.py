"""Small programs, one per library: they ask a question, run their tool `theirs`, and print the final text.

Run by an interpreter with the library; the arguments are root address, model and question.
"""
