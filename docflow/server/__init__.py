"""What docflow serves over HTTP, and the pages that go with it."""
