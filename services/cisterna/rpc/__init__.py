"""gRPC plumbing: server harness, error model, clients. The only room that knows it."""
