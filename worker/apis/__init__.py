"""The interfaces as documents for other programs' tools: AsyncAPI for Redis, OpenAPI for HTTP."""
