from tiny_runs import cats, cats_64, projected_config, tiny_config  # noqa: F401  # fixtures
