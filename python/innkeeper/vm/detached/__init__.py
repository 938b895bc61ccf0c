"""A guest that outlives the command that started it: its directory, its processes, its supervisor.

What the supervisor and `inn ps` load is kept small on purpose: no dataclasses, no enum, no pathlib,
and nothing of the machine. `import dataclasses` alone costs more than all that a supervisor does.
"""
