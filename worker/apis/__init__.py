"""What other programs see, as documents for their tools: AsyncAPI for Redis, OpenAPI for HTTP."""
