"""The dashboard: a page that shows the fleet, the queues, what waits and what is decided, live."""
