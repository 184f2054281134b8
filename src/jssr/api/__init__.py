"""What the commands do, from Python: paths or objects in, objects out, no file written unless asked."""
