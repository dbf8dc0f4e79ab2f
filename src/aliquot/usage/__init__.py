"""How devices are used: samples, what is known of them, and what they are joined to. Pure."""
