"""Angles, which Sin and Cos read: what computes them, and therefore stays in fp32."""
