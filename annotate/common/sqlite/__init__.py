"""Django's SQLite backend with a queue of writers (see `base`). DATABASES names this package as the ENGINE."""
