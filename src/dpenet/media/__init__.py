"""Pictures as people have them: read and written whole, planned as jobs."""
