"""The service (``docflow serve``): the gateway, the extraction API, conversations, metrics and the page for people."""
