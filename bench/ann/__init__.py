"""The benchmark harness: VecDB and its peers on the same data, in one run (see README.md)."""
