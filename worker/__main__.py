"""`python -m worker` is `location-worker`."""

import sys

from worker.cli import main

sys.exit(main())
