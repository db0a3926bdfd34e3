"""Which way of mixing teaches best: the modes × seeds as DVC experiments, and what they say in tables, words, pictures.

`experiments` finds what was run and runs what is missing, by `provenance` (what an experiment must have been made of)
and `queue` (DVC's own); `predictions` reads what each predicted. `figures` and `statistics` turn that into numbers,
`analysis` into a comparison, `words` says what it supports. `layout` makes the tables, which `markdown` and `page`
write, with the `pictures`.
"""
