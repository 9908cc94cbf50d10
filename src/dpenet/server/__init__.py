"""The web page and the HTTP service: the same `Derainer` and options, for browsers and programs."""
