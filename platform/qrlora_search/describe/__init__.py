"""Description: tasks, search spaces, the search plan and the protocols."""
