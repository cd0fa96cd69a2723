"""Language models behind any endpoint that speaks OpenAI's Chat Completions, for the worker and the planner."""
