"""What a run is asked to be: its settings, from JSON, a preset or a command line, every value checked. Nothing runs here.

May use util, settings, methods and regions, whose dataclasses are settings too; no torch. Begin with `stages`, where every
setting stands with its help, unit, range and source, then `run_config`.
"""
