"""What every variant has to keep, whatever its bounds are: faults that no bound on a direction or an order shows."""
