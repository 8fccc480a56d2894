"""`python -m core.models`: convert the bundled model now, so that the first question need not wait for it (`make
install`).
"""

import logging

from core.models.names import bundled_folder

if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    bundled_folder()
