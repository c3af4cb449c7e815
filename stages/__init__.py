"""One module or package per step of the pipeline; effects (files, processes, clock) live here."""
