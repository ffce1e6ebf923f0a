"""What all parts speak: protocol, identity, plan schema, tensors, and the OpenFL engine."""
