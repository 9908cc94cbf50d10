"""The command line. Nothing imports this package; a command's module is imported when it runs."""
