"""Which way of mixing teaches best: modes × seeds as DVC experiments, and a report of what their scores support."""
