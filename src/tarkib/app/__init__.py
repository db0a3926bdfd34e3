"""The page in the browser: what plays when in a recording, and labels for excerpts by hand."""
