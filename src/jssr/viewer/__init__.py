"""`jssr view`: a result in the browser, and two scans aligned from there. On this machine alone.

Importing any module of it needs the extra `viewer`.
"""

from __future__ import annotations

from jssr.errors import requires

requires("viewer", "starlette", "uvicorn", "python_multipart")
