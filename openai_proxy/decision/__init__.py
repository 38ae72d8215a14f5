"""What is to be done with a request: one pure function decides, one place acts on its decision."""
