"""`jssr view`: a result in the browser, and two scans aligned from there. On this machine alone."""
