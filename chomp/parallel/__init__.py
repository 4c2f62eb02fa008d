"""One run on many devices and processes: the mesh, what each device holds, and what the processes agree on."""
