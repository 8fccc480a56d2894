"""What the server does beside pages: headers, sign-in, telling visitors apart, its health.

Uses text; no widget and no page. Begin with `dashboard/__main__.py`, which puts the layers together.
"""
