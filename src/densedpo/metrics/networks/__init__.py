"""Published networks that some metrics need. Loaded only by the metric that runs one."""
