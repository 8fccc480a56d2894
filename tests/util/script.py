"""`python -m tests.util.script FILE …`: executes a file of a test as its own program."""

import runpy
import sys

if __name__ == "__main__":
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
