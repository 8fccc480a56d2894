"""Inputs that mean harm, and what has to become of each: one sentence or a right result, and nothing else touched.

A file here is a list to read: a name that says what is tried, the input, and a word of the sentence that refuses it (TAKEN
where it is harmless after all). harness.py holds the assertion that all of them share.
"""
