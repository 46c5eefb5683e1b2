"""Side by side measurements of txproxy and other reverse proxies: ``python -m bench --help``."""
