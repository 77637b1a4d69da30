#!/usr/bin/env python
from annotate.command_line import main

if __name__ == "__main__":
    main()
