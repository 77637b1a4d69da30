"""Networks of published face restorers that no installed library contains, in the layouts of their released files."""
