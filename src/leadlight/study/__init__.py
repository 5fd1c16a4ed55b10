"""The order of work: which stages a study has, what is done already, what is left."""
