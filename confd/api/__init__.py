"""What clients speak: HTTPS, XML-RPC, JSON, authentication."""
