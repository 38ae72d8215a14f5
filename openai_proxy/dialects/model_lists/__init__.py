"""One list of models in the shapes of the APIs that clients speak: each writes the same cards its own way."""
