"""Reading the sources of a task: what may be read, how it is read safely, and how it is cut into passages."""
