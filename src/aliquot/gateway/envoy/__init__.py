"""The gateway's decisions for Envoy: an external-processing service (gRPC). Needs grpcio and protobuf."""
