"""One file a page; `dashboard/app.py` lists them."""
