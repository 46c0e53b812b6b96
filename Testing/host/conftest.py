"""The host is a tool of the tests in Testing/panel; nothing in here is a test."""

collect_ignore_glob = ["*"]
