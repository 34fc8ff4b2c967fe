"""python -m bench.ann"""

from bench.ann.cli import main

raise SystemExit(main())
