"""Which way of mixing teaches best: modes × seeds as DVC experiments, and a report of what their scores support.

`provenance` states what an experiment is made of, `experiments` runs what is missing, `predictions` reads the results,
`analysis` compares them by the statistics of `significance`, `words` states what is supported, `report` writes it.
"""
