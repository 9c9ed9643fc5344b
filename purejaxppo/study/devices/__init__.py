"""The devices and processes that a study is spread over."""
