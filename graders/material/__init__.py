"""What a check cell uses beside checks: seeded inputs, oracles, devices, MNIST."""
