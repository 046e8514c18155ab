"""How gridflow is run: the command line, settings, services, benchmarks."""
