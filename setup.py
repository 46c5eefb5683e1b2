"""How txproxy is built and installed; the version stands in ``txproxy/_version.py``."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

RUNTIME = [
    # The reactor's internals that txproxy.net builds on are those of this release.
    "Twisted>=26.10",
    "zope.interface>=6",
    "incremental>=24.11",
    # txproxy.wire.http2 sets the states of h2's streams itself: what the tests have not seen may count otherwise.
    "h2>=4.4,<4.5",
    "hpack>=4.2,<4.3",
    "hyperframe>=6.1,<6.2",
    "prometheus-client>=0.22",
    "pydantic>=2.11",
    "pyOpenSSL>=25.1",
    "cryptography>=45",
    "service-identity>=24.1",
]
TRACING = [
    "opentelemetry-sdk>=1.30",
    "opentelemetry-exporter-otlp-proto-http>=1.30",
]
TEST = [
    *TRACING,
    "pytest>=9",
    "pytest-twisted>=1.14",
    # Live tests mostly wait: two at a time take half as long.
    "pytest-xdist>=3.6",
    "hypothesis>=6.100",
    # Reads field lines in its own way, with which ours is compared.
    "httptools>=0.9",
    "grpcio>=1.70",
    "websockets>=14",
    # A terminal for `txproxy top`.
    "pyte>=0.8.2",
    # The cases of the Autobahn test suite, which itself needs Python 2.
    "kosoku>=0.1",
    "ruff>=0.17,<0.18",
    "mypy>=2.4,<3",
    "mypy-zope>=1.0.17",
    # A test builds the wheel with what is there, so that it needs no network.
    "setuptools>=64",
    "wheel>=0.40",
]

setup(
    name="txproxy",
    description="A reverse proxy and load balancer that a Python team can read, script, embed and trust at the edge.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    install_requires=RUNTIME,
    extras_require={"otel": TRACING, "test": TEST, "dev": [*TEST, "build>=1.2"]},
    packages=find_packages(include=["txproxy", "txproxy.*"]),
    package_data={
        "txproxy": ["py.typed"],
        "txproxy.admin": ["*.html", "*.css", "*.js"],
        "txproxy.tls": ["*.pem"],
        "txproxy.test.config": ["*.toml"],
        "txproxy.test.live": ["*.txt"],
    },
    # Two modules go into Twisted's own folder of plugins. They are named one by one, as modules and not as a package,
    # so that nothing of twisted/ itself is ever part of a wheel or removed with it.
    py_modules=["twisted.plugins.txproxy_plugin", "twisted.plugins.txproxy_reactor"],
    entry_points={"console_scripts": ["txproxy = txproxy.main:main"]},
    zip_safe=False,
    keywords=["reverse proxy", "load balancer", "http", "twisted"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Framework :: Twisted",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Internet :: Proxy Servers",
        "Topic :: Internet :: WWW/HTTP",
        "Typing :: Typed",
    ],
)
