"""Training: recipe (``config``), data (``dataset``), the step (``module``), the run (``fit``)."""
