"""Pages of the workspaces app: thin functions over the verbs."""
