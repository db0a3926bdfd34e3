"""A data set to listen to: mixtures or slices as one HTML page that needs no network and no other file.

`dataset` reads and checks what is shown, `distributions` counts all of it, `spectrogram` draws one clip, `markup` makes
the small pieces, `entries` a mixture or a slice of them, and `page` puts everything together with ``page.css`` and
``page.js``. Equal data sets give equal bytes.
"""
