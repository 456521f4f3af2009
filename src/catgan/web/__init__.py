"""A static site that draws in the browser: the page, the runtime it needs, and one artifact."""
