"""A run's settings: what they are, where they come from, and what may be trusted of them.

run_config.py holds a run's whole configuration, stages.py one dataclass a stage; a cache key hashes their names and fields.
own_methods.py and trust.py say which code of others may run. May use methods, regions and util. Begin with stages.py.
"""
